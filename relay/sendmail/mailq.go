package sendmail

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"dawk/relay/socket"
)

// maxMailq is how many may ask for their mail at once. A user who holds all
// connections keeps others from using mailq, but delays no mail.
const maxMailq = 8

// MailqDoor is the socket of mailq for users who may not use the command socket. It shows each user
// the mail that he has submitted, and nothing else.
type MailqDoor struct {
	l      net.Listener
	server *http.Server
}

// ListenMailq opens the socket next to the socket submit; all is the handler that serves the list
// of all mail.
func ListenMailq(submit string, all http.Handler) (*MailqDoor, error) {
	l, err := socket.Listen(QueueSocket(submit), 0o666, "mailq's socket", "sendmail.socket")
	if err != nil {
		return nil, err
	}
	d := &MailqDoor{mailqListener{l, make(chan struct{}, maxMailq)},
		&http.Server{Handler: ownQueue(all), ConnContext: withPeer, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 4 << 10}}
	d.server.SetKeepAlivesEnabled(false)
	return d, nil
}

// Serve answers until Close.
func (d *MailqDoor) Serve() { d.server.Serve(d.l) } //nolint:errcheck // it says that the door is closed

// Close ends Serve, if it has begun, and every connection.
func (d *MailqDoor) Close() {
	d.server.Close()
	d.l.Close()
}

// mailqListener accepts connections from programs of this machine, a few at a time, and learns
// which user runs each.
type mailqListener struct {
	net.Listener
	slots chan struct{}
}

// mailqConn is one of them.
type mailqConn struct {
	net.Conn
	who     string // see relay.Message.Identity
	release func()
}

// Accept implements net.Listener. Connections beyond the limit are closed.
func (l mailqListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who, err := Peer(c)
		if err != nil {
			c.Close()
			continue
		}
		select {
		case l.slots <- struct{}{}:
			return mailqConn{c, who, sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			c.Close()
		}
	}
}

// Close also gives the slot back.
func (c mailqConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// peerKey is the key, in a request's context, of the identity at the other end.
type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, c.(mailqConn).who)
}

// localName matches an identity that has no meaning as a pattern in a filter.
var localName = regexp.MustCompile(`^local:[a-z0-9_][a-z0-9_.-]*$`)

// ownQueue serves the list of all mail, restricted to that of the user who asks.
func ownQueue(all http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := r.Context().Value(peerKey{}).(string)
		if r.Method != http.MethodGet || r.URL.Path != "/v1/queue" || !localName.MatchString(who) {
			http.Error(w, `{"title":"Forbidden","status":403,"detail":"this socket shows users of this machine the mail that they have handed in"}`, http.StatusForbidden)
			return
		}
		own := r.Clone(r.Context())
		own.URL.RawQuery, own.Form = url.Values{"filter": {"identity=" + who}}.Encode(), nil
		all.ServeHTTP(w, own)
	})
}
