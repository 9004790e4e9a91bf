package mx_test

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"dawk/mx"
	"dawk/mx/dial"
	"dawk/mx/mxtest"
	"dawk/relay"
)

func source(name, addr string, weight int) dial.Source {
	s := dial.Source{Name: name, EHLO: name + ".example.org", Weight: weight}
	if a := netip.MustParseAddr(addr); a.Is4() {
		s.Addr4 = a
	} else {
		s.Addr6 = a
	}
	return s
}

func numbered(task relay.Task, n int) relay.Task {
	task.Message.ID = relay.QueueID{Key: uint64(n), Dir: 7}
	return task
}

// TestSources: mail leaves from the addresses of its pool, in the shares of
// their weights, under the name that belongs to each; a message keeps its
// source, and connections are never shared between sources.
func TestSources(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, func(c *mx.Config) {
		c.Sources = []dial.Source{source("a", "127.0.1.1", 1), source("b", "127.0.1.2", 3), source("bulk", "127.0.1.3", 0)}
		c.Pool = []string{"a", "b"}
		c.Routes = []mx.Route{{Name: "bulk", From: []string{"bulk@example.org"}, Sources: []string{"bulk"}}}
		c.MessagesPerConnection = 1000
	})
	const n = 400
	for i := range n {
		if r := w.deliver(numbered(task(t, letter, "x@b.test"), i)).Replies[0]; !r.Positive() {
			t.Fatal(r)
		}
	}
	from := map[string]int{}
	kept := make([]string, n)
	for i, m := range w.srv.Messages() {
		from[m.Client]++
		kept[i] = m.Client
		if want := map[string]string{"127.0.1.1": "a.example.org", "127.0.1.2": "b.example.org"}[m.Client]; m.HELO != want {
			t.Errorf("from %s it says EHLO %s", m.Client, m.HELO)
		}
	}
	// One quarter and three quarters; six standard deviations are 52.
	if math.Abs(float64(from["127.0.1.1"])-n/4) > 52 || from["127.0.1.1"]+from["127.0.1.2"] != n {
		t.Errorf("shares: %v", from)
	}
	if w.srv.Sessions() != 2 {
		t.Errorf("%d sessions, want one a source", w.srv.Sessions())
	}
	for i := range 20 {
		w.deliver(numbered(task(t, letter, "x@b.test"), i))
		if m := w.srv.Messages(); m[len(m)-1].Client != kept[i] {
			t.Errorf("message %d went from %s, then from %s", i, kept[i], m[len(m)-1].Client)
		}
	}
	bulk := task(t, letter, "x@b.test")
	bulk.Message.From = path(t, "bulk@example.org")
	w.deliver(bulk)
	if m := w.srv.Messages(); m[len(m)-1].Client != "127.0.1.3" || m[len(m)-1].HELO != "bulk.example.org" {
		t.Errorf("the route's source: %+v", m[len(m)-1])
	}
}

// TestSourceNotOurs: an address that this machine does not have is trouble of
// ours: another source of the pool stands in, and without one the mail waits.
func TestSourceNotOurs(t *testing.T) {
	gone := source("gone", "198.51.100.7", 1000)
	t.Run("alone", func(t *testing.T) {
		w := newWorld(t, mxtest.Config{}, func(c *mx.Config) { c.Sources, c.Pool = []dial.Source{gone}, []string{"gone"} })
		r := w.deliver(task(t, letter, "x@b.test")).Replies[0]
		if r.Permanent() || r.Status.String() != "4.3.5" {
			t.Errorf("%+v", r)
		}
		for _, want := range []string{"198.51.100.7", `"gone"`, "this machine must have that address"} {
			if !strings.Contains(r.Text, want) {
				t.Errorf("%q does not say %q", r.Text, want)
			}
		}
	})
	for name, records := range map[string]string{"in a pool": "", "in a pool, with several addresses": "mx.b.test. A 127.0.0.2\n"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, mxtest.Config{}, func(c *mx.Config) {
				c.Sources, c.Pool = []dial.Source{gone, source("here", "127.0.1.9", 1)}, []string{"gone", "here"}
			})
			if err := w.dns.Add(records); err != nil {
				t.Fatal(err)
			}
			newServer(t, mxtest.Config{Addr: fmt.Sprint("127.0.0.2:", w.srv.Port())})
			for i := range 5 {
				if r := w.deliver(numbered(task(t, letter, "x@b.test"), i)).Replies[0]; !r.Positive() {
					t.Errorf("%+v", r)
				}
			}
			for _, m := range w.srv.Messages() {
				if m.Client != "127.0.1.9" {
					t.Errorf("from %s", m.Client)
				}
			}
		})
	}
}

// TestSourceFamily: a family that a source lacks is not spoken; a source that
// reaches the host goes first, whatever its weight.
func TestSourceFamily(t *testing.T) {
	six := source("six", "2001:db8::25", 1000)
	w := newWorld(t, mxtest.Config{}, func(c *mx.Config) {
		c.Sources, c.Pool = []dial.Source{six, source("four", "127.0.1.1", 1)}, []string{"six", "four"}
		c.Routes = []mx.Route{{Name: "only six", From: []string{"six@example.org"}, Sources: []string{"six"}}}
	})
	for i := range 5 {
		if r := w.deliver(numbered(task(t, letter, "x@b.test"), i)).Replies[0]; !r.Positive() {
			t.Errorf("%+v", r)
		}
	}
	mail := task(t, letter, "x@b.test")
	mail.Message.From = path(t, "six@example.org")
	r := w.deliver(mail).Replies[0]
	if r.Permanent() || r.Positive() || !strings.Contains(r.Text, `source "six" has no IPv4 address`) {
		t.Errorf("%+v", r)
	}
}

// TestSourceLoop: a host that greets with the name of the source is ourselves.
func TestSourceLoop(t *testing.T) {
	w := newWorld(t, mxtest.Config{Hostname: "a.example.org"}, func(c *mx.Config) {
		c.Sources, c.Pool = []dial.Source{source("a", "127.0.1.1", 1)}, []string{"a"}
	})
	if r := w.deliver(task(t, letter, "x@b.test")).Replies[0]; r.Status.String() != "5.4.6" || !strings.Contains(r.Text, "a.example.org") {
		t.Errorf("%+v", r)
	}
}

func TestSourceConfig(t *testing.T) {
	good := source("a", "192.0.2.1", 1)
	for name, c := range map[string]struct {
		sources []dial.Source
		pool    []string
		want    string
	}{
		"unknown":       {[]dial.Source{good}, []string{"b"}, "does not exist"},
		"twice":         {[]dial.Source{good}, []string{"a", "a"}, "named twice"},
		"same name":     {[]dial.Source{good, good}, nil, "name of its own"},
		"no address":    {[]dial.Source{{Name: "a"}}, nil, "no address"},
		"wrong family":  {[]dial.Source{{Name: "a", Addr4: netip.MustParseAddr("2001:db8::1")}}, nil, "wrong family"},
		"bad EHLO name": {[]dial.Source{{Name: "a", Addr4: good.Addr4, EHLO: "a b"}}, nil, "ehlo"},
	} {
		err := mx.Config{Hostname: "relay.example.org", Sources: c.sources, Pool: c.pool}.Validate().Err()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
