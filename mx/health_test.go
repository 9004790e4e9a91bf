package mx_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
)

// TestRest: a dead first host of a route costs its time-out once a minute,
// and comes first again when it is back.
func TestRest(t *testing.T) {
	srv := mxtest.Unlistened(mxtest.Config{})
	var dials, dead atomic.Int32
	dead.Store(1)
	bubble(t, mxtest.Config{}, func(c *mx.Config) {
		c.IdleTimeout = -1
		c.Routes = []mx.Route{{To: []string{"*"}, Via: []mx.Hop{{Host: "192.0.2.1", Port: 25}, {Host: "192.0.2.2", Port: 25}}}}
		c.Dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, "192.0.2.1:") {
				dials.Add(1)
				if dead.Load() == 1 {
					return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
				}
			}
			ours, theirs := net.Pipe()
			go srv.ServeConn(theirs)
			return ours, nil
		}
	}, func(w *world) {
		for range 5 {
			if res, _ := w.attempt(letter); !res.Replies[0].Positive() || res.Host != "192.0.2.2" {
				t.Errorf("%+v", res)
			}
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("the dead host was dialled %d times", n)
		}
		time.Sleep(61 * time.Second)
		w.attempt(letter)
		w.attempt(letter)
		if n := dials.Load(); n != 2 {
			t.Errorf("probed %d times", n-1)
		}
		dead.Store(0)
		time.Sleep(61 * time.Second)
		for range 2 {
			if res, _ := w.attempt(letter); res.Host != "192.0.2.1" {
				t.Errorf("it is back: %+v", res)
			}
		}
	})
}
