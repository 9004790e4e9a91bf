// Package door finds out who asks the relay for something, and puts it into the
// context of the request as an operator.Caller: over a unix socket the kernel knows
// the process, over HTTP a program shows a token, and a person has logged in with a
// password and has a session. What each role may do is not decided here, but by the
// table of paths in package admin.
//
// Wrong passwords and tokens are counted together with those of SMTP
// (identity.Backoff). Sessions are kept in memory: a restart ends them. The package
// has no goroutines; Sessions.mu guards the map of sessions. Begin reading at
// Door.Programs and Door.Login.
package door

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/operator"
	"dawk/relay/httpapi"
	"dawk/relay/identity"
	"dawk/relay/socket"
)

// Door is the way in over HTTP.
type Door struct {
	Operators *operator.Store
	Sessions  *Sessions
	Backoff   *identity.Backoff
	Observer  relay.Observer // hears of logins
	Listener  string         // names the door in events
	Log       *slog.Logger
}

// errBlocked: too many wrong passwords or tokens came from an address.
var errBlocked = errors.New("too many wrong passwords or tokens came from your address; try again in ten minutes")

// Programs serves those who show a token, and people with a session who only look.
// A stranger's connection ends with the answer.
func (d *Door) Programs(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A browser that somebody looks with must not make a page of what a stranger wrote.
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		caller, err := d.caller(r)
		if err == nil {
			err = d.admit(w, r, caller)
		}
		if err != nil {
			w.Header().Set("Connection", "close")
			d.refuse(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(operator.With(r.Context(), caller)))
	})
}

// admit ends the limits of a stranger for somebody who is known.
func (d *Door) admit(w http.ResponseWriter, r *http.Request, c operator.Caller) error {
	if c.Role == operator.Nobody {
		w.Header().Set("Connection", "close")
		return nil
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a copy of the queue takes as long as it takes
	return httpapi.Known(r, "operator "+c.Name)
}

func (d *Door) caller(r *http.Request) (operator.Caller, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme == "" {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return operator.Caller{}, nil // a session alone changes nothing here: another site may have sent the request
		}
		// A link of another site must not make somebody read a message, which is logged, or copy the queue.
		if from := r.Header.Get("Sec-Fetch-Site"); from == "cross-site" || from == "same-site" {
			return operator.Caller{}, nil
		}
		if s := d.Session(r); s != nil {
			return s.Caller, nil
		}
		return operator.Caller{}, nil
	}
	client := clientOf(r)
	if d.Backoff.Blocked(client) { // with a good token too: who guesses must not learn that one was right
		d.event(r, "", "blocked")
		return operator.Caller{}, errBlocked
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return operator.Caller{}, nil
	}
	c, err := d.Operators.Token(strings.TrimSpace(token), time.Now())
	if errors.Is(err, identity.ErrCredentials) {
		d.Backoff.Failed(client)
		d.event(r, "", "credentials")
		return operator.Caller{}, nil
	}
	return c, err
}

// refuse answers with a problem.
func (d *Door) refuse(w http.ResponseWriter, err error) {
	status, err := d.Say(err)
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(identity.BackoffWindow.Seconds())))
	}
	api.Fail(w, status, err)
}

// Say is the status for an error of this package, and what a stranger may read of it.
func (d *Door) Say(err error) (int, error) {
	switch {
	case errors.Is(err, errBlocked):
		return http.StatusTooManyRequests, errBlocked
	case errors.Is(err, identity.ErrCredentials):
		return http.StatusUnauthorized, errors.New("the name or the password is wrong")
	}
	d.Log.Error("nobody can be let in over HTTP", "error", err)
	return http.StatusServiceUnavailable, errors.New("logins cannot be checked now; the log of the relay says why")
}

// event tells of a login; see relay.EventLogin for reason. A stranger chooses the
// name, which a form lets be long.
func (d *Door) event(r *http.Request, name, reason string) {
	d.Observer.Observe(relay.Event{Kind: relay.EventLogin, Time: time.Now(), Client: clientOf(r).String(), Identity: relay.Sanitize(relay.Clip(name)),
		Listener: d.Listener, TLS: relay.TLSText(r.TLS), Reason: reason})
}

func clientOf(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap().WithZone("")
}

// Login checks a password and begins a session. A wrong one meets what it meets over
// SMTP: an address is blocked, and on loopback, which is everybody's, the name is
// slowed down. For errors see Say.
func (d *Door) Login(w http.ResponseWriter, r *http.Request, name, password string) error {
	client := clientOf(r)
	if d.Backoff.Blocked(client) {
		d.event(r, name, "blocked")
		return errBlocked
	}
	o, err := d.Operators.Login(r.Context(), name, password)
	switch {
	case d.Backoff.Blocked(client): // many at once are no more guesses than one after the other
		d.event(r, name, "blocked")
		return errBlocked
	case errors.Is(err, identity.ErrCredentials):
		d.Backoff.Failed(client)
		wait := failedDelay
		if client.IsLoopback() {
			wait = d.Backoff.FailedAs(name)
		}
		d.event(r, name, "credentials")
		return errors.Join(err, d.wait(r, wait))
	case err != nil:
		return err
	}
	if client.IsLoopback() {
		if err := d.wait(r, d.Backoff.Delay(name)); err != nil {
			return err
		}
	}
	d.event(r, o.Name, "ok")
	d.Log.Info("operator has logged in", "who", o.Name, "client", client)
	d.Sessions.begin(w, r, o)
	return nil
}

// failedDelay is what the answer to a wrong password waits.
const failedDelay = time.Second

// wait lets a client wait for its answer.
func (d *Door) wait(r *http.Request, delay time.Duration) error {
	if delay > failedDelay { // the time of a stranger would end before
		if err := httpapi.Known(r, "login"); err != nil {
			return err
		}
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

type uidKey struct{}

// Peer puts the process at the other end of a unix socket into the context of a
// connection: it is the ConnContext of a server behind Local.
func Peer(ctx context.Context, c net.Conn) context.Context {
	uid, err := socket.PeerUID(c)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, uidKey{}, uid)
}

// Local serves processes of this machine, which the mode of their socket has let in,
// with a role.
func Local(role operator.Role, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := operator.Caller{Name: "uid:unknown", Role: role}
		if uid, ok := r.Context().Value(uidKey{}).(uint32); ok {
			c.Name = fmt.Sprintf("uid:%d", uid)
		}
		next.ServeHTTP(w, r.WithContext(operator.With(r.Context(), c)))
	})
}
