package mx_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/dns"
	"dawk/mx/mxtest"
)

// twoFamilies is a Lookup for which every host has these addresses, in order.
type twoFamilies []string

func (twoFamilies) LookupMX(_ context.Context, domain string) (dns.Answer[dns.MX], error) {
	return dns.Answer[dns.MX]{Records: []dns.MX{{Host: "mx." + domain, Preference: 10}}}, nil
}

func (l twoFamilies) LookupAddrs(context.Context, string, string) (dns.Answer[netip.Addr], error) {
	var a dns.Answer[netip.Addr]
	for _, s := range l {
		a.Records = append(a.Records, netip.MustParseAddr(s))
	}
	return a, nil
}

// lane is what a connection to one address comes to.
type lane struct {
	after time.Duration
	dead  bool // refused
	never bool // no answer
	deaf  bool // it cannot be called off
}

// dialLog remembers when which address was dialled, and what became of each
// connection before anything was said on it.
type dialLog struct {
	start time.Time
	mu    sync.Mutex
	lines []string

	closed []string // connections that ended
}

func (l *dialLog) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf("%v ", time.Since(l.start))+fmt.Sprintf(format, args...))
}

// raced runs one delivery to a host with addresses a, b, c … whose connections
// end as lanes say.
func raced(t *testing.T, lanes map[string]lane, order []string, check func(w *world, log *dialLog)) {
	var w *world
	log := &dialLog{}
	bubble(t, mxtest.Config{}, func(c *mx.Config) {
		log.start = time.Now()
		c.Resolver = twoFamilies(order)
		c.Dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(addr)
			log.add("dial %s", host)
			l := lanes[host]
			cut := ctx.Done()
			if l.deaf {
				cut = nil
			}
			select {
			case <-cut:
				return nil, ctx.Err()
			case <-time.After(l.after): // a pass of fake time
			}
			if l.never {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if l.dead {
				return nil, errors.New("connection refused")
			}
			ours, theirs := net.Pipe()
			go func() {
				w.srv.ServeConn(theirs)
				log.mu.Lock()
				defer log.mu.Unlock()
				log.closed = append(log.closed, host)
			}()
			return ours, nil
		}
	}, func(made *world) {
		w = made
		check(w, log)
	})
}

const six, four, six2, four2 = "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"

// TestHappyEyeballs: addresses of one preference are tried 250 ms apart (RFC
// 8305), the next one at once where one fails; the first that answers gets the
// mail, once.
func TestHappyEyeballs(t *testing.T) {
	ms := time.Millisecond
	for name, c := range map[string]struct {
		lanes map[string]lane
		order []string
		addr  string // that took the mail; "" none
		took  time.Duration
		dials string
	}{
		"the first answers":         {nil, []string{six, four}, six, 0, "0s 2001:db8::1"},
		"it answers in time":        {map[string]lane{six: {after: 249 * ms}}, []string{six, four}, six, 249 * ms, "0s 2001:db8::1"},
		"it is slow":                {map[string]lane{six: {after: 700 * ms}}, []string{six, four}, four, 250 * ms, "0s 2001:db8::1, 250ms 192.0.2.1"},
		"it is slow, the other too": {map[string]lane{six: {after: 300 * ms}, four: {after: 400 * ms}}, []string{six, four}, six, 300 * ms, "0s 2001:db8::1, 250ms 192.0.2.1"},
		"IPv6 leads nowhere":        {map[string]lane{six: {never: true}, six2: {never: true}}, []string{six, four, six2, four2}, four, 250 * ms, "0s 2001:db8::1, 250ms 192.0.2.1"},
		"IPv6 is refused at once":   {map[string]lane{six: {dead: true}}, []string{six, four}, four, 0, "0s 2001:db8::1, 0s 192.0.2.1"},
		"refused after a while":     {map[string]lane{six: {dead: true, after: 100 * ms}}, []string{six, four}, four, 100 * ms, "0s 2001:db8::1, 100ms 192.0.2.1"},
		"three are dead":            {map[string]lane{six: {never: true}, four: {dead: true}, six2: {never: true}}, []string{six, four, six2, four2}, four2, 500 * ms, "0s 2001:db8::1, 250ms 192.0.2.1, 250ms 2001:db8::2, 500ms 192.0.2.2"},
		"none answers":              {map[string]lane{six: {never: true}, four: {never: true}}, []string{six, four}, "", 30*time.Second + 250*ms, "0s 2001:db8::1, 250ms 192.0.2.1"},
		"all refuse":                {map[string]lane{six: {dead: true}, four: {dead: true}}, []string{six, four}, "", 0, "0s 2001:db8::1, 0s 192.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			raced(t, c.lanes, c.order, func(w *world, log *dialLog) {
				res, took := w.attempt(letter)
				log.mu.Lock()
				dials := strings.ReplaceAll(strings.Join(log.lines, ", "), "dial ", "")
				log.mu.Unlock()
				if took != c.took || dials != c.dials {
					t.Errorf("took %v, want %v; dialled %s, want %s", took, c.took, dials, c.dials)
				}
				if r := res.Replies[0]; c.addr == "" && (r.Permanent() || r.Positive() || r.Status.String() != "4.4.1" || !strings.Contains(r.Text, c.order[0]) || !strings.Contains(r.Text, c.order[1])) {
					t.Errorf("%+v", r)
				}
				if c.addr != "" && (res.Addr != c.addr || !res.Replies[0].Positive() || len(w.srv.Messages()) != 1) {
					t.Errorf("went to %s: %+v", res.Addr, res)
				}
				time.Sleep(time.Second) // lets a loser arrive: it is closed, and nothing was said on it
				var sessions []string
				for _, cmd := range w.srv.Commands() {
					n, _, _ := strings.Cut(cmd, " ")
					if sessions = append(sessions, n); !slices.Contains(sessions[:1], n) {
						t.Errorf("something was said on a second connection: %q", cmd)
					}
				}
				// The connection that won is as good as any for what follows.
				if c.addr != "" {
					if res, took := w.attempt(letter); !res.Reused || took != 0 || res.Addr != c.addr {
						t.Errorf("then: %v %+v", took, res)
					}
				}
			})
		})
	}
}

// TestLateConnection: a connection that stands when the race is over is closed,
// and nothing was said on it.
func TestLateConnection(t *testing.T) {
	raced(t, map[string]lane{six: {after: 700 * time.Millisecond, deaf: true}}, []string{six, four}, func(w *world, log *dialLog) {
		if res, took := w.attempt(letter); res.Addr != four || took != attemptDelay {
			t.Errorf("%v: %+v", took, res)
		}
		time.Sleep(time.Second)
		log.mu.Lock()
		defer log.mu.Unlock()
		if !slices.Equal(log.closed, []string{six}) || w.srv.Sessions() != 2 {
			t.Errorf("closed: %v, of %d", log.closed, w.srv.Sessions())
		}
		for _, cmd := range w.srv.Commands() {
			if strings.HasPrefix(cmd, "2 ") {
				t.Errorf("said on it: %q", cmd)
			}
		}
	})
}

const attemptDelay = 250 * time.Millisecond // RFC 8305 §5

// TestRaceWithinPreference: a worse host is no rival of a better one, however
// long that takes.
func TestRaceWithinPreference(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	if err := w.dns.Add("b.test. MX 20 mx2.b.test.\nmx2.b.test. A 127.0.0.2"); err != nil {
		t.Fatal(err)
	}
	second := newServer(t, mxtest.Config{Addr: fmt.Sprint("127.0.0.2:", w.srv.Port())})
	w.script("connect", "delay 400ms 220 mx.b.test takes its time", 0)
	if res := w.deliver(task(t, letter, "x@b.test")); res.Host != "mx.b.test" || second.Sessions() != 0 {
		t.Errorf("%+v, %d sessions at the other host", res, second.Sessions())
	}
}

// TestRaceAfterGreeting: the race is about connections. A host that answers
// and is then of no use is followed by the next.
func TestRaceAfterGreeting(t *testing.T) {
	raced(t, map[string]lane{six: {after: 300 * time.Millisecond}}, []string{six, four}, func(w *world, log *dialLog) {
		w.script("connect", "554 5.7.1 not from there", 1)
		res, took := w.attempt(letter)
		if !res.Replies[0].Positive() || res.Addr != six || took > time.Second {
			t.Errorf("%v: %+v", took, res)
		}
	})
}
