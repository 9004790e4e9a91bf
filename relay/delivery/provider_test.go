package delivery_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/schedule"
)

// town is a Transport in which each domain's mail is taken by a provider, which
// only an attempt finds out: "a1.big.test" belongs to "big".
type town struct {
	mu      sync.Mutex
	cfg     delivery.Limits
	known   map[string]string
	running map[string]int
	most    map[string]int
	starts  map[string][]time.Time // that were admitted
	rcpts   map[string][]int
	refused int
	answer  func(provider string, running int) (relay.Reply, time.Duration)
}

func ownerOf(domain string) string {
	parts := strings.Split(domain, ".")
	return parts[max(0, len(parts)-2)]
}

func newTown(allow map[string]delivery.Allowance) *town {
	h := &town{known: map[string]string{}, running: map[string]int{}, most: map[string]int{}, starts: map[string][]time.Time{}, rcpts: map[string][]int{}}
	h.cfg = delivery.Limits{
		Provider:  func(d string) string { h.mu.Lock(); defer h.mu.Unlock(); return h.known[d] },
		Allowance: func(p string) delivery.Allowance { return allow[p] },
	}
	h.answer = func(string, int) (relay.Reply, time.Duration) { return relayed, time.Second }
	return h
}

func (h *town) Destination(_ *relay.Message, p relay.Path) string { return p.Domain() }

func (h *town) Along(string, *relay.Message, relay.Path) string { return "" }

func (h *town) Deliver(ctx context.Context, t relay.Task) relay.Result {
	p := ownerOf(t.Destination)
	slow(ctx, 20*time.Millisecond) // DNS
	h.mu.Lock()
	h.known[t.Destination] = p
	h.mu.Unlock()
	if !t.Admission.Admit(p) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.refused++
		return relay.Result{}
	}
	h.mu.Lock()
	h.running[p]++
	h.most[p] = max(h.most[p], h.running[p])
	h.starts[p] = append(h.starts[p], time.Now())
	h.rcpts[p] = append(h.rcpts[p], len(t.Recipients))
	reply, took := h.answer(p, h.running[p])
	h.mu.Unlock()
	slow(ctx, took)
	h.mu.Lock()
	h.running[p]--
	h.mu.Unlock()
	res := all(t, reply)
	res.Provider = p
	return res
}

func (h *town) change(answer func(string, int) (relay.Reply, time.Duration)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// settle starts a rig whose transport is h.
func settle(t *testing.T, h *town, cfg delivery.Config) *rig {
	cfg.Limits = h.cfg
	return beginWith(t, cfg, h)
}

// provider is what Providers says of one.
func (r *rig) provider(name string) (out relay.ProviderLoad) {
	for _, p := range r.d.Providers() {
		if p.Name == name {
			out = p
		}
	}
	return out
}

// busiest is the most of counts that lie in any span.
func busiest(at []time.Time, counts []int, span time.Duration) (most int) {
	sum, first := 0, 0
	for i := range at {
		sum += counts[i]
		for at[i].Sub(at[first]) >= span {
			sum -= counts[first]
			first++
		}
		most = max(most, sum)
	}
	return most
}

// All the domains of a provider share its connections, the first message to
// each of them included; and one that is turned back has lost no attempt.
func TestDomainsShareTheirProvidersConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(map[string]delivery.Allowance{"big": {Connections: 5}})
		r := settle(t, h, delivery.Config{})
		for i := range 2000 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.big.test", i)))
		}
		pass(time.Second)
		if p := r.provider("big"); p.Connections == 0 || p.Connections > p.Limit || p.Most != 5 || p.Domains < 1000 {
			t.Errorf("after a second: %+v", p)
		}
		pass(20 * time.Minute)
		if h.most["big"] != 5 {
			t.Errorf("%d connections at once, want 5", h.most["big"])
		}
		if n, again := r.ledger.count(relay.EventRelayed), r.ledger.count(relay.EventDelayed); n != 2000 || again != 0 {
			t.Errorf("%d relayed, %d delayed", n, again)
		}
		if n := r.d.Stats().Attempts; n != 2000 || len(h.starts["big"]) != 2000 || h.refused > 2000 {
			t.Errorf("%d attempts, %d connections, %d turned back", n, len(h.starts["big"]), h.refused)
		}
	})
}

func TestFloodedProviderDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(map[string]delivery.Allowance{"big": {Connections: 3, Rate: relay.Rate{N: 60, Per: time.Minute}}})
		r := settle(t, h, delivery.Config{Schedule: schedule.Config{Attempts: 20}})
		for i := range 3000 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.big.test", i%1500)))
		}
		pass(5 * time.Minute)
		for i := range 10 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.small.test", i)))
		}
		pass(10 * time.Second)
		if n := len(h.starts["small"]); n != 10 {
			t.Errorf("%d of 10 had their turn in ten seconds", n)
		}
		if st := r.d.Stats(); st.Connections > 3 {
			t.Errorf("%d workers are held by what waits", st.Connections)
		}
	})
}

// Within a provider a flooding identity delays another by no more than a turn,
// whatever number of domains it floods.
func TestFloodOfOneIdentityWithinAProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(map[string]delivery.Allowance{"big": {Connections: 1, Rate: relay.Rate{N: 60, Per: time.Minute}}})
		r := settle(t, h, delivery.Config{})
		for i := range 2000 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.big.test", i)))
		}
		pass(10 * time.Minute)
		m := mail("", "y@d77.big.test")
		m.Identity = "other"
		r.store.accept(m)
		pass(4 * time.Second)
		if n := len(r.ledger.kinds(m.ID)); n != 2 {
			t.Errorf("%v", r.ledger.kinds(m.ID))
		}
	})
}

func TestRateIsNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(map[string]delivery.Allowance{
			"big": {Connections: 10, Rate: relay.Rate{N: 100, Per: time.Minute}},
			"few": {Connections: 10, RecipientRate: relay.Rate{N: 1000, Per: time.Hour}},
		})
		r := settle(t, h, delivery.Config{})
		for i := range 2500 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.big.test", i%70)))
			r.store.accept(mail("", fmt.Sprintf("x@d%d.few.test", i%70), fmt.Sprintf("y@d%d.few.test", i%70), fmt.Sprintf("z@d%d.few.test", i%70)))
		}
		pass(20*time.Minute + 500*time.Millisecond)
		ones := make([]int, len(h.starts["big"]))
		for i := range ones {
			ones[i] = 1
		}
		if n := busiest(h.starts["big"], ones, time.Minute); n > 100 {
			t.Errorf("%d messages in a minute", n)
		}
		if n := len(ones); n < 1950 {
			t.Errorf("%d messages in 20 minutes; the rate is there to be used", n)
		}
		if p := r.provider("big"); p.State != relay.LoadRate && p.Connections == 0 {
			t.Errorf("%+v", p)
		}
		pass(5 * time.Hour)
		if n := busiest(h.starts["few"], h.rcpts["few"], time.Hour); n > 1000+2 { // the last message of an hour goes as a whole
			t.Errorf("%d recipients in an hour", n)
		}
		if n := len(h.starts["few"]); n < 5*320 {
			t.Errorf("%d messages of 3 recipients in five hours", n)
		}
	})
}

// A provider that takes three at a time and says so is found out, gets no more
// than it bears for most of the time, and all of them again when it bears more.
func TestConnectionsAdapt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(map[string]delivery.Allowance{"big": {Connections: 10}})
		r := settle(t, h, delivery.Config{})
		slower := relay.Reply{Code: 421, Status: relay.Status{Class: 4, Subject: 7, Detail: 28}, Text: "too many connections, slow down", Stage: relay.StageGreeting, MTA: "mx.big.test"}
		said := 0
		h.change(func(_ string, running int) (relay.Reply, time.Duration) {
			if running > 3 {
				said++
				return slower, 0
			}
			return relayed, 2 * time.Second
		})
		keep := func(d time.Duration) { // something waits all the time
			for end := time.Now().Add(d); time.Now().Before(end); {
				for i := r.d.Stats().Ready; i < 50; i++ {
					r.store.accept(mail("", fmt.Sprintf("x@d%d.big.test", i)))
				}
				pass(10 * time.Second)
			}
		}
		keep(3 * time.Hour)
		p := r.provider("big")
		if said < 3 || said > 40 {
			t.Errorf("it had to say so %d times in three hours", said)
		}
		if p.Limit > 4 || p.SlowedAt.IsZero() || p.SlowedBy.Code != 421 || p.Most != 10 {
			t.Errorf("%+v", p)
		}
		if n := len(h.starts["big"]); n < 3*3600/2*3/2 {
			t.Errorf("only %d messages in three hours", n)
		}
		if n := r.ledger.count(relay.EventProviderSlowed); n == 0 || n > said {
			t.Errorf("told of %d slow-downs; there were %d", n, said)
		}
		h.change(func(string, int) (relay.Reply, time.Duration) { return relayed, 2 * time.Second })
		keep(3 * time.Hour)
		if p := r.provider("big"); p.Limit != 10 || !p.SlowedAt.IsZero() {
			t.Errorf("after three good hours: %+v", p)
		}
	})
}

// A provider that goes on saying so is asked by one attempt at a time, less and
// less often, yet within the retry step of whatever waits.
func TestProviderThatWantsNothingIsAskedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(map[string]delivery.Allowance{"big": {Connections: 10}})
		r := settle(t, h, delivery.Config{})
		slower := relay.Reply{Code: 451, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Text: "rate limit exceeded, try later", Stage: relay.StageMail, MTA: "mx.big.test"}
		h.change(func(string, int) (relay.Reply, time.Duration) { return slower, time.Second })
		for i := range 500 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.big.test", i)))
		}
		pass(time.Hour)
		if n := len(h.starts["big"]); n > 150 || n < 100 {
			t.Errorf("asked %d times in an hour, want about two a minute", n)
		}
		at := h.starts["big"]
		for i := 1; i < len(at); i++ {
			if rest := at[i].Sub(at[i-1]); rest > time.Minute {
				t.Errorf("it rested %v, longer than the first retry step", rest)
			}
		}
		if p := r.provider("big"); p.Limit != 1 {
			t.Errorf("%+v", p)
		}
		h.change(func(string, int) (relay.Reply, time.Duration) { return relayed, time.Second })
		pass(3 * time.Hour)
		if n := r.store.queued(); n != 0 {
			t.Errorf("%d left", n)
		}
	})
}

// What a server says of one mailbox slows nobody down.
func TestBusyMailboxSlowsNobodyDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(map[string]delivery.Allowance{"big": {Connections: 4}})
		r := settle(t, h, delivery.Config{})
		busy := relay.Reply{Code: 450, Status: relay.Status{Class: 4, Subject: 2, Detail: 1}, Stage: relay.StageRcpt,
			Text: "The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered"}
		h.change(func(string, int) (relay.Reply, time.Duration) { return busy, time.Second })
		for i := range 50 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.big.test", i)))
		}
		pass(time.Minute)
		if p := r.provider("big"); !p.SlowedAt.IsZero() || p.Limit != 4 && p.Name != "" {
			t.Errorf("%+v", p)
		}
	})
}

// Many domains behind servers that let nobody in: after the first connections
// one attempt at a time asks, and when they are back all mail goes.
func TestDeadProviderIsProbedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(map[string]delivery.Allowance{"dead": {Connections: 10}})
		r := settle(t, h, delivery.Config{})
		h.change(func(p string, _ int) (relay.Reply, time.Duration) {
			if p == "dead" {
				return noConnect, 30 * time.Second
			}
			return relayed, time.Second
		})
		for i := range 300 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.dead.test", i)))
		}
		pass(5 * time.Minute)
		before := len(h.starts["dead"])
		h.mu.Lock()
		h.most["dead"] = 0
		h.mu.Unlock()
		pass(time.Hour)
		if h.most["dead"] != 1 {
			t.Errorf("%d connections at once to servers that let nobody in", h.most["dead"])
		}
		if n := len(h.starts["dead"]) - before; n < 60 || n > 120 {
			t.Errorf("asked %d times in an hour", n)
		}
		if p := r.provider("dead"); p.State != relay.LoadSuspended && p.Connections == 0 {
			t.Errorf("%+v", p)
		}
		r.store.accept(mail("", "x@fine.test"))
		pass(2 * time.Second)
		if len(h.starts["fine"]) != 1 {
			t.Error("another provider waits")
		}
		h.change(func(string, int) (relay.Reply, time.Duration) { return relayed, time.Second })
		pass(4 * time.Hour)
		if n := r.store.queued(); n != 0 {
			t.Errorf("%d left", n)
		}
	})
}

// A fresh message does not wait for a rest that was measured for old ones.
func TestRestIsNoLongerThanTheStepOfWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Retry: []time.Duration{time.Minute, 4 * time.Hour}})
		r.hop.answer(func(_ context.Context, task relay.Task) relay.Result { return all(task, noConnect) })
		r.store.accept(mail("", "x@dead.test"))
		r.store.accept(mail("", "y@dead.test"))
		pass(5 * time.Hour)
		r.hop.answer(nil)
		m := mail("", "z@dead.test")
		r.store.accept(m)
		pass(time.Minute + time.Second)
		if n := len(r.ledger.kinds(m.ID)); n != 2 {
			t.Errorf("after a minute: %v", r.ledger.kinds(m.ID))
		}
	})
}
