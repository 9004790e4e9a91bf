package httpapi

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"

	"dawk/relay"
	"dawk/relay/mailtext"
)

// message is a message that was built. Every value in it was checked, and encoded by the one
// function that writes its kind of field: nothing from a client reaches the header in another way.
type message struct {
	envelope relay.Envelope
	header   string
	body     *part
	spool    *spool
}

// message builds what a request asks for.
func (q *request) message(s *spool) (*message, error) {
	m := &message{envelope: q.envelope, spool: s, body: q.body()}
	for _, f := range []struct {
		name, key string
		boxes     []mailtext.Mailbox
	}{{"From", "from", []mailtext.Mailbox{q.from}}, {"Reply-To", "reply_to", q.replyTo}, {"To", "to", q.to}, {"Cc", "cc", q.cc}} {
		if len(f.boxes) == 0 {
			continue
		}
		line, err := mailtext.List(f.name, f.boxes)
		if err != nil {
			return nil, bad("%s: %v", f.key, err)
		}
		m.header += line
	}
	if q.subject != "" {
		line, err := mailtext.Text("Subject", q.subject)
		if err != nil {
			return nil, bad("%v", err)
		}
		m.header += line
	}
	return m, q.ownFields(m)
}

// taken are fields that have a key of their own, that we write, or that only relays may write. The
// client may use every other name.
var taken = map[string]string{
	"from": "from", "to": "to", "cc": "cc", "bcc": "bcc", "reply-to": "reply_to", "subject": "subject",
	"sender": "", "return-path": "", "received": "", "mime-version": "", "dkim-signature": "", "authentication-results": "",
	"resent-from": "", "resent-to": "", "resent-cc": "", "resent-bcc": "", "resent-sender": "", "resent-date": "", "resent-message-id": "",
}

// freeText are the fields, besides X-…, that may contain encoded words (RFC 2047 §5).
var freeText = map[string]bool{"comments": true, "organization": true}

const maxFieldName = 70 // octets: a sensible length

// ownFields writes the fields under headers. One without a value is left out.
func (q *request) ownFields(m *message) error {
	seen := map[string]bool{}
	for _, h := range q.headers {
		name, value := h[0], h[1]
		lower := strings.ToLower(name)
		key, ours := taken[lower]
		switch {
		case !mailtext.FieldName(name):
			return bad("headers: %q is not the name of a header field", relay.Sanitize(name))
		case key != "":
			return bad("headers: give %s as the key %q", name, key)
		case ours || strings.HasPrefix(lower, "content-") || strings.HasPrefix(lower, "arc-"):
			return bad("headers: dawk or a relay writes %s; leave it out", name)
		case seen[lower]:
			return bad("headers: %s is there twice", name)
		}
		seen[lower] = true
		if strings.TrimSpace(value) == "" {
			continue
		}
		line, err := ownField(name, value)
		if err != nil {
			return bad("headers: %v", err)
		}
		m.header += line
	}
	return nil
}

func ownField(name, value string) (string, error) {
	lower := strings.ToLower(name)
	switch {
	case strings.HasPrefix(lower, "x-") || freeText[lower]:
		return mailtext.Text(name, value)
	case lower == "date":
		if !isDate(strings.TrimSpace(value)) {
			return "", fmt.Errorf("%s is not a date of mail: write it like \"Mon, 02 Nov 2026 15:04:05 +0100\", with its own weekday and a year from 1900 on, or leave it out", name)
		}
	case lower == "message-id":
		if !isMessageID(strings.TrimSpace(value)) {
			return "", fmt.Errorf("%s is not valid: write it like \"<something-unique@example.org>\", without quotes and comments, or leave it out", name)
		}
	}
	return mailtext.Tokens(name, value)
}

// isDate says whether s is a date-time (RFC 5322 §3.3) that there was. A leap second is not
// accepted: few programs that read mail know it.
func isDate(s string) bool {
	t, err := mail.ParseDate(s)
	day, _, has := strings.Cut(s, ",")
	return err == nil && t.Year() >= 1900 && (!has || strings.EqualFold(strings.TrimSpace(day), t.Weekday().String()[:3]))
}

// isMessageID says whether s is a msg-id (RFC 5322 §3.6.4). Quoted strings, which its obsolete form
// has, and comments are not accepted: few programs compare them correctly.
func isMessageID(s string) bool {
	s, begun := strings.CutPrefix(s, "<")
	s, ended := strings.CutSuffix(s, ">")
	left, right, two := strings.Cut(s, "@")
	if !begun || !ended || !two || left == "" || right == "" || len(s) > 900 { // it must fit on its line
		return false
	}
	if inside, literal := strings.CutPrefix(right, "["); literal {
		if right, literal = strings.CutSuffix(inside, "]"); !literal {
			return false
		}
	}
	return !strings.ContainsFunc(left+right, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>[]\,;"@`, r) })
}

// part is a part of a message (RFC 2045): a leaf, whose content is in the spool,
// or a multipart.
type part struct {
	fields  string // of a leaf
	content span
	kind    string // of a multipart, with its parameters
	parts   []*part
}

// multipart joins parts into one; a single part is not wrapped.
func multipart(kind string, parts []*part) *part {
	if len(parts) == 1 {
		return parts[0]
	}
	return &part{kind: kind, parts: parts}
}

// body is the part after the header: text and html as alternatives (RFC 2046 §5.1.4), an invitation
// as one more (RFC 6047 §2.4), html together with the images that it names (RFC 2387), and the
// files after all these.
func (q *request) body() *part {
	var choices, images, files []*part
	if !q.text.empty() {
		choices = append(choices, textPart("plain", q.text))
	}
	var invitations []*part
	for i := range q.attachments {
		switch a := &q.attachments[i]; {
		case a.invites():
			invitations = append(invitations, a.part(""))
		case a.contentID == "":
			files = append(files, a.part("attachment"))
		case q.html.empty():
			files = append(files, a.part("inline"))
		default:
			images = append(images, a.part("inline"))
		}
	}
	if !q.html.empty() {
		choices = append(choices, multipart(`related; type="text/html"`, append([]*part{textPart("html", q.html)}, images...)))
	}
	if choices = append(choices, invitations...); len(choices) > 0 {
		files = append([]*part{multipart("alternative", choices)}, files...)
	} else if len(files) == 0 {
		return &part{fields: textFields("plain") + "\r\n"} // no body at all
	} else {
		return &part{kind: "mixed", parts: files} // a file is never the body, even if it is alone
	}
	return multipart("mixed", files)
}

func textFields(kind string) string {
	return "Content-Type: text/" + kind + "; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"
}

func textPart(kind string, content span) *part {
	return &part{fields: textFields(kind), content: content}
}

// part is the attachment as a part. The name is in both fields: in Content-Disposition as RFC 2183
// and RFC 2231 require, and in Content-Type in plain ASCII for old mail programs, which read only
// that.
func (a *attachment) part(disposition string) *part {
	fields := "Content-Type: " + a.contentType
	if _, params, err := mime.ParseMediaType(a.contentType); a.filename != "" && err == nil && params["name"] == "" {
		fields += ";\r\n name=" + quoted(plainASCII(a.filename))
	}
	if disposition != "" {
		fields += "\r\nContent-Disposition: " + disposition
		if a.filename != "" {
			fields += ";\r\n " + fileParam(a.filename)
		}
	}
	if a.contentID != "" {
		fields += "\r\nContent-ID: <" + a.contentID + ">"
	}
	return &part{fields: fields + "\r\nContent-Transfer-Encoding: base64\r\n", content: a.content}
}

// fileParam is the filename parameter: quoted, or as RFC 2231 wants it.
func fileParam(name string) string {
	if plainASCII(name) == name {
		return "filename=" + quoted(name)
	}
	_, param, _ := strings.Cut(mime.FormatMediaType("attachment", map[string]string{"filename": name}), "; ")
	return param
}

// plainASCII is name with an underscore for every character outside ASCII.
func plainASCII(name string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '_'
		}
		return r
	}, name)
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// invites says whether the attachment is an invitation that mail programs act
// on: a calendar with a method (RFC 6047 §2.4). Without a method it is a file.
func (a *attachment) invites() bool {
	kind, params, _ := mime.ParseMediaType(a.contentType)
	return kind == "text/calendar" && params["method"] != ""
}

// check puts content_type and content_id into their canonical form.
func (a *attachment) check() error {
	if err := mailtext.CheckValue(a.filename); err != nil {
		return fmt.Errorf("the filename %w", err)
	}
	if len(a.filename) > maxFilename {
		return fmt.Errorf("the filename is longer than %d octets", maxFilename)
	}
	if a.contentType == "" {
		a.contentType = "application/octet-stream"
	}
	kind, params, err := mime.ParseMediaType(a.contentType)
	if err == nil {
		if kind == "text/calendar" && params["charset"] == "" {
			params["charset"] = "utf-8" // of all iCalendar (RFC 5545 §3.1.4)
		}
		a.contentType = mime.FormatMediaType(kind, params)
	}
	switch {
	case err != nil, !strings.Contains(kind, "/"), a.contentType == "", len(a.contentType) > 200, mailtext.CheckValue(a.contentType) != nil:
		return errors.New("the content_type is not a media type like \"application/pdf\"")
	case strings.HasPrefix(kind, "multipart/"), strings.HasPrefix(kind, "message/"):
		return errors.New("the content_type may not be multipart or message: put it into an archive")
	}
	id := strings.TrimPrefix(strings.TrimSpace(a.contentID), "cid:")
	if strings.HasPrefix(id, "<") {
		id = strings.TrimSuffix(id[1:], ">")
	}
	if len(id) > 200 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>[]\,;:"`, r) }) {
		return errors.New("the content_id is not one: write it like \"logo\" or \"logo@example.org\", as html names it in src=\"cid:logo\"")
	}
	a.contentID = id
	return nil
}

// WriteTo writes the message in strict CRLF lines.
func (m *message) WriteTo(dst io.Writer) (int64, error) {
	w := &countingWriter{w: dst}
	w.print(m.header + "MIME-Version: 1.0\r\n")
	m.write(w, m.body)
	return w.n, w.err
}

func (m *message) write(w *countingWriter, p *part) {
	if p.kind == "" {
		w.print(p.fields + "\r\n")
		if err := m.spool.copyTo(w, p.content); w.err == nil {
			w.err = err
		}
		return
	}
	b := rand.Text() // cannot occur in base64 lines, which have no hyphens, and cannot be guessed for the other parts
	w.print("Content-Type: multipart/" + p.kind + "; boundary=" + b + "\r\n\r\n")
	for _, kid := range p.parts {
		w.print("--" + b + "\r\n")
		m.write(w, kid)
	}
	w.print("--" + b + "--\r\n")
}

// countingWriter keeps the first error.
type countingWriter struct {
	w   io.Writer
	n   int64
	err error
}

// Write implements io.Writer.
func (c *countingWriter) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.n, c.err = c.n+int64(n), err
	return n, err
}

func (c *countingWriter) print(s string) { _, _ = c.Write([]byte(s)) }
