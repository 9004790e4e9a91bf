package httpapi

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
)

// from is a connection of a client with an address of its own.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// clients is a listener whose connections a test makes.
type clients chan net.Conn

func (c clients) Accept() (net.Conn, error) {
	conn, ok := <-c
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (c clients) Close() error   { return nil }
func (c clients) Addr() net.Addr { return &net.TCPAddr{} }

func (c clients) dial(t *testing.T, address string) net.Conn {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	c <- from{far, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1024))}
	return near
}

// serving is a server behind a door for most connections and spare ones; every
// path but /v1/ needs no token. It ends with the test's bubble.
func serving(t *testing.T, most, spare int, seen relay.Observer) (clients, *http.Server) {
	in := make(clients)
	door := newDoor(in, DoorConfig{PerIP: 2, Observer: seen, most: most, spare: spare})
	mux := http.NewServeMux()
	mux.Handle("/v1/", NewHandler(Config{Users: somebody{}, Door: door, Acceptor: taking{},
		Status: func(relay.QueueID) (*Status, error) { return nil, relay.ErrNotFound }}))
	mux.Handle("/healthz", Spare(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go door.Serve(srv)
	return in, srv
}

// taking takes every message and forgets it.
type taking struct{}

func (taking) Room(int64) error { return nil }
func (taking) Submit(_ context.Context, s accept.Submission) (relay.QueueID, error) {
	_, err := s.Content.WriteTo(io.Discard)
	return relay.QueueID{Key: 1}, err
}

// ask sends a request and gives the status of its answer; 0: there was none.
func ask(t *testing.T, c net.Conn, request string) int {
	t.Helper()
	go io.WriteString(c, request)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	return resp.StatusCode
}

const (
	healthRequest = "GET /healthz HTTP/1.1\r\nHost: relay.test\r\n\r\n"
	mailRequest   = "GET /v1/messages/1RK3ZC8Q9D4-7ABC HTTP/1.1\r\nHost: relay.test\r\nAuthorization: Bearer dawk_good\r\n\r\n"
)

// A client above the limits is told so; health has connections of its own, of
// which the oldest makes room. A place is free again when its connection ends.
func TestHTTPConnectionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // connections end side by side
		var refused []relay.Event
		in, srv := serving(t, 4, 2, observerFunc(func(e relay.Event) {
			mu.Lock()
			defer mu.Unlock()
			refused = append(refused, e)
		}))
		want := func(address, request string, code int) {
			t.Helper()
			c := in.dial(t, address)
			if got := ask(t, c, request); got != code {
				t.Errorf("%s: %d, not %d", address, got, code)
			}
			c.Close()
			synctest.Wait()
		}
		first := in.dial(t, "2001:db8::1")
		in.dial(t, "2001:db8::2") // of the same /64
		want("2001:db8::3", mailRequest, 503)
		in.dial(t, "127.0.0.1")
		in.dial(t, "127.0.0.1")
		want("192.0.2.1", mailRequest, 503) // four in all
		want("192.0.2.1", healthRequest, 200)
		var idle []net.Conn
		for range 3 {
			idle = append(idle, in.dial(t, "192.0.2.1"))
		}
		if _, err := idle[0].Read(make([]byte, 1)); err == nil {
			t.Error("the oldest spare connection stays")
		}
		want("192.0.2.1", healthRequest, 200)
		first.Close()
		synctest.Wait()
		want("2001:db8::4", mailRequest, 404)
		close(in)
		srv.Close()
		synctest.Wait()
		if len(refused) < 3 || refused[0].Reason != "connections" || refused[0].Client != "2001:db8::" || refused[0].Reply.Code != 503 {
			t.Errorf("%+v", refused)
		}
	})
}

// A connection that shows no token ends ten seconds after it began, wherever in
// its request it is; one that has shown a token goes on.
func TestStrangersAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, srv := serving(t, 100, 2, nil)
		for _, beginning := range []string{"", "GET /", healthRequest[:30], "POST /v1/messages HTTP/1.1\r\nHost: relay.test\r\nContent-Length: 1000\r\n\r\n{"} {
			c := in.dial(t, "127.0.0.1")
			began := time.Now()
			go func() {
				_, _ = io.WriteString(c, beginning)
				for range time.Tick(time.Second) { // slowly, and without an end
					if _, err := io.WriteString(c, "x"); err != nil {
						return
					}
				}
			}()
			_, _ = io.Copy(io.Discard, c)
			if took := time.Since(began); took > 11*time.Second {
				t.Errorf("%q lasted %v", beginning, took)
			}
		}
		c := in.dial(t, "127.0.0.1")
		for range 3 {
			if code := ask(t, c, mailRequest); code != http.StatusNotFound {
				t.Errorf("a user was answered %d", code)
			}
			time.Sleep(30 * time.Second)
		}
		close(in)
		srv.Close()
	})
}

// A user with many connections leaves room for the others.
func TestUsersShareMemory(t *testing.T) {
	s := newShares(1 << 20)
	count := func(user string) (n int) {
		for s.take(user, 8<<10) {
			n++
		}
		return n
	}
	if a, b, c := count("a"), count("b"), count("c"); a != 64 || b != 32 || c != 16 {
		t.Errorf("the shares are %d, %d and %d of 128", a, b, c)
	}
	s.give("a", 64*8<<10)
	if b := count("b"); b == 0 {
		t.Error("what one gives back nobody else gets")
	}
	for i := range 100 {
		count(string(rune('A' + i)))
	}
	if s.used > s.most {
		t.Errorf("%d octets are used, of %d", s.used, s.most)
	}
}

// What a header costs is bounded: the number of its fields, and what all
// headers hold together.
func TestHeadersAreBounded(t *testing.T) {
	d := newDoor(nil, DoorConfig{})
	header := func(fields int, value string) (*conn, bool) {
		c := &conn{header: account{of: d.shares}}
		ok := c.mayHave([]byte("GET / HTTP/1.1\r\n"))
		for range fields {
			ok = ok && c.mayHave([]byte("X-A: "+value)) && c.mayHave([]byte("\r\n"))
		}
		return c, ok && c.mayHave([]byte("\r\n{\n\n\n")) && c.inBody
	}
	if _, ok := header(90, "x"); !ok {
		t.Error("90 fields are refused")
	}
	if _, ok := header(110, "x"); ok {
		t.Error("110 fields are taken")
	}
	taken := 0
	for ; taken < 1000; taken++ {
		if _, ok := header(1, strings.Repeat("x", 100<<10)); !ok {
			break
		}
	}
	if taken < 10 || taken > 100 {
		t.Errorf("%d headers of 100 KiB were taken at once", taken)
	}
}

type observerFunc func(relay.Event)

func (f observerFunc) Observe(e relay.Event) { f(e) }
