package httpapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"mime"
	"net/http"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/identity"
)

// accepted is the answer to a message that was accepted.
type accepted struct {
	ID relay.QueueID `json:"id"`
}

// post answers POST /v1/messages.
func (h *handler) post(w http.ResponseWriter, r *http.Request, u *identity.User) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		id, err := h.take(r, u, nil)
		h.answerID(w, id, err, http.StatusAccepted)
		return
	}
	if len(key) > maxIdempotencyKey || !printable(key) {
		fail(w, http.StatusBadRequest, fmt.Sprintf("Idempotency-Key may have at most %d printable ASCII characters", maxIdempotencyKey))
		return
	}
	old, state, err := h.Keys.begin(u.Name, key, h.Now())
	if err != nil {
		h.refuse(w, err)
		return
	}
	switch state {
	case keyBusy:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusConflict, "a request with this Idempotency-Key is being worked on")
	case keyDone:
		sum, err := h.digest(r)
		switch {
		case err != nil:
			h.refuse(w, err)
		case sum != old.Digest:
			fail(w, http.StatusUnprocessableEntity, "this Idempotency-Key was used for another message: take a new one for each message")
		default:
			w.Header().Set("Idempotent-Replayed", "true")
			h.answerID(w, old.ID, nil, http.StatusAccepted)
		}
	case keyNew:
		done := false
		defer func() {
			if !done {
				if err := h.Keys.abandon(u.Name, key); err != nil {
					h.Log.Warn("an idempotency key is not given up: its message cannot be sent again for ten minutes", "err", err)
				}
			}
		}()
		sum := newDigest(r)
		id, err := h.take(r, u, sum)
		if err == nil {
			done = true
			if err := h.Keys.finish(u.Name, key, use{Digest: [32]byte(sum.Sum(nil)), ID: id, At: h.Now()}); err != nil {
				h.Log.Error("an idempotency key is not remembered for others or after a restart", "err", err)
			}
		}
		h.answerID(w, id, err, http.StatusAccepted)
	}
}

func (h *handler) answerID(w http.ResponseWriter, id relay.QueueID, err error, code int) {
	if err != nil {
		h.refuse(w, err)
		return
	}
	w.Header().Set("Location", "/v1/messages/"+id.String())
	answer(w, code, accepted{id})
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// maxLeft is how much of the body of a refused request is read, in octets: as
// much as net/http reads where the connection goes on.
const maxLeft = 256 << 10

// limit extends the time of a body while it moves.
func limit(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(totalTime + blockTime)) // not every writer can; those of net/http do
	r.Body = &movingBody{ReadCloser: r.Body, control: c, end: time.Now().Add(totalTime)}
}

type movingBody struct {
	io.ReadCloser
	control *http.ResponseController
	end     time.Time
}

func (b *movingBody) Read(p []byte) (int, error) {
	next := time.Now().Add(blockTime)
	if next.After(b.end) {
		next = b.end
	}
	_ = b.control.SetReadDeadline(next)
	return b.ReadCloser.Read(p)
}

// newDigest begins the digest that shows whether two requests are the same.
func newDigest(r *http.Request) hash.Hash {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", r.Header.Get("Content-Type"), r.URL.RawQuery)
	return sum
}

// digest reads a request to its end.
func (h *handler) digest(r *http.Request) ([32]byte, error) {
	sum := newDigest(r)
	if _, err := io.Copy(sum, http.MaxBytesReader(nil, r.Body, h.maxBody())); err != nil {
		return [32]byte{}, readError(err)
	}
	return [32]byte(sum.Sum(nil)), nil
}

// maxBody is how large a request may be, in octets: a message of the limit's
// size as JSON.
func (h *handler) maxBody() int64 {
	if h.MaxMessageSize <= 0 {
		return math.MaxInt64
	}
	return h.MaxMessageSize + h.MaxMessageSize/2 + 64<<10
}

// take accepts the message of a request; sum gets the body as it is read.
func (h *handler) take(r *http.Request, u *identity.User, sum hash.Hash) (relay.QueueID, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	account := &account{of: h.shares, user: u.Name}
	defer account.close()
	body := &source{Reader: r.Body}
	if sum != nil {
		body.Reader = io.TeeReader(body.Reader, sum)
	}
	s := accept.Submission{Submitter: accept.Submitter{Identity: u.Name, User: u, Client: clientOf(r), Listener: "http",
		Protocol: "HTTP", TLS: relay.TLSText(r.TLS), HideClient: true}}
	if r.TLS != nil {
		s.Protocol = "HTTPS"
	}
	switch kind {
	case "application/json":
		if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") && !strings.EqualFold(c, "utf8") && !strings.EqualFold(c, "us-ascii") {
			return relay.QueueID{}, bad("the charset %q is not taken: JSON is UTF-8 (RFC 8259)", relay.Sanitize(c))
		}
		return h.takeJSON(r, s, body, account)
	case "message/rfc822":
		return h.takeRaw(r, s, body, account)
	}
	return relay.QueueID{}, &badRequest{http.StatusUnsupportedMediaType, "the Content-Type must be application/json or message/rfc822"}
}

// takeJSON accepts a message that we build from JSON.
func (h *handler) takeJSON(r *http.Request, s accept.Submission, body *source, account *account) (id relay.QueueID, err error) {
	limit := h.maxBody()
	if r.ContentLength > limit {
		return id, readError(&http.MaxBytesError{Limit: limit})
	}
	if err := h.Acceptor.Room(0); err != nil { // before the body is read
		return id, err
	}
	parts := &spool{dir: h.Dir, account: account, room: bounded(h.Acceptor.Room, s.User.MaxMessageSize)}
	defer parts.close()
	body.Reader = http.MaxBytesReader(nil, io.NopCloser(body.Reader), limit)
	q, err := readRequest(body, parts, h.MaxRecipients)
	if body.err != nil {
		return id, readError(body.err)
	}
	if err != nil {
		return id, err
	}
	m, err := q.message(parts)
	if err != nil {
		return id, err
	}
	s.Envelope, s.Content = m.envelope, m
	select {
	case h.submit <- struct{}{}:
		defer func() { <-h.submit }()
	case <-r.Context().Done():
		return id, readError(r.Context().Err())
	}
	// A client that disconnects must not stop a commit: it will ask again, and gets the same ID if it
	// used a key.
	return h.Acceptor.Submit(context.WithoutCancel(r.Context()), s)
}

// source remembers errors of reading from the client, to distinguish them from ours.
type source struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
