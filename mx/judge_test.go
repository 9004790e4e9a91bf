package mx_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/relay"
	"dawk/relay/replies"
)

// TestSessionOfEachRecipient: a host takes the first hundred and dies, another
// takes the rest: each recipient is told of the session that it went in.
func TestSessionOfEachRecipient(t *testing.T) {
	cfg, ca := certified(t, "mx1.test")
	w := newWorld(t, cfg, func(c *mx.Config) { c.RootCAs = ca.Pool() })
	second := newServer(t, mxtest.Config{Addr: fmt.Sprintf("127.0.0.2:%d", w.srv.Port())})
	if err := w.dns.Add("big.test. MX 10 mx1.test.\nbig.test. MX 20 mx2.test.\nmx1.test. A 127.0.0.1\nmx2.test. A 127.0.0.2"); err != nil {
		t.Fatal(err)
	}
	var to []string
	for i := range 205 {
		to = append(to, fmt.Sprintf("r%03d@big.test", i))
	}

	res := w.deliver(task(t, letter, to...))
	if len(w.srv.Messages()) != 3 || res.Earlier != nil || res.By != nil || res.SessionOf(204).Host != "mx1.test" {
		t.Fatalf("three transactions of one session are %d; earlier ones: %+v", len(w.srv.Messages()), res.Earlier)
	}

	w.script("rcpt:r100@big.test", "drop", 0)
	res = w.deliver(task(t, letter, to...))
	if len(second.Messages()) != 2 || len(res.Earlier) != 1 || res.Host != "mx2.test" {
		t.Fatalf("the second host has %d messages: %+v", len(second.Messages()), res.Earlier)
	}
	for i, r := range res.Replies {
		want := relay.Session{Route: "mx", Host: "mx1.test", Addr: "127.0.0.1", TLS: "TLS1.3", TLSLevel: relay.TLSUnverified}
		if i >= 100 {
			want = relay.Session{Route: "mx", Host: "mx2.test", Addr: "127.0.0.2", TLSLevel: relay.TLSClear}
		}
		got := *res.SessionOf(i)
		want.Provider = got.Provider
		if !r.Positive() || r.MTA != want.Host || got != want {
			t.Errorf("recipient %d: %+v, %v", i, got, r)
		}
	}

	// Nobody takes the rest: it was the other host that turned it away.
	if err := second.Script("connect", "421 4.3.2 not now", 0); err != nil {
		t.Fatal(err)
	}
	second.Disconnect()
	res = w.deliver(task(t, letter, to...))
	visits := fmt.Sprint(len(res.Visits))
	for _, v := range res.Visits {
		visits += fmt.Sprintf(" %s [%s] %s %v %d", v.Host, v.Addr, v.TLS, v.Spoke(), v.Reply.Code)
	}
	if want := "2 mx1.test [127.0.0.1] TLS1.3 true 0 mx2.test [127.0.0.2]  true 421"; visits != want {
		t.Errorf("it went to %s, want %s", visits, want)
	}
	if s := res.SessionOf(99); !res.Replies[99].Positive() || s.Host != "mx1.test" || s.TLS != "TLS1.3" {
		t.Errorf("taken: %+v, %v", s, res.Replies[99])
	}
	if s := res.SessionOf(100); res.Replies[100].Positive() || s.Host != "mx2.test" || s.TLS != "" || s.TLSLevel != "" {
		t.Errorf("not taken: %+v, %v", s, res.Replies[100])
	}
}

// TestSentAsOfEachRecipient: who was taken as the message came is not told to
// have got it from the mailbox.
func TestSentAsOfEachRecipient(t *testing.T) {
	tr, srv, _ := smartHost(t, mxtest.Config{Users: map[string]string{"scanner@example.org": "p"}},
		mx.Route{Password: "p", Provider: replies.ProviderMicrosoft, Rewrite: mx.RewriteDenied}, 0)
	if err := srv.Script("rcpt:denied@b.test", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", 1); err != nil {
		t.Fatal(err)
	}
	res := tr.Deliver(t.Context(), task(t, letter, "taken@b.test", "denied@b.test"))
	if !res.Replies[0].Positive() || !res.Replies[1].Positive() || len(srv.Messages()) != 2 {
		t.Fatalf("%v, %d messages", res.Replies, len(srv.Messages()))
	}
	if as := res.SessionOf(0).SentAs; !as.IsNull() {
		t.Errorf("the first was sent as %v", as)
	}
	if as := res.SessionOf(1).SentAs; as != path(t, "scanner@example.org") {
		t.Errorf("the second was sent as %v", as)
	}
}

// TestSessionsOfPartedRoutes: recipients of one task that have other routes by
// now are told of their own.
func TestSessionsOfPartedRoutes(t *testing.T) {
	hub := newServer(t, mxtest.Config{})
	w := newWorld(t, mxtest.Config{}, func(c *mx.Config) {
		c.Routes = []mx.Route{{Name: "hub", To: []string{"c.test"}, Via: []mx.Hop{hop(t, hub.Addr(), false)}}}
	})
	res := w.deliver(task(t, letter, "x@c.test", "y@b.test", "z@gone.test"))
	for i, want := range []relay.Session{
		{Route: "hub", Host: "127.0.0.1", Addr: "127.0.0.1", TLSLevel: relay.TLSClear},
		{Route: "mx", Host: "mx.b.test", Addr: "127.0.0.1", TLSLevel: relay.TLSClear},
		{Route: "mx"},
	} {
		got := *res.SessionOf(i)
		got.Provider = ""
		if got != want {
			t.Errorf("recipient %d: %+v, want %+v", i, got, want)
		}
	}
}

// Every host that an attempt turned to is told, with what came of it: also where
// nobody answered, and where several addresses were tried at once.
func TestVisits(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, func(c *mx.Config) {
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if !strings.HasPrefix(addr, "127.0.0.1:") {
				return nil, errors.New("connection refused")
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	if err := w.dns.Add("far.test. MX 10 gone.test.\nfar.test. MX 20 two.test.\nfar.test. MX 30 mx1.test.\n" +
		"gone.test. A 127.0.0.3\ntwo.test. A 127.0.0.4\ntwo.test. A 127.0.0.5\nmx1.test. A 127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	w.script("rcpt:b@far.test", "550 5.1.1 no", 0)
	res := w.deliver(task(t, letter, "a@far.test", "b@far.test"))
	hosts := map[string]relay.Visit{}
	for _, v := range res.Visits {
		hosts[v.Addr] = v
	}
	for addr, host := range map[string]string{"127.0.0.3": "gone.test", "127.0.0.4": "two.test", "127.0.0.5": "two.test"} {
		if v := hosts[addr]; v.Host != host || v.Spoke() || v.Reply.Stage != relay.StageConnect {
			t.Errorf("%s: %+v", addr, v)
		}
	}
	last := res.Visits[len(res.Visits)-1]
	if len(res.Visits) != 4 || last.Host != "mx1.test" || !last.Spoke() || last.Reply.Code != 550 || last.TLSLevel != relay.TLSClear {
		t.Errorf("%d visits, the last one %+v", len(res.Visits), last)
	}
	res = w.deliver(task(t, letter, "a@far.test"))
	if n := len(res.Visits); n == 0 || res.Visits[n-1].Reply.Code != 250 {
		t.Errorf("%+v", res.Visits)
	}
}
