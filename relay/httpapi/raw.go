package httpapi

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/mailtext"
)

// takeRaw takes a whole message. It is passed on unchanged, except that LF becomes CRLF and
// acceptance folds long lines.
func (h *handler) takeRaw(r *http.Request, s accept.Submission, body *source, account *account) (id relay.QueueID, err error) {
	if err := h.Acceptor.Room(max(0, r.ContentLength)); err != nil {
		return id, err
	}
	q := r.URL.Query()
	if err := rawEnvelope(q); err != nil {
		return id, err
	}
	if s.From, err = parseEnvelopePath(q.Get("from")); err != nil {
		return id, bad("from: %v", err)
	}
	seen := recipients{}
	for _, to := range q["to"] {
		p, err := parseEnvelopePath(to)
		if err != nil || p.IsNull() {
			return id, bad("to: %q is not an address", relay.Sanitize(to))
		}
		if err := account.add(valueCost); err != nil {
			return id, err
		}
		seen.add(&s.Envelope, p)
	}
	s.SMTPUTF8 = s.SMTPUTF8 || !s.From.ASCII()
	body.Reader = &charged{Reader: body.Reader, account: account}
	raw := &rawContent{src: body}
	s.Content = raw
	id, err = h.Acceptor.Submit(context.WithoutCancel(r.Context()), s)
	if err != nil && raw.err != nil {
		return id, raw.err
	}
	return id, err
}

// charged charges for the part of a message that the queue holds in memory while it arrives.
type charged struct {
	io.Reader
	account *account
	held    int // octets
}

// queueBuffer is how much of a message the queue holds in memory, in octets.
const queueBuffer = 256 << 10

// Read implements io.Reader.
func (c *charged) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if more := min(n, queueBuffer-c.held); more > 0 {
		c.held += more
		if full := c.account.add(more); full != nil {
			return 0, full
		}
	}
	return n, err
}

// rawContent passes a message on, and remembers what was wrong with it.
type rawContent struct {
	src *source
	err error
}

// WriteTo implements io.WriterTo.
func (c *rawContent) WriteTo(dst io.Writer) (int64, error) {
	lines := mailtext.NewLines(dst, false)
	_, err := io.Copy(lines, c.src)
	if err == nil {
		err = lines.Close()
	}
	switch {
	case c.src.err != nil:
		c.err = readError(c.src.err)
	case errors.Is(err, mailtext.ErrBareCR), errors.Is(err, mailtext.ErrNUL):
		c.err = &badRequest{http.StatusUnprocessableEntity, err.Error()}
	}
	return lines.Written(), err
}

// rawEnvelope reads the envelope from the URL of a whole message. An unknown parameter is refused:
// it would be a request that is not met, such as for a copy to somebody.
func rawEnvelope(q url.Values) error {
	for _, key := range slices.Sorted(maps.Keys(q)) {
		if key != "from" && key != "to" {
			return bad("there is no parameter %q: the envelope is ?from=…&to=…&to=…, with a to for every recipient", relay.Sanitize(key))
		}
	}
	switch {
	case !q.Has("from") || len(q["to"]) == 0:
		return bad("a whole message needs its envelope in the URL: ?from=…&to=…&to=…")
	case len(q["from"]) > 1:
		return bad("from is given %d times: a message has one reverse-path", len(q["from"]))
	}
	return nil
}
