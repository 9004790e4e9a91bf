package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/httpapi/jsonread"
	"dawk/relay/mailtext"
)

// request is a message in JSON, whose parts are in a spool.
type request struct {
	envelope    relay.Envelope
	from        mailtext.Mailbox
	replyTo     []mailtext.Mailbox
	to, cc      []mailtext.Mailbox
	subject     string
	headers     [][2]string // name and value
	text, html  span
	attachments []attachment
}

type attachment struct {
	filename    string
	contentType string // "": application/octet-stream
	contentID   string // the name for cid: in the html; "": none
	content     span   // in lines of base64
}

// The keys of a message and of an attachment, in the order of docs/api.md.
var (
	requestKeys    = []string{"from", "envelope_from", "to", "cc", "bcc", "reply_to", "subject", "text", "html", "attachments", "headers"}
	attachmentKeys = []string{"filename", "content_type", "content", "content_id"}
)

// Bounds of a request.
const (
	maxHeaders     = 100
	maxAttachments = 200
	maxListed      = 100_000   // addresses of one key, empty ones too
	maxFilename    = 200       // octets
	maxKey         = 100       // octets of a key
	maxValue       = 64 << 10  // octets of a value that is held in memory
	maxHeader      = 256 << 10 // octets of all of them that become part of the header; acceptance takes no more
	valueCost      = 512       // octets that are held for a value or recipient, besides its text
)

// reader reads a request as it arrives. What is held in memory is charged to the
// account; the bodies of text, html and attachments go to the spool.
type reader struct {
	json          *jsonread.Reader
	spool         *spool
	account       *account
	maxRecipients int // 0: no limit

	q          request
	has        map[string]bool // keys so far
	recipients recipients
	header     int         // octets that become part of the header
	bounces    *relay.Path // envelope_from; nil: from
}

// readRequest reads the JSON form strictly: an unknown key is refused, since it would be a request
// that is not met.
func readRequest(body io.Reader, s *spool, maxRecipients int) (*request, error) {
	r := &reader{json: jsonread.NewReader(body), spool: s, account: s.account, maxRecipients: maxRecipients,
		has: map[string]bool{}, recipients: recipients{}}
	kind, err := r.json.Next()
	if err == nil && kind != jsonread.Object {
		err = bad("the JSON is not a message: it must be an object, as in {\"from\": …}, not %s", kind)
	}
	if err == nil {
		err = r.json.Object(maxKey, r.member)
	}
	if err == nil {
		err = r.json.End()
	}
	if err == nil {
		err = r.complete()
	}
	return &r.q, wrongJSON(err)
}

// complete checks the members together.
func (r *reader) complete() error {
	q := &r.q
	if q.from.Path.IsNull() {
		return bad("from: it is missing: write it like \"user@example.org\" or \"Name <user@example.org>\"")
	}
	q.envelope.From = q.from.Path
	if r.bounces != nil {
		q.envelope.From = *r.bounces
	}
	if len(q.envelope.Recipients) == 0 {
		return bad("the message has no recipients: give to, cc or bcc")
	}
	q.envelope.SMTPUTF8 = q.envelope.SMTPUTF8 || !q.envelope.From.ASCII() || !q.from.Path.ASCII()
	for _, b := range q.replyTo {
		q.envelope.SMTPUTF8 = q.envelope.SMTPUTF8 || !b.Path.ASCII()
	}
	return nil
}

// member reads the value of a key. null, or an empty value for an optional key, means the same as
// no such key.
func (r *reader) member(key string) error {
	key = strings.ToLower(key)
	if err := r.once("", key, requestKeys); err != nil {
		return err
	}
	if null, err := r.null(); null || err != nil {
		return err
	}
	var err error
	q := &r.q
	switch key {
	case "from":
		err = r.address(key, func(b mailtext.Mailbox, octets int) error {
			q.from = b
			return r.keep(octets)
		})
	case "envelope_from":
		err = r.bounceAddress(key)
	case "to":
		err = r.addresses(key, &q.to, true)
	case "cc":
		err = r.addresses(key, &q.cc, true)
	case "bcc":
		err = r.addresses(key, nil, true)
	case "reply_to":
		err = r.addresses(key, &q.replyTo, false)
	case "subject":
		q.subject, err = r.text(key)
	case "text":
		q.text, err = r.body(key)
	case "html":
		q.html, err = r.body(key)
	case "attachments":
		err = r.attachments(key)
	case "headers":
		err = r.headers(key)
	}
	return err
}

// once refuses a key that is unknown, or that is there twice: one of the two values would be lost.
func (r *reader) once(within, key string, known []string) error {
	if !slices.Contains(known, key) {
		return bad("the JSON is not a message: there is no key %q%s; known are %s", relay.Sanitize(key), in(within), strings.Join(known, ", "))
	}
	if r.has[within+"."+key] {
		return bad("the JSON is not a message: the key %q is there twice%s", key, in(within))
	}
	r.has[within+"."+key] = true
	return nil
}

func in(within string) string {
	if within == "" {
		return ""
	}
	return " in " + within
}

// null reads null, if that is what comes.
func (r *reader) null() (bool, error) {
	kind, err := r.json.Next()
	if err != nil || kind != jsonread.Null {
		return false, err
	}
	return true, r.json.Null()
}

// expect is the error for a value of the wrong kind: it says what the key takes.
func (r *reader) expect(key string, want jsonread.Kind, words string) error {
	kind, err := r.json.Next()
	if err == nil && kind != want {
		err = bad("the JSON is not a message: %s takes %s, not %s", key, words, kind)
	}
	return err
}

// text reads a value that becomes part of the header, and charges for it.
func (r *reader) text(key string) (string, error) {
	s, err := r.value(key)
	if err == nil {
		err = r.keep(len(s))
	}
	return s, err
}

// keep charges for a value of n octets that is kept.
func (r *reader) keep(n int) error { return r.account.add(n + valueCost) }

func (r *reader) value(key string) (string, error) {
	if err := r.expect(key, jsonread.String, "text"); err != nil {
		return "", err
	}
	s, err := r.json.String(maxValue)
	if err != nil {
		if errors.Is(err, jsonread.ErrTooLong) {
			err = bad("%s is longer than %d octets", key, maxValue)
		}
		return "", err
	}
	if r.header += len(s); r.header > maxHeader {
		return "", accept.Refuse(accept.ReasonHeader, 552, "5.3.4", "the header of the message is larger than the limit of %d octets", maxHeader)
	}
	return s, nil
}

// address reads one address; "" is none.
func (r *reader) address(key string, take func(b mailtext.Mailbox, octets int) error) error {
	s, err := r.value(key)
	if err != nil || strings.TrimSpace(s) == "" {
		return err
	}
	b, err := parseMailbox(s)
	if err != nil {
		return bad("%s: %v", key, err)
	}
	return take(b, len(s))
}

// addresses reads one address or a list of them. They are put into shown if they belong in the
// header, and made recipients if the message is sent to them.
func (r *reader) addresses(key string, shown *[]mailtext.Mailbox, sent bool) error {
	take := func(b mailtext.Mailbox, octets int) error {
		fresh := sent && r.recipients.add(&r.q.envelope, b.Path)
		if n := r.maxRecipients; n > 0 && len(r.q.envelope.Recipients) > n {
			return accept.Refuse(accept.ReasonRecipients, 452, "4.5.3", "a message may have %d recipients; send to the others in another", n)
		}
		if shown == nil {
			r.header -= octets
		} else {
			*shown = append(*shown, b)
		}
		if shown == nil && !fresh {
			return nil
		}
		return r.keep(octets)
	}
	one := func(i int) error {
		if i == maxListed {
			return bad("%s may hold at most %d addresses", key, maxListed)
		}
		if err := r.expect(key, jsonread.String, "an address or a list of them"); err != nil {
			return err
		}
		return r.address(key, take)
	}
	kind, err := r.json.Next()
	if err == nil && kind == jsonread.Array {
		return r.json.Array(one)
	}
	return one(0)
}

// bounceAddress reads the reverse-path; "" is the null path.
func (r *reader) bounceAddress(key string) error {
	s, err := r.value(key)
	if err != nil {
		return err
	}
	p, err := parseEnvelopePath(s)
	if err != nil {
		return bad("%s: %v", key, err)
	}
	r.bounces = &p
	return nil
}

// body reads text that people read into the spool, as quoted-printable: it
// survives every host, and has no line that is too long.
func (r *reader) body(key string) (span, error) {
	if err := r.expect(key, jsonread.String, "text"); err != nil {
		return span{}, err
	}
	part := span{from: r.spool.size}
	qp := quotedprintable.NewWriter(r.spool)
	text := &withoutNUL{w: qp}
	err := r.json.CopyString(text)
	if err == nil && text.some {
		if err = qp.Close(); err == nil {
			_, err = io.WriteString(r.spool, "\r\n")
		}
	}
	part.to = r.spool.size
	return part, err
}

// withoutNUL refuses NULs, and remembers whether there was any text.
type withoutNUL struct {
	w    io.Writer
	some bool
}

// Write passes p on.
func (t *withoutNUL) Write(p []byte) (int, error) {
	if bytes.IndexByte(p, 0) >= 0 {
		return 0, bad("text and html may not hold a NUL")
	}
	t.some = t.some || len(p) > 0
	return t.w.Write(p)
}

func (r *reader) attachments(key string) error {
	const words = "a list of objects"
	if err := r.expect(key, jsonread.Array, words); err != nil {
		return err
	}
	return r.json.Array(func(i int) error {
		if i == maxAttachments {
			return bad("a message may have %d attachments", maxAttachments)
		}
		if err := r.expect(key, jsonread.Object, words); err != nil {
			return err
		}
		at := fmt.Sprintf("attachment %d", i+1)
		if err := r.account.add(valueCost); err != nil {
			return err
		}
		var a attachment
		if err := r.json.Object(maxKey, func(key string) error { return r.attachmentMember(&a, at, strings.ToLower(key)) }); err != nil {
			return err
		}
		if err := a.check(); err != nil {
			return bad("%s: %v", at, err)
		}
		r.q.attachments = append(r.q.attachments, a)
		return nil
	})
}

func (r *reader) attachmentMember(a *attachment, at, key string) error {
	if err := r.once(at, key, attachmentKeys); err != nil {
		return err
	}
	if null, err := r.null(); null || err != nil {
		return err
	}
	named := "attachments." + key
	var err error
	switch key {
	case "filename":
		a.filename, err = r.text(named)
	case "content_type":
		a.contentType, err = r.text(named)
	case "content_id":
		a.contentID, err = r.text(named)
	case "content":
		if err := r.expect(named, jsonread.String, "text"); err != nil {
			return err
		}
		a.content.from = r.spool.size
		lines := base64Lines{dst: r.spool}
		if err = r.json.CopyString(&lines); err == nil {
			err = lines.Close()
		}
		a.content.to = r.spool.size
	}
	return err
}

func (r *reader) headers(key string) error {
	const words = "an object whose values are text"
	if err := r.expect(key, jsonread.Object, words); err != nil {
		return err
	}
	return r.json.Object(maxFieldName, func(name string) error {
		if len(r.q.headers) == maxHeaders {
			return bad("headers may have at most %d fields", maxHeaders)
		}
		value := ""
		null, err := r.null()
		if err == nil && !null {
			value, err = r.text("headers." + relay.Sanitize(name))
		}
		r.q.headers = append(r.q.headers, [2]string{name, value})
		return err
	})
}
