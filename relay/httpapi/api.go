// Package httpapi takes mail over HTTP: POST /v1/messages, as JSON or as a whole message, and GET
// /v1/messages/{id} for its status.
//
// It has no rules of its own about who may send what: tokens are
// relay/identity's, and every message goes to the same accept.Acceptor as
// SMTP's. What it owns are bounds: a Door for connections, shares for the memory
// that requests hold, a spool for parts of messages that arrive. Begin reading at
// handler.post. The locks of Door, conn, shares and Keys are leaf locks, except
// that a conn may take the lock of shares; there are no goroutines besides those of net/http.
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/identity"
)

// Users knows tokens. In production it is *identity.Users.
type Users interface {
	// AuthenticateToken returns an error that wraps identity.ErrCredentials when no user may log in
	// with the token from that address.
	AuthenticateToken(token string, client netip.Addr) (*identity.User, error)
}

// Acceptor holds the rules. In production it is *accept.Acceptor.
type Acceptor interface {
	// Room says whether a message of size octets (0: unknown) would be taken now.
	Room(size int64) error
	// Submit returns nil once the message is on stable storage. Its errors are
	// *accept.Refusal.
	Submit(context.Context, accept.Submission) (relay.QueueID, error)
}

// Status is what became of a message.
type Status struct {
	ID         relay.QueueID     `json:"id"`
	Identity   string            `json:"-"` // who sent it, and may ask
	Arrival    time.Time         `json:"arrival"`
	Recipients []RecipientStatus `json:"recipients"`
	More       int               `json:"more_recipients,omitempty"` // that are not listed
}

// RecipientStatus is the state of one recipient's mail.
type RecipientStatus struct {
	Recipient relay.Path `json:"recipient"`
	State     string     `json:"state"` // "queued", "held", "relayed", "delivered", "failed", "expired", "deleted"
	Attempts  int        `json:"attempts,omitempty"`
	Reply     string     `json:"reply,omitempty"` // what the receiver said last
	Next      time.Time  `json:"next_attempt,omitzero"`
	At        time.Time  `json:"at,omitzero"` // when it ended
}

// Config is what the handler needs.
type Config struct {
	Users    Users
	Acceptor Acceptor
	// Status returns the state of a message; relay.ErrNotFound if nothing is known.
	Status         func(relay.QueueID) (*Status, error)
	MaxMessageSize int64             // octets; 0: no limit but that of what is held in memory
	Keys           *Keys             // for idempotency; nil: kept in memory
	Backoff        *identity.Backoff // counts wrong tokens; nil: they are not counted
	Observer       relay.Observer    // is told of refused tokens
	Listener       string            // names the door in events
	Door           *Door             // the Door of its connections; nil: none
	Dir            string            // for parts of large messages that arrive; "": the system's
	MaxRecipients  int               // of a message; 0: no limit
	Now            func() time.Time  // nil: time.Now
	Log            *slog.Logger      // nil: none
}

// Bounds, in octets and time.
const (
	blockTime         = time.Minute      // without one octet of the body
	totalTime         = 30 * time.Minute // for a request
	maxIdempotencyKey = 255
	// submitting is how many messages in JSON are written to the queue at once:
	// each holds a buffer of the queue for a moment.
	submitting = 16
)

type handler struct {
	Config
	shares *shares
	submit chan struct{} // a slot for each message that is being written to the queue
}

// NewHandler serves /v1/messages.
func NewHandler(c Config) http.Handler {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = relay.Observers{}
	}
	if c.Keys == nil {
		c.Keys = NewKeys()
	}
	if c.Backoff == nil {
		c.Backoff = identity.NewBackoff(0)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	h := &handler{Config: c, submit: make(chan struct{}, submitting)}
	if c.Door != nil {
		h.shares = c.Door.shares
	} else {
		h.shares = newShares(memory)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/messages", h.withUser(h.post))
	mux.HandleFunc("GET /v1/messages/{id}", h.withUser(h.status))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/messages" {
			w.Header().Set("Allow", "POST")
			fail(w, http.StatusMethodNotAllowed, "send a message with POST")
			return
		}
		if id, ok := strings.CutPrefix(r.URL.Path, "/v1/messages/"); ok && id != "" && !strings.Contains(id, "/") {
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, "a message can only be asked for, with GET: what is to be done to it, the administrator does with dawk queue")
			return
		}
		fail(w, http.StatusNotFound, "there is nothing here; messages go to POST /v1/messages")
	})
	return NotSpare(mux)
}

// problem is the body of an error answer.
type problem struct {
	Error  string `json:"error"`
	Status string `json:"status,omitempty"` // RFC 3463, when the rules refused
}

func fail(w http.ResponseWriter, code int, sentence string) {
	answer(w, code, problem{Error: sentence})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v) // the client has gone if this fails
}

// refuse answers with what the rules said.
func (h *handler) refuse(w http.ResponseWriter, err error) {
	var r *accept.Refusal
	var bad *badRequest
	switch {
	case errors.As(err, &bad):
		fail(w, bad.code, bad.Error())
		return
	case errors.As(err, &r):
	case errors.Is(err, relay.ErrNoSpace):
		w.Header().Set("Retry-After", "60")
		fail(w, http.StatusServiceUnavailable, "no space for new mail now, try again later")
		return
	default:
		h.Log.Error("a message over HTTP was not taken", "err", err)
		w.Header().Set("Retry-After", "60")
		fail(w, http.StatusServiceUnavailable, "dawk could not take the message because of a fault of its own, which is in its log; try again later")
		return
	}
	code := http.StatusUnprocessableEntity
	s := r.Reply.Status
	switch {
	case r.Reply.Code/100 == 4 && s == relay.Status{Class: 4, Subject: 7, Detail: 28}:
		code = http.StatusTooManyRequests
		wait := r.Wait
		if wait == 0 {
			wait = time.Minute
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	case r.Reply.Code == 452 && s.Subject == 5: // too many recipients: the same again would not help
	case r.Reply.Code/100 == 4:
		code = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "60")
	case r.Reply.Code == 552:
		code = http.StatusRequestEntityTooLarge
	case s.Subject == 7:
		code = http.StatusForbidden
	}
	answer(w, code, problem{Error: r.Reply.Text, Status: s.String()})
}

// withUser admits requests with a valid token. A stranger's connection ends with the answer. After
// a refusal the rest of the body is read, a stranger's up to [maxLeft]: a client that is still
// sending would otherwise get a reset instead of its answer. A client that waits for 100 (Continue)
// has sent nothing yet, and is not asked to.
func (h *handler) withUser(next func(http.ResponseWriter, *http.Request, *identity.User)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		left := int64(maxLeft)
		if u := h.user(w, r); u != nil {
			left = h.maxBody()
			limit(w, r)
			next(w, r, u)
		} else {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(strangerTime)) // not every writer can; those of net/http can
		}
		if r.Header.Get("Expect") == "" {
			_, _ = io.CopyN(io.Discard, r.Body, left) // the answer stands, whatever comes of this
		}
	}
}

// user is the sender of a request; nil: it may not send, and has been answered.
func (h *handler) user(w http.ResponseWriter, r *http.Request) *identity.User {
	w.Header().Set("Connection", "close") // until the token is known
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if h.blocked(clientOf(r)) { // with a valid token too: a guesser must not learn that a token is right
		h.loginFailed(r, "blocked")
		w.Header().Set("Retry-After", strconv.Itoa(int(identity.BackoffWindow.Seconds())))
		fail(w, http.StatusTooManyRequests, "too many wrong tokens from your address, try again later")
		return nil
	}
	var user *identity.User
	err := identity.ErrCredentials
	if strings.EqualFold(scheme, "Bearer") {
		user, err = h.Users.AuthenticateToken(strings.TrimSpace(token), clientOf(r))
	}
	if err != nil {
		if scheme != "" {
			if !clientOf(r).IsLoopback() {
				h.Backoff.Failed(clientOf(r))
			}
			h.loginFailed(r, "credentials")
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="dawk"`)
		fail(w, http.StatusUnauthorized, "this needs a token, as in Authorization: Bearer dawk_…; the administrator makes one with dawk user token NAME")
		return nil
	}
	if c := connOf(r); c != nil {
		if err := c.known(user.Name); err != nil {
			h.refuse(w, err)
			return nil
		}
	}
	w.Header().Del("Connection")
	return user
}

// blocked says whether an address has sent too many wrong tokens. Loopback is exempt: with a proxy
// on this machine every client has that address.
func (h *handler) blocked(client netip.Addr) bool {
	return !client.IsLoopback() && h.Backoff.Blocked(client)
}

// loginFailed reports a refused token; see EventLogin for reason.
func (h *handler) loginFailed(r *http.Request, reason string) {
	h.Observer.Observe(relay.Event{Kind: relay.EventLogin, Time: h.Now(), Client: clientOf(r).String(),
		Listener: h.Listener, TLS: relay.TLSText(r.TLS), Reason: reason})
}

func clientOf(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap().WithZone("")
}

// status answers GET /v1/messages/{id}. The message of another user is answered as one that does
// not exist.
func (h *handler) status(w http.ResponseWriter, r *http.Request, u *identity.User) {
	id, err := relay.ParseQueueID(r.PathValue("id"))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	s, err := h.Status(id)
	switch {
	case err == nil && s.Identity == u.Name:
		answer(w, http.StatusOK, s)
	case err == nil || errors.Is(err, relay.ErrNotFound):
		fail(w, http.StatusNotFound, "no message "+id.String()+" of yours is known; what ended is forgotten after a while")
	default:
		h.Log.Error("the status of a message could not be read", "id", id, "err", err)
		fail(w, http.StatusServiceUnavailable, "local trouble, try again later")
	}
}
