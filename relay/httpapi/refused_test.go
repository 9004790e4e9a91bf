package httpapi

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay/identity"
)

// nobody knows no token.
type nobody struct{}

func (nobody) AuthenticateToken(string, netip.Addr) (*identity.User, error) {
	return nil, identity.ErrCredentials
}

// once accepts one connection, and then waits to be closed.
type once struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l once) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l once) Close() error   { close(l.closed); return nil }
func (l once) Addr() net.Addr { return &net.TCPAddr{} }

// A client that closes after the answer, and sends all before it reads, gets
// its refusal: what is left of the body is read, though nobody wants it. The
// pipe holds nothing, so an answer too early would leave both sides stuck.
func TestRefusedWhileTheBodyIsSent(t *testing.T) {
	for _, c := range []struct{ size int }{{100_000}, {1}} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			l := once{make(chan net.Conn, 1), make(chan struct{})}
			l.conn <- server
			srv := &http.Server{Handler: NewHandler(Config{Users: nobody{}}), WriteTimeout: time.Minute}
			go srv.Serve(l)
			_ = client.SetDeadline(time.Now().Add(time.Minute))
			head := fmt.Sprintf("POST /v1/messages HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", c.size)
			for _, part := range []string{head, strings.Repeat("x", c.size)} {
				if _, err := client.Write([]byte(part)); err != nil {
					t.Fatalf("%d octets: the client could not send: %v", c.size, err)
				}
			}
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil || resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%d octets: %v, %v", c.size, resp, err)
			}
			client.Close()
			srv.Close()
		})
	}
}

// A stranger who sends nothing of the body that was promised is let go.
func TestStrangersBodyHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		l := once{make(chan net.Conn, 1), make(chan struct{})}
		l.conn <- server
		srv := &http.Server{Handler: NewHandler(Config{Users: nobody{}})}
		go srv.Serve(l)
		if _, err := client.Write([]byte("POST /v1/messages HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 1000\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v, %v", resp, err)
		}
		if waited := time.Since(began); waited > strangerTime {
			t.Errorf("it was answered after %v", waited)
		}
		client.Close()
		srv.Close()
	})
}
