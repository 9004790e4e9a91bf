package mx_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/survey"
	"dawk/mx/tlspolicy"
)

func look(t *testing.T, tr *mx.Transport, subject string) *survey.Survey {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := tr.Survey(ctx, subject)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a survey says of a host is what a delivery to it then does, at every
// level and whatever the host has; and the survey itself sends nothing.
func TestSurveyForetellsDeliveries(t *testing.T) {
	ca, err := mxtest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	good := certificate(t, ca, time.Hour, "mx.b.test")
	wrong := certificate(t, ca, time.Hour, "other.test")
	for _, level := range []tlspolicy.Level{tlspolicy.LevelOff, tlspolicy.LevelOpportunistic, tlspolicy.LevelRequired, tlspolicy.LevelVerified} {
		for _, c := range []struct {
			name   string
			srv    mxtest.Config
			tlsa   string
			script [2]string
			fault  mxtest.Fault
		}{
			{name: "no STARTTLS"},
			{name: "good certificate", srv: mxtest.Config{Certificate: good}},
			{name: "wrong name", srv: mxtest.Config{Certificate: wrong}},
			{name: "TLSA matches", srv: mxtest.Config{Certificate: wrong}, tlsa: tlsa(t, 3, 1, 1, wrong.Certificate[0])},
			{name: "TLSA does not match", srv: mxtest.Config{Certificate: good}, tlsa: tlsa(t, 3, 1, 1, wrong.Certificate[0])},
			{name: "TLSA without STARTTLS", tlsa: tlsa(t, 3, 1, 1, wrong.Certificate[0])},
			{name: "TLSA that cannot be used", srv: mxtest.Config{Certificate: wrong}, tlsa: tlsa(t, 1, 1, 1, wrong.Certificate[0])},
			{name: "TLSA cannot be had", srv: mxtest.Config{Certificate: good}, fault: mxtest.ServFail},
			{name: "STARTTLS refused", srv: mxtest.Config{Certificate: good}, script: [2]string{"starttls", "454 4.7.0 not now"}},
			{name: "TLS breaks", srv: mxtest.Config{Certificate: good}, script: [2]string{"tls", "drop"}},
			{name: "EHLO refused", script: [2]string{"ehlo", "421 4.3.2 busy"}},
			{name: "greets with 554", script: [2]string{"connect", "554 5.7.1 go away"}},
			{name: "says nothing", script: [2]string{"connect", "drop"}},
		} {
			t.Run(level.String()+"/"+c.name, func(t *testing.T) {
				w := newWorld(t, c.srv, func(cfg *mx.Config) {
					cfg.DANE, cfg.RootCAs, cfg.TLS, cfg.IdleTimeout = true, ca.Pool(), level, -1
				})
				w.dns.Authentic(true)
				name := fmt.Sprintf("_%d._tcp.mx.b.test", w.srv.Port())
				if c.tlsa != "" {
					if err := w.dns.Add(name + ". " + c.tlsa); err != nil {
						t.Fatal(err)
					}
				}
				w.dns.Fault(name, "TLSA", c.fault)
				if c.script[0] != "" {
					w.script(c.script[0], c.script[1], 0)
				}
				s := look(t, w.tr, "b.test")
				for _, verb := range []string{"MAIL", "RCPT", "DATA", "AUTH", "RSET"} {
					if said(w.srv, verb) {
						t.Errorf("the survey said %s: %v", verb, w.srv.Commands())
					}
				}
				res := w.deliver(task(t, letter, "x@b.test"))
				best := s.Best()
				if (best != nil) != res.Replies[0].Positive() {
					t.Fatalf("surveyed %+v, delivered %+v", s.Sessions, res.Replies[0])
				}
				if best == nil {
					if why := s.Failure(); why.Permanent() != res.Replies[0].Permanent() || why.Stage != res.Replies[0].Stage {
						t.Errorf("foretold %+v, came %+v", why, res.Replies[0])
					}
					return
				}
				if clear := strings.HasPrefix(best.Reached, "in the clear"); clear != (res.TLS == "") {
					t.Errorf("foretold %q, came %q", best.Reached, res.TLS)
				}
				if byDANE := strings.Contains(best.Reached, "by DANE"); byDANE != (c.name == "TLSA matches" && level != tlspolicy.LevelOff) {
					t.Errorf("reached %q", best.Reached)
				}
			})
		}
	}
}

// A survey of a domain with a policy says what the policy makes of each host,
// and keeps nothing of it.
func TestSurveySTS(t *testing.T) {
	srv, ca := certified(t, "mx.b.test")
	w := newSTSWorld(t, srv, ca, nil)
	w.host.Policy("enforce", 86400, "mx2.b.test")
	s := look(t, w.tr, "b.test")
	if s.Best() != nil || s.At.STS == nil || s.At.STS.Mode != "enforce" || s.At.STS.ID != "1" || s.At.STS.Stored {
		t.Fatalf("%+v %+v", s.At.STS, s.Sessions)
	}
	if why := s.Failure(); !strings.Contains(why.Text, "none of the hosts that the MTA-STS policy") {
		t.Errorf("%+v", why)
	}
	if s.Sessions[0].PKIX != "good" {
		t.Errorf("PKIX %q: a host that is not used is looked at all the same", s.Sessions[0].PKIX)
	}
	w.host.Policy("enforce", 86400, "*.b.test")
	if s = look(t, w.tr, "b.test"); s.Best() == nil || !strings.Contains(s.At.Hosts[0].TLS.Why, "MTA-STS, enforced") {
		t.Errorf("%+v", s)
	}
	if w.host.fetches.Load() != 2 {
		t.Errorf("%d fetches: a survey kept a policy", w.host.fetches.Load())
	}
	if got := w.try(); got != "verified" { // which keeps it
		t.Fatal(got)
	}
	if s = look(t, w.tr, "b.test"); !s.At.STS.Stored || s.At.STS.Expires.IsZero() {
		t.Errorf("%+v", s.At.STS)
	}
	w.publish("2")
	w.host.srv.Close()
	if s = look(t, w.tr, "b.test"); s.At.STS.Mode != "enforce" || s.At.STS.Error == "" {
		t.Errorf("%+v", s.At.STS)
	}
}

// Whatever a host says stays on its line, and within bounds.
func TestSurveyHostile(t *testing.T) {
	for name, say := range map[string]string{
		"escapes":      "220 \x1b[31mred\x07 \u202egnp.exe\r\n",
		"many lines":   strings.Repeat("220-"+strings.Repeat("x", 400)+"\r\n", 90) + "220 end\r\n",
		"endless":      strings.Repeat("220-"+strings.Repeat("x", 400)+"\r\n", 100_000),
		"one line":     "220 " + strings.Repeat("x", 10_000_000) + "\r\n",
		"no code":      "hello\r\n",
		"NUL":          "220 a\x00b\r\n",
		"invalid UTF8": "220 \xff\xfe\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				fmt.Fprint(c, say)
				r := bufio.NewReader(c)
				for line, err := r.ReadString('\n'); err == nil; line, err = r.ReadString('\n') {
					if strings.HasPrefix(line, "QUIT") {
						return
					}
					if strings.HasPrefix(line, "EHLO") {
						for i := range 80 {
							fmt.Fprintf(c, "250-X%d \x1b[2J%s\r\n", i, strings.Repeat("y", 300))
						}
						fmt.Fprint(c, "250 SIZE 1\r\n")
					}
				}
			}()
			t.Cleanup(func() { l.Close(); <-done })
			w := newWorld(t, mxtest.Config{}, nil)
			s := look(t, w.tr, l.Addr().String())
			w.tr.Close()
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > 64<<10 {
				t.Errorf("%d octets of answer", len(b))
			}
			texts := append([]string{s.Sessions[0].Banner, s.Sessions[0].Trouble.Text}, s.Sessions[0].Offers...)
			for _, text := range texts {
				if strings.ContainsAny(text, "\x00\x07\x1b\r\n\u202e") || len(text) > 1100 {
					t.Errorf("%q", text)
				}
			}
		})
	}
}

// Whatever is asked for, the addresses that are refused stay so.
func TestSurveyRefuses(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, func(c *mx.Config) { c.AllowNetworks = nil })
	for _, subject := range []string{"b.test", "mx.b.test", w.srv.Addr(), "127.0.0.1", "[::1]:25", "x@b.test"} {
		s := look(t, w.tr, subject)
		if len(s.Sessions) > 0 || s.Best() != nil || s.Failure().IsZero() {
			t.Errorf("%s: %+v", subject, s)
		}
	}
	for _, subject := range []string{"", "a b", "b.test:0", "b.test:99999", "http://b.test", "*", "\x1b[31m"} {
		if _, err := w.tr.Survey(t.Context(), subject); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v", subject, err)
		}
	}
	if w.srv.Sessions() != 0 {
		t.Error("it was dialled")
	}
}
