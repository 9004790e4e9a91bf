package webhook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dawk/mx/dial"
	"dawk/mx/dns"
	"dawk/queue/queuetest"
	"dawk/relay"
)

// A receiver that says nothing, or an octet a second, has ten seconds for its whole answer and
// holds up nobody else.
func TestReceiversThatTakeTheirTime(t *testing.T) {
	trickle := func(c net.Conn, s string) {
		for _, o := range []byte(s) {
			if _, err := c.Write([]byte{o}); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	for name, answer := range map[string]func(c net.Conn){
		"silence":       func(net.Conn) {},
		"a slow header": func(c net.Conn) { trickle(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") },
		"a slow body": func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			trickle(c, strings.Repeat("x", 100))
		},
		"chunks without end": func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			trickle(c, strings.Repeat("1\r\nx\r\n", 100))
		},
		"interim without end": func(c net.Conn) { trickle(c, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := NewPoster(&dial.Web{Addresses: dial.AddressPolicy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Dial: func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go func() {
						defer theirs.Close()
						in := bufio.NewReader(theirs)
						req, err := http.ReadRequest(in) // an answer before the request is another fault
						if err != nil {
							return
						}
						io.Copy(io.Discard, req.Body) //nolint:errcheck // it comes whole
						go answer(theirs)
						io.Copy(io.Discard, in) //nolint:errcheck // until the request ends
					}()
					return ours, nil
				}})
				began := time.Now()
				if status, err := slow(t.Context(), "http://127.0.0.1/", nil, []byte("{}")); err == nil || time.Since(began) != answerTime {
					t.Fatalf("%d, %v after %v", status, err, time.Since(began))
				}
				good := &receiver{}
				s := newSet(t, t.TempDir(), queuetest.NewMemory(), Config{Name: "slow", URL: "http://127.0.0.1/", Secrets: keys(t, secret), Post: slow}, Config{Name: "good", Secrets: keys(t, secret), Post: good.post})
				synctest.Wait()
				for m := range uint64(20) {
					s.happen(relay.EventFailed, m+1)
				}
				time.Sleep(5 * time.Second) // less than the slow one has
				if n := len(good.events()); n != 20 {
					t.Errorf("the other webhook got %d events", n)
				}
				time.Sleep(time.Minute)
				if st := s.hooks.List(); st[0].Pending != 20 || st[0].LastError == "" || st[0].State != Active {
					t.Errorf("%+v", st[0])
				}
				s.stop()
				time.Sleep(2 * time.Second) // the receivers notice
			})
		})
	}
}

// What a receiver sends is bounded, a redirect is not followed, and where a name leads to is looked
// at when it is dialled.
func TestReceiversThatAreNotToBeTrusted(t *testing.T) {
	var led atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Add(1) }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/header":
			for i := range 1000 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1000))
			}
		case "/body":
			io.WriteString(w, strings.Repeat("x", 10<<20))
		case "/redirect":
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		case "/packed": // nothing is unpacked
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "no gzip at all")
		}
	}))
	defer server.Close()
	web := &dial.Web{Dial: (&net.Dialer{}).DialContext, Addresses: dial.AddressPolicy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	for path, want := range map[string]string{"/header": "exceeded", "/body": "longer than", "/redirect": "307", "/packed": "200", "/": "200"} {
		status, err := NewPoster(web)(t.Context(), server.URL+path, nil, []byte("{}"))
		if got := fmt.Sprint(status, err); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	web.Addresses.Allow = nil
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "10.1.2.3", "192.168.1.1", "169.254.169.254", "[fd00::1]", "0.0.0.0"} {
		if _, err := NewPoster(web)(t.Context(), "http://"+host+":1/", nil, nil); err == nil || !strings.Contains(err.Error(), "allow_networks") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if led.Load() > 0 {
		t.Error("a redirect was followed")
	}
}

// resolver answers each question with the next of its lists of addresses.
type resolver struct{ answers [][]string }

func (r *resolver) LookupAddrs(context.Context, string, string) (a dns.Answer[netip.Addr], err error) {
	for _, text := range r.answers[0] {
		a.Records = append(a.Records, netip.MustParseAddr(text))
	}
	r.answers = r.answers[1:]
	return a, nil
}

// What a name led to a moment ago says nothing: the address that is dialled is the one that was
// looked at, whatever stands beside it and whatever the next answer will be.
func TestNameThatMoves(t *testing.T) {
	var dialled []string
	r := &resolver{[][]string{{"192.0.2.1"}, {"127.0.0.1"}, {"10.0.0.1", "192.0.2.2"}, {"::ffff:10.0.0.1"}}}
	post := NewPoster(&dial.Web{Addrs: r, Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		dialled = append(dialled, addr)
		return nil, errors.New("nobody is there")
	}})
	for _, want := range []string{"nobody is there", "127.0.0.1 is a loopback address", "nobody is there", "10.0.0.1 is a private address"} {
		if _, err := post(t.Context(), "http://hook.example.org/", nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
	}
	if want := []string{"192.0.2.1:80", "192.0.2.2:80"}; !slices.Equal(dialled, want) {
		t.Errorf("%v were dialled, not %v", dialled, want)
	}
}

// BenchmarkRequest is what a request costs before it is given to net/http.
func BenchmarkRequest(b *testing.B) {
	from, _ := relay.ParsePath("shop@example.org")
	to, _ := relay.ParsePath("reader@example.com")
	list, _ := keys(b, secret)()
	now := time.Now()
	items := []*item{{event: relay.OutboxEvent{Number: 7, ID: "evt_1K1GAB4YBTA-FK0P", Event: relay.Event{Kind: relay.EventRelayed, Time: now, ID: relay.QueueID{Key: 1, Dir: 1}, From: from, Recipient: to,
		Identity: "shop", MessageID: "<1@example.org>", Size: 4096, Reply: relay.Reply{Code: 250, Status: relay.Status{Class: 2}, Text: "queued as 12345"}, Host: "mx.example.com", Attempt: 1}}}}
	b.ReportAllocs()
	for b.Loop() {
		id, body := request(items, false, now)
		headers(id, body, list, now)
	}
}
