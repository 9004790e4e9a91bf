package mx_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/relay"
)

// A notice that the smart host refuses goes another way, and waits while there
// is one that may lead there.
func TestARefusedNoticeGoesAnotherWay(t *testing.T) {
	for _, c := range []struct {
		name         string
		smart, byMX  string // "event reply" of the smart host, and of the MX host
		first, again string // how the notice ends in the first attempt, and in the second; "" none is made
	}{
		{"at MAIL", "mail:<> 501 Invalid MAIL FROM address provided", "", "mx", ""},
		{"at RCPT", "rcpt 550 to send email from a blank sender, enable blank senders", "", "mx", ""},
		{"behind the final dot", "dot 554 5.7.1 no", "", "mx", ""},
		{"no MX host is reached", "mail:<> 550 no", "connect drop", "smart as a@example.org", ""},
		{"the MX host refuses for now", "mail:<> 550 no", "rcpt 450 4.7.1 greylisted", "smart as a@example.org", ""},
		{"the MX host refuses for good", "mail:<> 501 no", "rcpt 550 5.7.1 blocked using PBL", "smart as a@example.org", ""},
		{"the MX host says that there is no such mailbox", "mail:<> 550 no", "rcpt 550 5.1.1 no such user", "fails", ""},
		{"the smart host says so", "rcpt 550 5.1.1 no such user", "", "fails", ""},
		{"the smart host refuses for now", "mail:<> 451 later", "", "waits", "waits"},
		{"nobody takes it", "mail 550 no", "rcpt 550 5.7.1 no", "fails", ""},
		{"nobody takes it, one of them for now", "mail 550 no", "rcpt 450 4.7.1 no", "waits", "waits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			smart := newServer(t, mxtest.Config{})
			w := newWorld(t, mxtest.Config{}, func(cfg *mx.Config) {
				cfg.OwnAddress = path(t, "a@example.org")
				cfg.Routes = []mx.Route{{Name: "smart", To: []string{"*"}, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(smart.Port())}}}}
			})
			for srv, line := range map[*mxtest.Server]string{smart: c.smart, w.srv: c.byMX} {
				if event, says, _ := strings.Cut(line, " "); event != "" {
					if err := srv.Script(event, says, 0); err != nil {
						t.Fatal(err)
					}
				}
			}
			deliver := func() string {
				n := task(t, letter, "b@b.test")
				n.Message.From, n.Message.Notice = relay.Path{}, true
				switch r := w.deliver(n).Replies[0]; {
				case r.Permanent():
					return "fails"
				case !r.Positive():
					return "waits"
				}
				if all := smart.Messages(); len(all) > 0 {
					return "smart as " + strings.Trim(all[0].From, "<>")
				}
				return "mx"
			}
			if got := deliver(); got != c.first {
				t.Errorf("the first attempt: %s, want %s", got, c.first)
			}
			if c.again == "" {
				return
			}
			if got := deliver(); got != c.again {
				t.Errorf("the second attempt: %s, want %s", got, c.again)
			}
		})
	}
}

// Whatever words a smart host has for mail without a sender, and wherever it says
// them, the notice goes as mail of ours where no MX host is reached.
func TestANoticeGoesAsOurOwnMail(t *testing.T) {
	for _, says := range []string{"rcpt 550 5.7.1 missing return-path", "dot 554 sender is empty", "data 554 5.7.1 no", "dot 550 rejected",
		"rcpt 550 bounces are not accepted"} {
		t.Run(says, func(t *testing.T) {
			smart := newServer(t, mxtest.Config{})
			w := newWorld(t, mxtest.Config{}, func(cfg *mx.Config) {
				cfg.OwnAddress = path(t, "a@example.org")
				cfg.Routes = []mx.Route{{Name: "smart", To: []string{"*"}, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(smart.Port())}}}}
			})
			event, words, _ := strings.Cut(says, " ")
			for srv, line := range map[*mxtest.Server][2]string{smart: {event, words}, w.srv: {"connect", "drop"}} {
				times := 0
				if srv == smart {
					times = 1 // the second transaction has a sender
				}
				if err := srv.Script(line[0], line[1], times); err != nil {
					t.Fatal(err)
				}
			}
			n := task(t, letter, "b@b.test")
			n.Message.From, n.Message.Notice = relay.Path{}, true
			r := w.deliver(n)
			if all := smart.Messages(); !r.Replies[0].Positive() || len(all) != 1 || strings.Trim(all[0].From, "<>") != "a@example.org" {
				t.Errorf("%+v, %d messages", r, len(all))
			}
		})
	}
}

// A notice whose last way has no connection free waits, though MX hosts refuse it
// for good.
func TestANoticeWaitsForABusyWay(t *testing.T) {
	smart := newServer(t, mxtest.Config{})
	w := newWorld(t, mxtest.Config{}, func(cfg *mx.Config) {
		cfg.OwnAddress = path(t, "a@example.org")
		cfg.Routes = []mx.Route{{Name: "smart", To: []string{"*"}, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(smart.Port())}}}}
	})
	for srv, says := range map[*mxtest.Server]string{smart: "501 no", w.srv: "550 5.7.1 blocked"} {
		if err := srv.Script("mail:<>", says, 0); err != nil {
			t.Fatal(err)
		}
	}
	n := task(t, letter, "b@b.test")
	n.Message.From, n.Message.Notice = relay.Path{}, true
	n.Destination = "route:smart"
	leave := &slots{allow: map[string]bool{"b.test": true}}
	n.Admission = leave
	if r := w.deliver(n).Replies[0]; r.Permanent() || r.Positive() || !slices.Contains(leave.asked, "route:smart") {
		t.Errorf("asked for %v: %+v", leave.asked, r)
	}
}

// A notice is not dropped while one of several smart hosts may take it.
func TestANoticeIsOfferedByEachRoute(t *testing.T) {
	first, second := newServer(t, mxtest.Config{}), newServer(t, mxtest.Config{})
	w := newWorld(t, mxtest.Config{}, func(cfg *mx.Config) {
		for name, srv := range map[string]*mxtest.Server{"a": first, "b": second} {
			cfg.Routes = append(cfg.Routes, mx.Route{Name: name, To: []string{"*"}, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(srv.Port())}}})
		}
	})
	for _, srv := range []*mxtest.Server{first, w.srv} {
		if err := srv.Script("mail:<>", "550 no", 0); err != nil {
			t.Fatal(err)
		}
	}
	n := task(t, letter, "b@b.test")
	n.Message.From, n.Message.Notice = relay.Path{}, true
	if r := w.deliver(n); !r.Replies[0].Positive() || len(second.Messages()) != 1 {
		t.Errorf("%+v", r)
	}
}

// A host that is silent takes no time from the others: the first route's host does
// not speak before the second's has been asked.
func TestASilentHostIsNoTroubleOfTheOthers(t *testing.T) {
	second := newServer(t, mxtest.Config{})
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		nc, err := first.Accept()
		if err != nil {
			return
		}
		_ = second.WaitCommand(ctx, "QUIT", 1)
		nc.Close()
	}()
	defer cancel()
	at := func(name string, port int) mx.Route {
		return mx.Route{Name: name, To: []string{"*"}, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(port)}}}
	}
	w := newWorld(t, mxtest.Config{}, func(cfg *mx.Config) {
		cfg.Routes = []mx.Route{at("silent", first.Addr().(*net.TCPAddr).Port), at("well", second.Port())}
	})
	told := w.tr.Probe(ctx)
	if len(told) != 2 || told[0].Route != "silent" || told[0].Reply.IsZero() || told[1].Route != "well" || !told[1].Reply.IsZero() {
		t.Errorf("%+v", told)
	}
}

// Probe finds out which smart hosts take no mail without a sender.
func TestProbeTriesTheNullSender(t *testing.T) {
	for line, refused := range map[string]bool{"mail:<> 501 no": true, "rcpt 550 blank sender": true, "rcpt 550 5.1.1 no such user": false, "mail:<> 451 later": false,
		"rcpt 554 5.7.1 Relay access denied": false, "rcpt 550 5.7.1 blocked using a list": false, "rcpt 550 5.1.7 no sender": true, "mail:<> 550 not without one": true,
		"mail:<> 530 5.7.0 Authentication required": false, "mail:<> 550 your account has been suspended": false, "mail:<> 554 5.7.1 your IP is on a blocklist": false} {
		tr, srv, _ := openHost(t, mxtest.Config{}, 0)
		event, says, _ := strings.Cut(line, " ")
		if err := srv.Script(event, says, 0); err != nil {
			t.Fatal(err)
		}
		told := tr.Probe(t.Context())
		if len(told) != 1 || !told[0].Reply.IsZero() || told[0].Null.IsZero() == refused {
			t.Errorf("%s: %+v", line, told)
		}
	}
}
