package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Size is one kind of message in the mix: of every Sum of the shares, Share
// messages have this many octets of body.
type Size struct {
	Bytes int
	Share int
}

// SourceConfig is the work.
type SourceConfig struct {
	Addr          string // loopback
	Messages      int
	First         int    // the number of the first; a warm-up and a run share a ledger
	Clients       int    // connections at once
	PerConnection int    // messages on each; 0: all
	Recipients    int    // a message; 0: 1
	Domains       int    // that recipients are spread over; 0: 1
	Domain        string // that all recipients have instead
	Sizes         []Size
	Pipelining    bool
	TLS           string // "", "starttls" or "implicit"; the certificate is not checked
	User          string // "": no login
	Password      string
	Acked         func(id int)
}

// MaxBytes is the largest body.
const MaxBytes = 64 << 20

func (c *SourceConfig) withDefaults() (SourceConfig, error) {
	out := *c
	out.Recipients, out.Domains = max(1, c.Recipients), max(1, c.Domains)
	if len(out.Sizes) == 0 {
		out.Sizes = []Size{{Bytes: 4096, Share: 1}}
	}
	if out.Acked == nil {
		out.Acked = func(int) {}
	}
	switch {
	case out.Messages < 1 || out.Messages > MaxMessages:
		return out, fmt.Errorf("between 1 and %d messages", MaxMessages)
	case out.Messages*out.Recipients > MaxDeliveries:
		return out, fmt.Errorf("at most %d messages times recipients", MaxDeliveries)
	case out.Clients < 1 || out.Clients > MaxClients:
		return out, fmt.Errorf("between 1 and %d connections", MaxClients)
	case out.TLS != "" && out.TLS != "starttls" && out.TLS != "implicit":
		return out, fmt.Errorf("tls is starttls, implicit or nothing, not %q", out.TLS)
	}
	for _, s := range out.Sizes {
		if s.Bytes < 1 || s.Bytes > MaxBytes || s.Share < 1 {
			return out, fmt.Errorf("a size is between 1 and %d octets, with a share of 1 at least", MaxBytes)
		}
	}
	return out, CheckLoopback(out.Addr)
}

// Sent is what a source saw.
type Sent struct {
	Began, LastAck time.Time
	Acked          int
	Refused        map[string]int  // reply → how often
	Errors         map[string]int  // broken connections
	Latencies      []time.Duration // MAIL to 250, sorted
}

// Percentile of the latencies, 0 without any.
func (s *Sent) Percentile(p float64) time.Duration {
	if len(s.Latencies) == 0 {
		return 0
	}
	i := int(float64(len(s.Latencies))*p/100 + 0.5)
	return s.Latencies[min(max(i, 1), len(s.Latencies))-1]
}

// Send sends everything, each client as fast as it is served, and returns when
// all was answered or ctx ends.
func Send(ctx context.Context, cfg SourceConfig) (*Sent, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &source{cfg: cfg, mix: newMix(cfg.Sizes)}
	s.sent.Refused, s.sent.Errors = map[string]int{}, map[string]int{}
	s.sent.Began = time.Now()
	var wg sync.WaitGroup
	for range min(cfg.Clients, cfg.Messages) {
		wg.Go(func() { s.client(ctx) })
	}
	wg.Wait()
	slices.Sort(s.sent.Latencies)
	s.sent.Acked = len(s.sent.Latencies)
	return &s.sent, ctx.Err()
}

// mix says which body a message has.
type mix struct {
	bodies []*body // one for each unit of share
}

func newMix(sizes []Size) mix {
	var m mix
	for _, s := range sizes {
		b := newBody(s.Bytes)
		for range s.Share {
			m.bodies = append(m.bodies, b)
		}
	}
	return m
}

// of spreads the sizes evenly: 7 has no common factor with usual sums of shares.
func (m mix) of(id int) *body { return m.bodies[id*7%len(m.bodies)] }

type source struct {
	cfg   SourceConfig
	mix   mix
	taken atomic.Int64
	fails atomic.Int64

	mu   sync.Mutex
	sent Sent
}

// maxFailures is how many broken connections end a run.
const maxFailures = 1000

// next is the number of the next message, false when all are taken.
func (s *source) next() (int, bool) {
	n := int(s.taken.Add(1))
	return s.cfg.First + n - 1, n <= s.cfg.Messages
}

// client runs one connection after the other.
func (s *source) client(ctx context.Context) {
	var latencies []time.Duration
	var last time.Time
	id, more := s.next()
	for more && ctx.Err() == nil && s.fails.Load() < maxFailures {
		c, err := s.connect(ctx)
		if err != nil {
			s.failed(err)
			continue
		}
		for n := 0; more && ctx.Err() == nil && (s.cfg.PerConnection == 0 || n < s.cfg.PerConnection); n++ {
			began := time.Now()
			reply, err := c.send(id, s.mix.of(id))
			sent := id
			id, more = s.next() // never the same again: it may have been taken
			if err != nil {
				s.failed(err)
				break
			}
			if reply == "" {
				s.cfg.Acked(sent)
				last = time.Now()
				latencies = append(latencies, last.Sub(began))
			} else {
				s.refused(reply)
			}
		}
		c.quit()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent.Latencies = append(s.sent.Latencies, latencies...)
	if last.After(s.sent.LastAck) {
		s.sent.LastAck = last
	}
}

func (s *source) failed(err error) {
	s.fails.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	var op *net.OpError
	if errors.As(err, &op) {
		err = fmt.Errorf("%s: %w", op.Op, op.Err) // without the port, which differs each time
	}
	s.sent.Errors[err.Error()]++
}

func (s *source) refused(reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent.Refused[reply]++
}

func (s *source) connect(ctx context.Context) (*client, error) {
	d := net.Dialer{Timeout: 15 * time.Second}
	nc, err := d.DialContext(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return nil, err
	}
	c := &client{cfg: &s.cfg}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	c.close = func() { stop(); nc.Close() }
	c.use(nc)
	if err := c.open(nc); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

var insecure = &tls.Config{InsecureSkipVerify: true, ServerName: "bench.test"} // loopback only: nobody stands between
