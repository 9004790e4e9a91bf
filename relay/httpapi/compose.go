package httpapi

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"sort"
	"strings"

	"dawk/relay"
	"dawk/relay/mailtext"
)

// request is a message in JSON.
type request struct {
	From         string            `json:"from"`
	EnvelopeFrom *string           `json:"envelope_from"` // where bounces go; nil: from
	ReplyTo      list              `json:"reply_to"`
	To           list              `json:"to"`
	Cc           list              `json:"cc"`
	Bcc          list              `json:"bcc"`
	Subject      string            `json:"subject"`
	Text         string            `json:"text"`
	HTML         string            `json:"html"`
	Attachments  []attachment      `json:"attachments"`
	Headers      map[string]string `json:"headers"`
}

type attachment struct {
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"` // "": application/octet-stream
	Content     []byte `json:"content"`      // base64
}

// list is one text or several.
type list []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *list) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*l = make(list, 1)
		return json.Unmarshal(b, &(*l)[0])
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// Bounds of a request.
const (
	maxHeaders     = 100
	maxAttachments = 200
	maxFilename    = 200 // octets
)

// message is a message that was built. Every value in it was checked, and
// encoded by the one function that writes its kind of field: nothing that a
// client wrote reaches the header in another way.
type message struct {
	envelope relay.Envelope
	header   string
	request  *request
}

func (q *request) message() (*message, error) {
	m := &message{request: q}
	from, err := parseMailbox(q.From)
	if err != nil {
		return nil, bad("from: %v", err)
	}
	m.envelope.From = from.Path
	if q.EnvelopeFrom != nil {
		if m.envelope.From, err = parseEnvelopePath(*q.EnvelopeFrom); err != nil {
			return nil, bad("envelope_from: %v", err)
		}
	}
	if err := m.addressFields(from); err != nil {
		return nil, err
	}
	if len(m.envelope.Recipients) == 0 {
		return nil, bad("the message has no recipients: give to, cc or bcc")
	}
	subject, err := mailtext.Text("Subject", q.Subject)
	if err != nil {
		return nil, bad("%v", err)
	}
	if q.Subject != "" {
		m.header += subject
	}
	if err := m.ownFields(); err != nil {
		return nil, err
	}
	if strings.ContainsRune(q.Text, 0) || strings.ContainsRune(q.HTML, 0) {
		return nil, bad("text and html may hold no NUL")
	}
	return m, q.checkAttachments()
}

// addressFields writes the fields that hold addresses, and the envelope.
func (m *message) addressFields(from mailtext.Mailbox) error {
	q, seen := m.request, recipients{}
	for _, f := range []struct {
		name, key string
		values    list
		sent      bool // to these
		shown     bool
	}{{"Reply-To", "reply_to", q.ReplyTo, false, true}, {"To", "to", q.To, true, true}, {"Cc", "cc", q.Cc, true, true}, {"Bcc", "bcc", q.Bcc, true, false}} {
		var boxes []mailtext.Mailbox
		for _, v := range f.values {
			b, err := parseMailbox(v)
			if err != nil {
				return bad("%s: %v", f.key, err)
			}
			boxes = append(boxes, b)
			if f.sent {
				seen.add(&m.envelope, b.Path)
			}
		}
		if len(boxes) == 0 || !f.shown {
			continue
		}
		line, err := mailtext.List(f.name, boxes)
		if err != nil {
			return bad("%s: %v", f.key, err)
		}
		m.header += line
	}
	line, err := mailtext.List("From", []mailtext.Mailbox{from})
	if err != nil {
		return bad("from: %v", err)
	}
	m.header = line + m.header
	m.envelope.SMTPUTF8 = m.envelope.SMTPUTF8 || !m.envelope.From.ASCII() || !from.Path.ASCII()
	return nil
}

// taken are fields that have a key of their own, that we write, or that only
// relays may. Every other name is the client's.
var taken = map[string]string{
	"from": "from", "to": "to", "cc": "cc", "bcc": "bcc", "reply-to": "reply_to", "subject": "subject",
	"sender": "", "return-path": "", "received": "", "mime-version": "", "dkim-signature": "", "authentication-results": "",
	"resent-from": "", "resent-to": "", "resent-cc": "", "resent-bcc": "", "resent-sender": "", "resent-date": "", "resent-message-id": "",
}

// freeText are the fields beside X-… in which encoded words may stand (RFC
// 2047 §5).
var freeText = map[string]bool{"comments": true, "organization": true}

// ownFields writes the fields under headers.
func (m *message) ownFields() error {
	if len(m.request.Headers) > maxHeaders {
		return bad("headers may have at most %d fields", maxHeaders)
	}
	names := make([]string, 0, len(m.request.Headers))
	for name := range m.request.Headers {
		names = append(names, name)
	}
	sort.Strings(names)
	seen := map[string]bool{}
	for _, name := range names {
		lower := strings.ToLower(name)
		key, ours := taken[lower]
		switch {
		case !mailtext.FieldName(name) || len(name) > maxFieldName:
			return bad("headers: %q is not the name of a header field", relay.Sanitize(name))
		case key != "":
			return bad("headers: give %s as the key %q", name, key)
		case ours || strings.HasPrefix(lower, "content-") || strings.HasPrefix(lower, "arc-"):
			return bad("headers: %s is not yours to set", name)
		case seen[lower]:
			return bad("headers: %s stands there twice", name)
		}
		seen[lower] = true
		write := mailtext.Tokens
		if strings.HasPrefix(lower, "x-") || freeText[lower] {
			write = mailtext.Text
		}
		line, err := write(name, m.request.Headers[name])
		if err != nil {
			return bad("headers: %v", err)
		}
		m.header += line
	}
	return nil
}

const maxFieldName = 70 // octets: a sensible length

// parseMailbox reads "user@example.org" or "Name <user@example.org>".
func parseMailbox(s string) (mailtext.Mailbox, error) {
	if err := mailtext.CheckValue(s); err != nil {
		return mailtext.Mailbox{}, fmt.Errorf("the address %w", err)
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		return mailtext.Mailbox{}, fmt.Errorf("%q is not an address: write it like \"user@example.org\" or \"Name <user@example.org>\"", relay.Sanitize(s))
	}
	at := strings.LastIndexByte(a.Address, '@')
	p, err := relay.NewPath(a.Address[:at], a.Address[at+1:])
	if err != nil {
		return mailtext.Mailbox{}, err
	}
	// An encoded word in the name may have held anything.
	if err := mailtext.CheckValue(a.Name); err != nil {
		return mailtext.Mailbox{}, fmt.Errorf("the name %w", err)
	}
	return mailtext.Mailbox{Name: a.Name, Path: p}, nil
}

func (q *request) checkAttachments() error {
	if len(q.Attachments) > maxAttachments {
		return bad("a message may have %d attachments", maxAttachments)
	}
	for i := range q.Attachments {
		a := &q.Attachments[i]
		if err := a.check(); err != nil {
			return bad("attachment %d: %v", i+1, err)
		}
	}
	return nil
}

// check puts content_type into its canonical form.
func (a *attachment) check() error {
	if err := mailtext.CheckValue(a.Filename); err != nil {
		return fmt.Errorf("the filename %w", err)
	}
	if len(a.Filename) > maxFilename {
		return fmt.Errorf("the filename is longer than %d octets", maxFilename)
	}
	if a.ContentType == "" {
		a.ContentType = "application/octet-stream"
	}
	kind, params, err := mime.ParseMediaType(a.ContentType)
	if err == nil {
		a.ContentType = mime.FormatMediaType(kind, params)
	}
	switch {
	case err != nil, !strings.Contains(kind, "/"), a.ContentType == "", len(a.ContentType) > 200, mailtext.CheckValue(a.ContentType) != nil:
		return errors.New("the content_type is not one, like \"application/pdf\"")
	case strings.HasPrefix(kind, "multipart/"), strings.HasPrefix(kind, "message/"):
		return errors.New("the content_type may not be multipart or message: put it into an archive")
	}
	return nil
}

// WriteTo writes the message in strict CRLF lines. It is called once.
func (m *message) WriteTo(dst io.Writer) (int64, error) {
	w := &countingWriter{w: dst}
	w.print(m.header + "MIME-Version: 1.0\r\n")
	q := m.request
	if len(q.Attachments) == 0 {
		m.writeBody(w)
		return w.n, w.err
	}
	b := rand.Text() // cannot stand in base64 lines behind two hyphens, nor be guessed for the others
	w.print("Content-Type: multipart/mixed; boundary=" + b + "\r\n\r\n")
	if q.Text != "" || q.HTML != "" {
		w.print("--" + b + "\r\n")
		m.writeBody(w)
	}
	for _, a := range q.Attachments {
		w.print("--" + b + "\r\nContent-Type: " + a.ContentType + "\r\n")
		if a.Filename == "" {
			w.print("Content-Disposition: attachment\r\n")
		} else {
			w.print("Content-Disposition: attachment;\r\n " + fileParam(a.Filename) + "\r\n")
		}
		w.print("Content-Transfer-Encoding: base64\r\n\r\n")
		writeBase64(w, a.Content)
	}
	w.print("--" + b + "--\r\n")
	return w.n, w.err
}

// fileParam is the filename parameter, as RFC 2231 wants it.
func fileParam(name string) string {
	_, param, _ := strings.Cut(mime.FormatMediaType("attachment", map[string]string{"filename": name}), "; ")
	return param
}

// writeBody writes text, html, or both as alternatives.
func (m *message) writeBody(w *countingWriter) {
	q := m.request
	if q.Text == "" || q.HTML == "" {
		kind, text := "plain", q.Text
		if q.HTML != "" {
			kind, text = "html", q.HTML
		}
		writeText(w, kind, text)
		return
	}
	b := rand.Text()
	w.print("Content-Type: multipart/alternative; boundary=" + b + "\r\n\r\n--" + b + "\r\n")
	writeText(w, "plain", q.Text)
	w.print("--" + b + "\r\n")
	writeText(w, "html", q.HTML)
	w.print("--" + b + "--\r\n")
}

// writeText writes one part in quoted-printable: it survives every host, and
// has no line that is too long.
func writeText(w *countingWriter, kind, text string) {
	w.print("Content-Type: text/" + kind + "; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	qp := quotedprintable.NewWriter(w)
	_, _ = io.WriteString(qp, text) // w keeps the first error
	_ = qp.Close()
	w.print("\r\n")
}

// writeBase64 writes lines of 76 characters (RFC 2045 §6.8).
func writeBase64(w *countingWriter, data []byte) {
	var line [78]byte
	for len(data) > 0 {
		n := min(57, len(data))
		base64.StdEncoding.Encode(line[:], data[:n])
		end := base64.StdEncoding.EncodedLen(n)
		_, _ = w.Write(append(line[:end:end], "\r\n"...))
		data = data[n:]
	}
}

// countingWriter keeps the first error.
type countingWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.n, c.err = c.n+int64(n), err
	return n, err
}

func (c *countingWriter) print(s string) { _, _ = c.Write([]byte(s)) }
