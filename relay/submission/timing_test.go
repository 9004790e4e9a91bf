package submission_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/accept/accepttest"
	"dawk/relay/submission"
)

// A body that stops, or that is cut off, ends the connection: nothing of it is
// ever read as commands, and nothing of it reaches the queue.
func TestStallAndCut(t *testing.T) {
	t.Run("stall in the body", func(t *testing.T) {
		bubble(t, options{listener: trusted()}, func(t *testing.T, f *fixture) {
			c := f.play(hello + envel + data + `=> "S: 1\r\n\r\nhalf"`)
			began := time.Now()
			f.more(c, "<- 421 4.4.2\n<- EOF")
			if d := time.Since(began); d != time.Minute {
				t.Errorf("cut after %v", d)
			}
			if n := len(f.q.Messages()); n != 0 {
				t.Errorf("%d messages", n)
			}
			f.reason(t, "timeout")
		})
	})
	t.Run("a slow body that moves", func(t *testing.T) {
		bubble(t, options{listener: trusted()}, func(t *testing.T, f *fixture) {
			c := f.play(hello + envel + data)
			for range 20 {
				time.Sleep(50 * time.Second) // of the bubble's clock
				c.send(strings.Repeat("x", 900) + "\r\n" + strings.Repeat("x", 900) + "\r\n" + strings.Repeat("x", 900) + "\r\n" + strings.Repeat("x", 900) + "\r\n")
			}
			f.more(c, "-> .\n<- 250 2.0.0 queued")
		})
	})
	t.Run("a body that crawls", func(t *testing.T) {
		bubble(t, options{listener: trusted()}, func(t *testing.T, f *fixture) {
			c := f.play(hello + envel + data)
			began := time.Now()
			defer c.drip(30 * time.Second)()
			f.more(c, "<- 421 4.4.2\n<- EOF")
			if d := time.Since(began); d > 11*time.Minute {
				t.Errorf("cut after %v", d)
			}
		})
	})
	t.Run("cut in the body", func(t *testing.T) {
		bubble(t, options{listener: trusted()}, func(t *testing.T, f *fixture) {
			f.play(hello + envel + data + `=> "S: 1\r\n\r\nhalf\r\n."` + "\nCUT")
			synctest.Wait()
			if n := len(f.q.Messages()); n != 0 {
				t.Errorf("%d messages", n)
			}
			f.reason(t, "cut")
		})
	})
	t.Run("idle", func(t *testing.T) {
		bubble(t, options{listener: trusted()}, func(t *testing.T, f *fixture) {
			c := f.play(hello + `=> "NOO"`)
			f.more(c, "<- 421 4.4.2\n<- EOF")
		})
	})
	t.Run("a command sent by the octet", func(t *testing.T) {
		bubble(t, options{listener: trusted()}, func(t *testing.T, f *fixture) {
			c := f.play(hello)
			began := time.Now()
			defer c.drip(20 * time.Second)()
			f.more(c, "<- 421 4.4.2\n<- EOF")
			if d := time.Since(began); d != time.Minute {
				t.Errorf("cut after %v: the deadline is for the whole line", d)
			}
		})
	})
}

// lateConn fails one read as an interrupt would.
type lateConn struct {
	net.Conn
	next atomic.Bool
}

func (c *lateConn) Read(p []byte) (int, error) {
	if c.next.CompareAndSwap(true, false) {
		return 0, os.ErrDeadlineExceeded
	}
	return c.Conn.Read(p)
}

func (f *fixture) dialLate() (*client, *lateConn) {
	near, far := net.Pipe()
	late := &lateConn{Conn: far}
	f.pipes.conns <- pipeConn{late, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1024}}
	f.t.Cleanup(func() { near.Close() })
	return &client{t: f.t, c: near, br: bufio.NewReader(near)}, late
}

// drip sends an octet every so often until the server hangs up; the function
// that it gives waits for that.
func (c *client) drip(every time.Duration) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			time.Sleep(every)
			if _, err := c.c.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	return func() { <-done }
}

// reason checks that one refusal was told, with this reason.
func (f *fixture) reason(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	if e := f.seen.Of(relay.EventRefused); len(e) == 1 && e[0].Reason == want {
		return
	}
	t.Errorf("not one refusal for %q, but %+v", want, f.seen.Of(relay.EventRefused))
}

func required() submission.Listener { return submission.Listener{TLS: "off", Auth: "required"} }

func TestFailedLogins(t *testing.T) {
	wrong := "-> AUTH PLAIN AGFsaWNlAHdyb25n\n" // alice, wrong
	right := "-> AUTH PLAIN AGFsaWNlAHNlY3JldA==\n"
	t.Run("late, and the third time for good", func(t *testing.T) {
		bubble(t, options{listener: required()}, func(t *testing.T, f *fixture) {
			began := time.Now()
			f.play(hello + wrong + "<- 535 5.7.8\n" + wrong + "<- 535 5.7.8\n" + wrong + "<- 421 4.7.0\n<- EOF")
			if d := time.Since(began); d != (1+2+4)*time.Second { // each doubles the delay on loopback
				t.Errorf("took %v", d)
			}
			if n := len(f.seen.Of(relay.EventLogin)); n != 3 {
				t.Errorf("%d login events", n)
			}
			for _, e := range f.seen.Of(relay.EventLogin) {
				if e.Reason != "credentials" || e.Client != "127.0.0.1" || e.Identity != "alice" {
					t.Errorf("event %+v", e)
				}
			}
		})
	})
	t.Run("by address", func(t *testing.T) {
		o := options{listener: submission.Listener{TLS: "off", Auth: "required", AuthWithoutTLS: true},
			config: func(c *submission.Config) { c.AuthFailuresPerIP = 4 }}
		bubble(t, o, func(t *testing.T, f *fixture) {
			from := func(a, script string) { t.Helper(); f.more(f.dialFrom(a), script) }
			for range 2 {
				from("2001:db8::1", hello+wrong+"<- 535\n"+wrong+"<- 535\n-> QUIT\n<- 221")
			}
			from("2001:db8::2", hello+right+"<- 421 4.7.0\n<- EOF") // the same /64
			from("2001:db8:0:1::1", hello+right+"<- 235 2.7.0\n-> QUIT\n<- 221")
			time.Sleep(10 * time.Minute) // of the bubble's clock
			from("2001:db8::1", hello+right+"<- 235 2.7.0\n-> QUIT\n<- 221")
		})
	})
}

func TestLimits(t *testing.T) {
	o := options{listener: trusted(), config: func(c *submission.Config) { c.MaxConnections, c.MaxConnectionsPerIP = 11, 2 }} // 8 are for clients that are known
	bubble(t, o, func(t *testing.T, f *fixture) {
		first := f.dialFrom("192.0.2.1")
		f.more(first, hello)
		f.more(f.dialFrom("192.0.2.1"), hello)
		f.more(f.dialFrom("192.0.2.1"), "<- 421 4.7.0\n<- EOF")
		f.more(f.dialFrom("192.0.2.2"), hello)
		f.more(f.dialFrom("192.0.2.3"), "<- 421 4.3.2\n<- EOF")
		f.more(first, "-> QUIT\n<- 221\n<- EOF")
		synctest.Wait()
		f.more(f.dialFrom("192.0.2.3"), hello)
		if n := f.s.Connections(); n != 3 {
			t.Errorf("%d connections", n)
		}
	})
}

// When places run out, strangers are hurried; clients that are known are not.
func TestStress(t *testing.T) {
	l := submission.Listener{TLS: "off", Auth: "required", TrustedNetworks: trustLoopback}
	bubble(t, options{listener: l, config: func(c *submission.Config) { c.MaxConnections = 2 }}, func(t *testing.T, f *fixture) {
		known := f.play(hello)
		stranger := f.dialFrom("192.0.2.1")
		f.more(stranger, "<- 220")
		began := time.Now()
		f.more(stranger, "<- 421 4.4.2\n<- EOF")
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("a stranger was let wait for %v", d)
		}
		f.more(known, "-> NOOP\n<- 250")
		synctest.Wait() // until the stranger is counted out
		stranger = f.dialFrom("192.0.2.1")
		f.more(stranger, "<- 220\n-> FOO\n<- 500\n<- 421 4.7.0\n<- EOF")
		f.more(known, "<- 421 4.4.2\n<- EOF")
		if d := time.Since(began); d != 70*time.Second {
			t.Errorf("a client that is known was let wait for %v", d)
		}
	})
}

func TestShutdown(t *testing.T) {
	t.Run("idle clients get 421, a body is finished", func(t *testing.T) {
		q := &accepttest.Queue{Gate: make(chan struct{}), Entered: make(chan struct{})}
		bubble(t, options{listener: trusted(), queue: q}, func(t *testing.T, f *fixture) {
			idle := f.play(hello + envel)
			silent := f.dial()
			f.more(silent, "<- 220")
			busy := f.play(hello + envel + data + "-> half")
			synctest.Wait()
			done := make(chan error, 1)
			go func() { done <- f.s.Shutdown(t.Context()) }()
			f.more(idle, "<- 421 4.3.2\n<- EOF")
			f.more(silent, "<- 421 4.3.2\n<- EOF")
			time.Sleep(30 * time.Second) // of the bubble's clock
			f.more(busy, "-> rest\n-> .")
			<-q.Entered
			select {
			case err := <-done:
				t.Errorf("shutdown did not wait: %v", err)
			default:
			}
			close(q.Gate)
			f.more(busy, "<- 250 2.0.0 queued\n<- 421 4.3.2\n<- EOF")
			check(t, <-done)
			check(t, f.s.Shutdown(t.Context())) // once more does no harm
			check(t, <-f.ended)
			f.ended = nil
			if n := len(f.q.Messages()); n != 1 {
				t.Errorf("%d messages", n)
			}
		})
	})
	t.Run("idle over TLS, and in a handshake", func(t *testing.T) {
		bubble(t, options{listener: submission.Listener{}}, func(t *testing.T, f *fixture) {
			idle := f.play(hello + "-> STARTTLS\n<- 220\nTLS\n-> EHLO c\n<- 250")
			shaking := f.play(hello + "-> STARTTLS\n<- 220")
			synctest.Wait()
			began := time.Now()
			go f.s.Shutdown(t.Context())
			f.more(idle, "<- 421 4.3.2\n<- EOF")
			f.more(shaking, "<- EOF")
			check(t, <-f.ended)
			synctest.Wait()
			f.ended = nil
			if time.Since(began) != 0 {
				t.Errorf("took %v", time.Since(began))
			}
		})
	})
	t.Run("a body that does not end is cut", func(t *testing.T) {
		bubble(t, options{listener: trusted()}, func(t *testing.T, f *fixture) {
			busy := f.play(hello + envel + data + "-> half")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := f.s.Shutdown(ctx); err == nil {
				t.Error("no error for a cut connection")
			}
			f.more(busy, "<- EOF")
			check(t, <-f.ended)
			f.ended = nil
			synctest.Wait()
			if n := len(f.q.Messages()); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	})
	t.Run("an interrupt that comes too late for the command", func(t *testing.T) {
		// Shutdown saw the client idle, but by the time it interrupts the read
		// DATA has come: the body must not be taken for stalled.
		bubble(t, options{listener: trusted()}, func(t *testing.T, f *fixture) {
			c, late := f.dialLate()
			f.more(c, hello+envel)
			synctest.Wait()
			late.next.Store(true)
			f.more(c, data+"-> x\n-> .\n<- 250 2.0.0 queued")
			if late.next.Load() {
				t.Error("nothing was interrupted")
			}
		})
	})
	t.Run("a failed login does not delay it", func(t *testing.T) {
		bubble(t, options{listener: required()}, func(t *testing.T, f *fixture) {
			c := f.play(hello + "-> AUTH PLAIN AGFsaWNlAHdyb25n")
			synctest.Wait()
			began := time.Now()
			go f.s.Shutdown(t.Context())
			f.more(c, "<- 535 5.7.8\n<- 421 4.3.2\n<- EOF")
			if time.Since(began) != 0 {
				t.Errorf("took %v", time.Since(began))
			}
			check(t, <-f.ended)
			f.ended = nil
		})
	})
}
