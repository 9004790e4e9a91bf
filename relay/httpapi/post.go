package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/identity"
	"dawk/relay/mailtext"
)

// badRequest is a request that says nothing the rules could be asked about.
type badRequest struct {
	code int
	text string
}

func (b *badRequest) Error() string { return b.text }

func bad(format string, args ...any) error {
	return &badRequest{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// accepted is the answer to a message that was taken.
type accepted struct {
	ID relay.QueueID `json:"id"`
}

// post answers POST /v1/messages.
func (h *handler) post(w http.ResponseWriter, r *http.Request, u *identity.User) {
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		id, err := h.submit(r, u, nil)
		h.answerID(w, id, err, http.StatusAccepted)
		return
	}
	if len(key) > maxKey || !printable(key) {
		fail(w, http.StatusBadRequest, fmt.Sprintf("Idempotency-Key may have at most %d printable ASCII characters", maxKey))
		return
	}
	old, state := h.Keys.begin(u.Name, key, h.Now())
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
				h.Keys.abandon(u.Name, key)
			}
		}()
		sum := newDigest(r)
		id, err := h.submit(r, u, sum)
		if err == nil {
			done = true
			if err := h.Keys.finish(u.Name, key, use{Digest: [32]byte(sum.Sum(nil)), ID: id, At: h.Now()}); err != nil {
				h.Log.Error("an idempotency key is remembered in memory only", "err", err)
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

// withBody gives a body as much time as it moves, a stranger's too, and reads
// what a refusal left of it. A client that asked to close the connection and
// is still sending would otherwise meet a reset in place of its answer. One
// that waits for 100 (Continue) has sent nothing yet, and is not asked to.
func withBody(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		limit(w, r)
		next(w, r)
		if r.Header.Get("Expect") == "" {
			_, _ = io.CopyN(io.Discard, r.Body, maxLeft) // the answer stands, whatever comes of this
		}
	}
}

// limit gives a body as much time as it moves.
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

// newDigest begins the digest that tells whether two requests are one.
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

// maxBody is how large a request may be: a message of the limit's size as JSON.
func (h *handler) maxBody() int64 {
	if h.MaxMessageSize <= 0 || h.MaxMessageSize > maxInMemory/2 {
		return maxInMemory
	}
	return h.MaxMessageSize + h.MaxMessageSize/2 + 64<<10
}

func readError(err error) error {
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return &badRequest{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is larger than %d octets", big.Limit)}
	}
	return &badRequest{http.StatusBadRequest, "the request did not come whole"}
}

// submit takes the message of a request; sum gets its body as it goes by.
func (h *handler) submit(r *http.Request, u *identity.User, sum hash.Hash) (relay.QueueID, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	body := io.Reader(r.Body)
	if sum != nil {
		body = io.TeeReader(body, sum)
	}
	s := accept.Submission{Submitter: accept.Submitter{Identity: u.Name, User: u, Client: clientOf(r), Listener: "http",
		Protocol: "HTTP", TLS: tlsText(r.TLS), HideClient: true}}
	if r.TLS != nil {
		s.Protocol = "HTTPS"
	}
	switch kind {
	case "application/json":
		return h.submitJSON(r, s, body)
	case "message/rfc822":
		return h.submitRaw(r, s, body)
	}
	return relay.QueueID{}, &badRequest{http.StatusUnsupportedMediaType, "the Content-Type must be application/json or message/rfc822"}
}

// submitJSON takes a message that we build.
func (h *handler) submitJSON(r *http.Request, s accept.Submission, body io.Reader) (id relay.QueueID, err error) {
	if err := h.Acceptor.Room(0); err != nil { // before the body is read
		return id, err
	}
	limit := h.maxBody()
	size := r.ContentLength
	if size < 0 {
		size = limit
	}
	if size > limit {
		return id, readError(&http.MaxBytesError{Limit: limit})
	}
	// JSON is held in memory, so many large requests at once are not taken.
	if h.inMemory.Add(size) > maxInMemory && size > 1<<20 {
		h.inMemory.Add(-size)
		return id, accept.Refuse(accept.ReasonNoSpace, 452, "4.3.1", "too many large messages at once, try again later")
	}
	defer h.inMemory.Add(-size)
	data, err := io.ReadAll(http.MaxBytesReader(nil, io.NopCloser(body), limit))
	if err != nil {
		return id, readError(err)
	}
	m, err := parseMessage(data)
	if err != nil {
		return id, err
	}
	s.Envelope, s.Content = m.envelope, m
	// A client that goes away must not stop a commit: it will ask again, and
	// be given the same ID when it used a key.
	return h.Acceptor.Submit(context.WithoutCancel(r.Context()), s)
}

// parseMessage reads the JSON form strictly: a key that we do not know would
// be a wish that is not granted.
func parseMessage(data []byte) (*message, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var q request
	if err := dec.Decode(&q); err != nil {
		return nil, wrongJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("there is something behind the JSON of the message")
	}
	return q.message()
}

// submitRaw takes a whole message. It is passed on as it comes: LF becomes
// CRLF, and nothing else is mended.
func (h *handler) submitRaw(r *http.Request, s accept.Submission, body io.Reader) (id relay.QueueID, err error) {
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
		seen.add(&s.Envelope, p)
	}
	s.SMTPUTF8 = s.SMTPUTF8 || !s.From.ASCII()
	raw := &rawContent{src: body}
	s.Content = raw
	id, err = h.Acceptor.Submit(context.WithoutCancel(r.Context()), s)
	if err != nil && raw.err != nil {
		return id, raw.err
	}
	return id, err
}

func parseEnvelopePath(s string) (relay.Path, error) {
	p, err := relay.ParsePath(s)
	if err == nil && !p.IsNull() && p.Domain() == "" {
		err = errors.New("the address has no domain")
	}
	return p, err
}

// recipients are those that an envelope has.
type recipients map[relay.Path]bool

// add makes p a recipient of e, once.
func (r recipients) add(e *relay.Envelope, p relay.Path) {
	if r[p] {
		return
	}
	r[p] = true
	e.Recipients = append(e.Recipients, relay.Recipient{Path: p})
	e.SMTPUTF8 = e.SMTPUTF8 || !p.ASCII()
}

// rawContent passes a message on, and remembers what was wrong with it.
type rawContent struct {
	src io.Reader
	err error
}

// WriteTo implements io.WriterTo.
func (c *rawContent) WriteTo(dst io.Writer) (int64, error) {
	lines := mailtext.NewLines(dst, false)
	src := &sourceErrors{Reader: c.src}
	_, err := io.Copy(lines, src)
	if err == nil {
		err = lines.Close()
	}
	switch {
	case src.err != nil:
		c.err = readError(src.err)
	case errors.Is(err, mailtext.ErrBareCR), errors.Is(err, mailtext.ErrNUL), errors.Is(err, mailtext.ErrLongLine):
		c.err = &badRequest{http.StatusUnprocessableEntity, err.Error()}
	}
	return lines.Written(), err
}

// sourceErrors remembers errors of reading from the client, as opposed to ours.
type sourceErrors struct {
	io.Reader
	err error
}

func (s *sourceErrors) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
