package mx_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/mx"
	"dawk/mx/dns"
	"dawk/mx/mxtest"
	"dawk/relay"
)

// oneHost is a Lookup that knows one host of every domain.
type oneHost struct{}

func (oneHost) LookupMX(_ context.Context, domain string) (dns.Answer[dns.MX], error) {
	return dns.Answer[dns.MX]{Records: []dns.MX{{Host: "mx." + domain, Preference: 10}}}, nil
}

func (oneHost) LookupAddrs(context.Context, string, string) (dns.Answer[netip.Addr], error) {
	return dns.Answer[netip.Addr]{Records: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, nil
}

// bubble runs a delivery under fake time over pipes to a scripted server.
func bubble(t *testing.T, cfg mxtest.Config, change func(*mx.Config), f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := mxtest.Unlistened(cfg)
		c := mx.Config{Hostname: "relay.example.org", Resolver: oneHost{}, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go srv.ServeConn(theirs)
			return ours, nil
		}}
		if change != nil {
			change(&c)
		}
		tr, err := mx.NewTransport(c)
		if err != nil {
			t.Fatal(err)
		}
		f(&world{t: t, srv: srv, tr: tr})
		tr.Close()
		srv.Close()
		time.Sleep(2 * time.Hour) // lets servers wake that sleep, and see that we are gone
	})
}

func (w *world) attempt(body string) (relay.Result, time.Duration) {
	w.t.Helper()
	start := time.Now()
	res := w.tr.Deliver(context.Background(), task(w.t, body, "x@b.test"))
	return res, time.Since(start)
}

// TestPhases: each phase has its own limit (RFC 5321 §4.5.3.2), against
// silence and against an octet now and then.
func TestPhases(t *testing.T) {
	for _, c := range []struct {
		event   string
		limit   time.Duration
		unknown bool
	}{
		{"connect", 5 * time.Minute, false},
		{"ehlo", 5 * time.Minute, false},
		{"mail", 5 * time.Minute, false},
		{"rcpt", 5 * time.Minute, false},
		{"data", 2 * time.Minute, false},
		{"body", 10 * time.Minute, true}, // all of it fits into one read of the server's
		{"dot", 10 * time.Minute, true},
	} {
		for _, action := range []string{"stall", "slow 10s 250 2.0.0 " + strings.Repeat("well ", 60)} {
			if c.event == "body" && action != "stall" {
				continue
			}
			t.Run(c.event+" "+action[:4], func(t *testing.T) {
				bubble(t, mxtest.Config{}, nil, func(w *world) {
					w.script(c.event, action, 0)
					res, took := w.attempt(letter)
					r := res.Replies[0]
					if took != c.limit {
						t.Errorf("took %v, want %v", took, c.limit)
					}
					if r.Code != 0 || r.Permanent() || res.Unknown != c.unknown || !strings.Contains(r.Text, "timed out") {
						t.Errorf("%+v", res)
					}
				})
			})
		}
	}
}

// TestConnectTimeout: an address that never answers.
func TestConnectTimeout(t *testing.T) {
	bubble(t, mxtest.Config{}, func(c *mx.Config) {
		c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}, func(w *world) {
		res, took := w.attempt(letter)
		if r := res.Replies[0]; took != 30*time.Second || r.Status.String() != "4.4.1" || !strings.Contains(r.Text, "no answer within 30s") {
			t.Errorf("%v: %+v", took, r)
		}
	})
}

// reader serves SMTP by hand and reads the content as it likes.
func reader(t *testing.T, read func(net.Conn) error) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			buf := make([]byte, 4096)
			for _, reply := range []string{"220 hi\r\n", "250-hi\r\n250 PIPELINING\r\n", "250 ok\r\n250 ok\r\n354 go\r\n"} {
				if _, err := io.WriteString(theirs, reply); err != nil {
					return
				}
				if strings.Contains(reply, "354") {
					break
				}
				theirs.Read(buf) //nolint:errcheck // seen at the next write
			}
			if err := read(theirs); err == nil {
				io.WriteString(theirs, "250 taken\r\n") //nolint:errcheck // seen by the client
				theirs.Read(buf)                        //nolint:errcheck // until it leaves
			}
		}()
		return ours, nil
	}
}

// TestBodyPace: a body that moves at 1 KiB/s outlives the session's limit; one
// that crawls does not; one that stands still ends with its block.
func TestBodyPace(t *testing.T) {
	body := strings.Repeat(strings.Repeat("z", 1022)+"\r\n", 4096) // 4 MiB: 68 minutes at 1 KiB/s
	// pace reads at most n octets at a time, with a rest after each.
	pace := func(n int, rest time.Duration) func(net.Conn) error {
		return func(c net.Conn) error {
			buf, tail := make([]byte, n), ""
			for {
				got, err := c.Read(buf)
				if err != nil {
					return err
				}
				if tail += string(buf[:got]); strings.HasSuffix(tail, "\r\n.\r\n") {
					return nil
				}
				tail = tail[max(0, len(tail)-5):]
				time.Sleep(rest)
			}
		}
	}
	t.Run("moving", func(t *testing.T) {
		bubble(t, mxtest.Config{}, func(c *mx.Config) { c.Dial = reader(t, pace(1024, time.Second)) }, func(w *world) {
			res, took := w.attempt(body)
			if !res.Replies[0].Positive() || took < time.Hour {
				t.Errorf("%v: %+v", took, res.Replies[0])
			}
		})
	})
	t.Run("crawling", func(t *testing.T) {
		bubble(t, mxtest.Config{}, func(c *mx.Config) { c.Dial = reader(t, pace(1024, 8*time.Second)) }, func(w *world) {
			res, took := w.attempt(body)
			r := res.Replies[0]
			if r.Positive() || r.Permanent() || res.Unknown || took < 30*time.Minute || took > 40*time.Minute || !strings.Contains(r.Text, "session") {
				t.Errorf("%v: %+v", took, res)
			}
		})
	})
	t.Run("standing still", func(t *testing.T) {
		bubble(t, mxtest.Config{}, func(c *mx.Config) {
			c.Dial = reader(t, func(c net.Conn) error {
				io.CopyN(io.Discard, c, 100_000) //nolint:errcheck // then nothing more
				time.Sleep(time.Hour)
				return errors.New("still")
			})
		}, func(w *world) {
			res, took := w.attempt(body)
			if r := res.Replies[0]; r.Positive() || r.Permanent() || res.Unknown || took < 3*time.Minute || took > 4*time.Minute {
				t.Errorf("%v: %+v", took, res)
			}
		})
	})
}

// TestSessionLimit: a server that keeps within every other limit is still
// told goodbye.
func TestSessionLimit(t *testing.T) {
	bubble(t, mxtest.Config{Extensions: []string{}}, nil, func(w *world) {
		w.script("rcpt", "delay 4m 450 4.2.1 thinking", 0)
		var to []string
		for i := range 50 {
			to = append(to, string(rune('a'+i%26))+strings.Repeat("x", i)+"@b.test")
		}
		start := time.Now()
		res := w.tr.Deliver(context.Background(), task(t, letter, to...))
		if took := time.Since(start); took > 30*time.Minute {
			t.Errorf("took %v", took)
		}
		for _, r := range res.Replies {
			if r.IsZero() || r.Permanent() || r.Positive() {
				t.Fatalf("%+v", r)
			}
		}
	})
}

// TestIdle: an idle connection is kept ten seconds, then QUIT.
func TestIdle(t *testing.T) {
	bubble(t, mxtest.Config{}, nil, func(w *world) {
		w.attempt(letter)
		time.Sleep(9 * time.Second)
		if res, _ := w.attempt(letter); !res.Reused {
			t.Error("after 9 s the connection was not reused")
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if cmds := w.srv.Commands(); cmds[len(cmds)-1] != "1 QUIT" {
			t.Errorf("no farewell: %v", cmds)
		}
		if res, _ := w.attempt(letter); res.Reused || !res.Replies[0].Positive() {
			t.Errorf("after 11 s: %+v", res)
		}
	})
}

// TestNoDeadlock: a server that answers each command before it reads on, and a
// path between that holds nothing, do not block a long envelope.
func TestNoDeadlock(t *testing.T) {
	bubble(t, mxtest.Config{}, func(c *mx.Config) { c.RecipientsPerMessage = 1000 }, func(w *world) {
		var to []string
		for i := range 1000 {
			to = append(to, strings.Repeat("x", i%50+1)+"@b.test")
		}
		start := time.Now()
		res := w.tr.Deliver(context.Background(), task(t, letter, to...))
		if took := time.Since(start); took > 0 || !res.Replies[999].Positive() {
			t.Errorf("%v: %+v", took, res.Replies[999])
		}
	})
}
