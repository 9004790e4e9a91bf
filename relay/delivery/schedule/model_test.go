package schedule

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dawk/relay"
)

// audit looks at every entry: it is in exactly one place, and the place has it.
func (s *Schedule) audit(out map[Ref]bool) error {
	seen := map[Ref]string{}
	note := func(r Ref, where string, want ...place) error {
		if before, twice := seen[r]; twice {
			return fmt.Errorf("entry %d is in %s and in %s", r, before, where)
		}
		seen[r] = where
		if !slices.Contains(want, s.at(r).place) {
			return fmt.Errorf("entry %d in %s says it is in place %d", r, where, s.at(r).place)
		}
		return nil
	}
	for i, r := range s.due.all {
		if err := note(r, "the heap", placeWaiting); err != nil {
			return err
		}
		if int(s.at(r).lane.before) != i || i > 0 && s.at(s.due.all[(i-1)/4]).due > s.at(r).due {
			return fmt.Errorf("the heap is out of order at %d", i)
		}
	}
	for i, r := range s.alarms.all {
		if e := s.at(r); int(e.alarm) != i || e.notice == 0 || e.place == placeTaken || i > 0 && s.at(s.alarms.all[(i-1)/4]).notice > e.notice {
			return fmt.Errorf("the heap of notices is out of order at %d", i)
		}
	}
	of := map[*provider]*provider{} // what each should count
	for _, d := range s.active {
		ready := 0
		for l := d.lanes; l != nil; l = l.older {
			n := 0
			for r := l.first; r != 0; r = s.at(r).lane.after {
				if err := note(r, "a lane of "+s.dests.names[d.num], placeReady); err != nil {
					return err
				}
				n++
			}
			num := l.flow.identity.num
			if n != l.n || n == 0 || l.dest != d || l.flow.provider != d.provider || s.lanes[uint64(d.num)<<32|uint64(num)] != l ||
				s.flows[flowKey{d.provider, num}] != l.flow || s.identities[num] != l.flow.identity {
				return fmt.Errorf("a lane of %s has %d, not %d, or is lost", s.dests.names[d.num], n, l.n)
			}
			if wrong := s.misplaced(l); wrong != "" {
				return fmt.Errorf("%s: %s", s.dests.names[d.num], wrong)
			}
			ready += n
		}
		if ready != d.ready {
			return fmt.Errorf("%s: %d ready, says %d", s.dests.names[d.num], ready, d.ready)
		}
		if of[d.provider] == nil {
			of[d.provider] = &provider{}
		}
		of[d.provider].domains++
		of[d.provider].ready += ready
	}
	for p, want := range of {
		if p.domains != want.domains || p.ready != want.ready || p.name != "" && s.providers[p.name] != p {
			return fmt.Errorf("provider %q says %d domains with %d ready; it has %d with %d, or is lost", p.name, p.domains, p.ready, want.domains, want.ready)
		}
	}
	if err := s.auditSlots(); err != nil {
		return err
	}
	for _, p := range s.providers {
		if p.limit < 1 || p.limit > max(1, p.allowed.Connections) {
			return fmt.Errorf("provider %q may have %d connections of %d", p.name, p.limit, p.allowed.Connections)
		}
	}
	for r := range out {
		if err := note(r, "out", placeTaken); err != nil {
			return err
		}
	}
	n, notices := 0, 0
	for r := s.arrived.first; r != 0; r = s.at(r).arrived.after {
		n++
		if e := s.at(r); e.notice != 0 && e.place != placeTaken {
			notices++
		}
		if e := s.at(r); e.notice != 0 && e.place != placeTaken && (int(e.alarm) >= len(s.alarms.all) || s.alarms.all[e.alarm] != r) {
			return fmt.Errorf("the delay notice of entry %d would never go out", r)
		}
		if s.at(r).place == placeHeld {
			if err := note(r, "the held", placeHeld); err != nil {
				return err
			}
		}
		if seen[r] == "" {
			return fmt.Errorf("entry %d is nowhere, but says place %d", r, s.at(r).place)
		}
	}
	if notices != len(s.alarms.all) {
		return fmt.Errorf("%d delay notices are to come, %d are scheduled", notices, len(s.alarms.all))
	}
	if n != s.n || len(seen) != s.n || s.adrift() != 0 {
		return fmt.Errorf("%d by arrival, %d seen, %d counted, %d adrift", n, len(seen), s.n, s.adrift())
	}
	return nil
}

// auditSlots counts what identities and priorities hold, and who stands in rings.
func (s *Schedule) auditSlots() error {
	slots, standing := map[*identity]int{}, 0
	for _, f := range s.flying {
		slots[f.identity]++
	}
	var byRank [relay.Priorities]int
	for _, i := range s.identities {
		byRank[i.rank] += i.slots
		if i.slots != slots[i] || i.node.queued == i.turns.empty() {
			return fmt.Errorf("identity %d holds %d slots, says %d, or stands wrongly", i.num, slots[i], i.slots)
		}
		if i.node.queued {
			standing++
		}
	}
	for k := range s.priorities {
		if n := s.priorities[k].slots; n != byRank[k] {
			return fmt.Errorf("priority %d holds %d slots, says %d", k, byRank[k], n)
		}
	}
	if standing != s.standing || len(s.flying) != s.slots {
		return fmt.Errorf("%d stand, it says %d; %d fly, it says %d", standing, s.standing, len(s.flying), s.slots)
	}
	return nil
}

// Whatever happens, every Delivery has exactly one next event.
func TestEveryDeliveryHasOneNextEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shift := byte(0)              // of the priorities, as if users.toml had changed
		known0 := map[string]string{} // what the transport has found out
		mxOf := func(dest string) string { return "p" + string(dest[1]%3+'0') }
		s := New(Config{Attempts: 5, Retry: Retry{defaultRetry, middle}, Limits: Limits{Provider: func(dest string) string { return known0[dest] },
			Priority: func(who string) relay.Priority { return relay.Priority(who[1]-'0'+shift) % relay.Priorities },
			Allowance: func(p string) Allowance {
				a := map[string]Allowance{"p0": {Connections: 3}, "p1": {Rate: relay.Rate{N: 5, Per: time.Minute}},
					"p2": {Connections: 1, RecipientRate: relay.Rate{N: 90, Per: time.Hour}}}[p]
				a.Connections = cmp.Or(a.Connections, 2)
				return a
			}}})
		now, next := int64(1_000_000_000), uint64(0)
		slots, acting := map[Ref]*Slot{}, map[Ref]bool{}
		holds := map[*provider]int{}
		known := map[relay.QueueID][]uint16{}
		pick := func(all iter.Seq[Ref]) Ref {
			return rapid.SampledFrom(slices.Sorted(all)).Draw(t, "entry")
		}
		StateOf := func() State {
			f := State{Gone: rapid.IntRange(0, 3).Draw(t, "gone") == 0, Due: now + rapid.Int64Range(-5, 200).Draw(t, "due")*1e6,
				Attempts: rapid.IntRange(0, 70000).Draw(t, "attempts"), Held: rapid.IntRange(0, 4).Draw(t, "held") == 0,
				Reason: uint8(rapid.IntRange(0, 5).Draw(t, "reason"))}
			if rapid.Bool().Draw(t, "notice") {
				f.Notice = now + rapid.Int64Range(1, 100).Draw(t, "noticeAt")*1e6
			}
			return f
		}
		forget := func(r Ref, f State) {
			if !f.Gone {
				return
			}
			e := s.at(r)
			known[e.id()] = slices.DeleteFunc(known[e.id()], func(j uint16) bool { return j == e.job })
		}
		t.Repeat(map[string]func(*rapid.T){
			"accept": func(t *rapid.T) {
				next++
				id := relay.QueueID{Key: next, Dir: 1}
				for job := range uint16(rapid.IntRange(1, 3).Draw(t, "jobs")) {
					f := StateOf()
					f.Gone = false
					e := relay.Entry{ID: id, Job: job, Destination: fmt.Sprint("d", rapid.IntRange(0, 5).Draw(t, "dest")),
						Identity: fmt.Sprint("i", rapid.IntRange(0, 4).Draw(t, "ident")), Arrival: time.UnixMicro(now)}
					if !s.Add(e, f, now) || s.Add(e, f, now) {
						t.Fatal("a new entry is taken once")
					}
					known[id] = append(known[id], job)
				}
			},
			"time": func(t *rapid.T) { now += rapid.Int64Range(0, 60).Draw(t, "s") * 1e6; s.Advance(now) },
			"take": func(t *rapid.T) {
				if f := s.Take(now); f != nil {
					slots[f.Ref] = f
					holds[f.p]++
					if holds[f.p] > f.p.width() {
						t.Fatalf("%d attempts at once at %q, which may have %d", holds[f.p], f.p.name, f.p.width())
					}
					return
				}
				if s.slots >= s.most {
					return
				}
				for _, l := range s.lanes { // whoever could have a turn holds all that it may
					i, p := l.flow.identity, l.dest.provider
					if l.dest.open() && p.open() && p.next() <= now && i.slots < max(1, s.most/2) && (i.rank != relay.PriorityHigh || s.of(i).slots < max(1, s.most/2)) {
						t.Fatalf("%s of identity %d could have a turn", s.dests.names[l.dest.num], i.num)
					}
				}
			},
			"sweep": func(t *rapid.T) { shift = byte(rapid.IntRange(0, 2).Draw(t, "shift")); s.Sweep(now) },
			"give up": func(t *rapid.T) {
				for _, r := range s.GiveUp(now, func(r Ref) (int64, bool) { return now - int64(r%90)*1e6, r%5 != 0 }) {
					f := s.StateOf(r)
					holds[slots[r].p]--
					s.Land(slots[r], VerdictNone, relay.Reply{}, now)
					f.Patient = true
					s.Put(r, f, now)
					delete(slots, r)
				}
			},
			"notice": func(t *rapid.T) {
				due := len(s.alarms.all) > 0 && s.NextEvent(true) <= now && s.at(s.alarms.first()).notice <= now
				all := s.TakeNotices(now)
				if (len(all) > 0) != due {
					t.Fatalf("a notice is due: %v; taken: %d", due, len(all))
				}
				for _, a := range all {
					if e := s.at(a.Ref); e.key != s.at(all[0].Ref).key || e.dir != s.at(all[0].Ref).dir {
						t.Fatalf("entries %d and %d are of two messages", a.Ref, all[0].Ref)
					}
					// Settled at once: its place is what it was.
					if f := s.StateOf(a.Ref); rapid.Bool().Draw(t, "at once") {
						f.Notice, f.First = 0, a.Ready
						s.Put(a.Ref, f, now)
						if e := s.at(a.Ref); a.Ready && s.lanes[laneKey(e)].first != a.Ref {
							t.Fatalf("entry %d lost its turn", a.Ref)
						}
					} else {
						acting[a.Ref] = true
					}
				}
				for _, a := range all {
					for r := s.index[s.at(a.Ref).key]; r != 0; r = s.at(r).sibling {
						if e := s.at(r); e.dir == s.at(a.Ref).dir && e.place != placeTaken && e.notice != 0 && e.notice <= now {
							t.Fatalf("entry %d of the same message was left out", r)
						}
					}
				}
			},
			"admit": func(t *rapid.T) {
				if len(slots) == 0 {
					t.Skip()
				}
				f := slots[pick(maps.Keys(slots))]
				dest := s.dests.names[s.at(f.Ref).dest]
				p := mxOf(dest)
				if rapid.IntRange(0, 9).Draw(t, "other host") == 0 {
					p = "p" + string('0'+rune(rapid.IntRange(0, 3).Draw(t, "provider")))
				} else {
					known0[dest] = p
				}
				before := f.p
				if ok := s.Admit(f, p, rapid.IntRange(1, 3).Draw(t, "recipients"), now); ok != (f.p.name == p) {
					t.Fatalf("admitted to %q: %v, and it has a connection to %q", p, ok, f.p.name)
				}
				if holds[before]--; f.p != before && f.p.slots > f.p.width() {
					t.Fatalf("%d attempts at once at %q, which may have %d", f.p.slots, f.p.name, f.p.width())
				}
				holds[f.p]++
			},
			"land and settle": func(t *rapid.T) {
				if len(slots) == 0 {
					t.Skip()
				}
				r, f := pick(maps.Keys(slots)), StateOf()
				holds[slots[r].p]--
				s.Land(slots[r], Verdict(rapid.IntRange(0, 3).Draw(t, "verdict")), relay.Reply{}, now)
				forget(r, f)
				s.Put(r, f, now)
				delete(slots, r)
			},
			"act": func(t *rapid.T) {
				for id, jobs := range known {
					for _, job := range jobs {
						r := s.Find(id, job)
						if r == 0 {
							t.Fatalf("lost %s/%d", id, job)
						}
						if s.at(r).place != placeTaken && rapid.IntRange(0, 5).Draw(t, "this") == 0 {
							s.Pull(r)
							acting[r] = true
							if rapid.Bool().Draw(t, "wake") {
								s.Wake(r)
							}
						}
					}
				}
			},
			"acted": func(t *rapid.T) {
				if len(acting) == 0 {
					t.Skip()
				}
				r, f := pick(maps.Keys(acting)), StateOf()
				forget(r, f)
				s.Put(r, f, now)
				delete(acting, r)
			},
			"": func(t *rapid.T) {
				out := map[Ref]bool{}
				for r := range slots {
					out[r] = true
				}
				for r := range acting {
					out[r] = true
				}
				if err := s.audit(out); err != nil {
					t.Fatal(err)
				}
				if len(slots) != s.slots || s.slots > s.most {
					t.Fatalf("%d fly, it says %d", len(slots), s.slots)
				}
				n := 0
				for _, jobs := range known {
					n += len(jobs)
				}
				if n != s.n {
					t.Fatalf("%d entries, it says %d", n, s.n)
				}
				states := map[relay.DeliveryState]int{}
				for id := range known {
					for _, w := range s.Where(id, time.UnixMicro) {
						states[w.State]++
					}
				}
				b := s.Backlog(time.UnixMicro)
				if b.Held+b.Active != states[relay.StateHeld]+states[relay.StateActive] || b.Suspended != states[relay.StateSuspended] ||
					b.Deferred != states[relay.StateDeferred] || b.Ready != states[relay.StateReady] || b.Total != n {
					t.Fatalf("backlog %+v, each asked: %v", b, states)
				}
				if rescued := s.Rescue(); rescued != 0 {
					t.Fatalf("%d stranded", rescued)
				}
			},
		})
		// When all is gone, nothing is remembered.
		for r, f := range slots {
			s.Land(f, VerdictNone, relay.Reply{}, now)
			s.Put(r, State{Gone: true}, now)
		}
		for r := range acting {
			s.Put(r, State{Gone: true}, now)
		}
		for r := s.arrived.first; r != 0; r = s.arrived.first {
			s.Pull(r)
			s.Put(r, State{Gone: true}, now)
		}
		s.Advance(now + 1e12)
		for range 2 { // sweep spares what was in use at its last look
			if f := s.Take(now + 1e12); f != nil {
				t.Fatalf("it gave out %d, which is gone", f.Ref)
			}
			s.Sweep(now + 1e12)
		}
		if len(s.providers)+len(s.flows)+len(s.dests.byName)+len(s.active)+len(s.lanes)+len(s.identities)+len(s.idents.byName)+len(s.index)+s.ready+s.taken+s.slots != 0 {
			t.Fatalf("empty, but it remembers %d providers, %d flows, %d destinations, %d busy, %d lanes, %d identities",
				len(s.providers), len(s.flows), len(s.dests.byName), len(s.active), len(s.lanes), len(s.idents.byName))
		}
	})
}

// Entries leave the heap from anywhere, and the rest stays in order.
func TestHeap(t *testing.T) {
	luck := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		tab := newTable()
		h := heap[Ref]{key: func(r Ref) int64 { return tab.at(r).due }, pos: func(r Ref) *Ref { return &tab.at(r).lane.before }}
		var in []Ref
		for i := range 100 {
			r := tab.insert(relay.QueueID{Key: uint64(i) + 1}, 0, 0)
			tab.at(r).due = luck.Int64N(1000)
			h.push(r)
			in = append(in, r)
		}
		luck.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		for _, r := range in[:60] {
			h.remove(r)
		}
		for last := int64(-1); h.first() != 0; {
			r := h.first()
			if tab.at(r).due < last {
				t.Fatal("the heap gave a later one first")
			}
			last = tab.at(r).due
			h.remove(r)
		}
	}
}

// big is a schedule as large relays have it.
func big(l Limits) *Schedule {
	return New(Config{Attempts: 500, Retry: Retry{defaultRetry, middle}, Limits: l})
}

// fill adds n deferred Deliveries of messages to so many domains.
func fill(s *Schedule, n, domains int, now int64) {
	for i := range n {
		s.Add(relay.Entry{ID: relay.QueueID{Key: uint64(now) + uint64(i), Dir: 9}, Destination: fmt.Sprintf("domain%d.example", i%domains),
			Identity: fmt.Sprint("user", i%50), Arrival: time.UnixMicro(now)},
			State{Due: now + rand.Int64N(7200e6) + 1, Notice: now + 14400e6 + int64(i), Attempts: 3}, now)
	}
}

// weigh fills a Schedule and says how many octets a Delivery takes.
func weigh(n, domains int) int {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := big(Limits{})
	fill(s, n, domains, time.Now().UnixMicro())
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(s)
	return int(after.HeapAlloc-before.HeapAlloc) / n
}

// A million Deliveries must leave most of 250 MiB to the rest of the relay.
func TestMemoryOfADelivery(t *testing.T) {
	const n = 100_000
	for _, c := range []struct{ domains, most int }{{n / 50, 120}, {n, 230}} {
		each := weigh(n, c.domains)
		t.Logf("%d Deliveries to %d domains: %d octets each", n, c.domains, each)
		if each > c.most {
			t.Errorf("%d domains: %d octets a Delivery, want at most %d", c.domains, each, c.most)
		}
	}
}

func BenchmarkMillion(b *testing.B) {
	for _, domains := range []int{20_000, 1_000_000} {
		b.Run(fmt.Sprintf("domains=%d", domains), func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(float64(weigh(1_000_000, domains)), "B/delivery")
			}
		})
	}
}

func BenchmarkRetryAmongAMillion(b *testing.B) {
	s := big(Limits{})
	now := time.Now().UnixMicro()
	fill(s, 1_000_000, 20_000, now)
	for b.Loop() {
		r := s.due.first()
		now = max(now, s.at(r).due)
		s.Advance(now)
		if f := s.Take(now); f != nil {
			s.Land(f, VerdictOpen, relay.Reply{}, now)
			s.Put(f.Ref, State{Due: now + 3600e6 + rand.Int64N(7200e6), Attempts: 4}, now)
		}
	}
}

// A turn costs the same with ten thousand domains at one provider as with ten,
// and as with ten thousand providers.
func BenchmarkTurn(b *testing.B) {
	for _, c := range []struct {
		domains   int
		providers int
	}{{10, 1}, {10_000, 1}, {10_000, 10_000}} {
		b.Run(fmt.Sprintf("domains=%d/providers=%d", c.domains, c.providers), func(b *testing.B) {
			s := big(Limits{Provider: func(d string) string {
				n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(d, "domain"), ".example"))
				return fmt.Sprint("provider", n%c.providers)
			}})
			now := time.Now().UnixMicro()
			fill(s, 20_000, c.domains, now)
			now += 8000e6 // all are due
			s.Advance(now)
			b.ReportAllocs()
			for b.Loop() {
				f := s.Take(now)
				if f == nil {
					b.Fatal("nobody has a turn")
				}
				s.Land(f, VerdictOpen, relay.Reply{}, now)
				s.Put(f.Ref, State{Due: now, Attempts: 4}, now)
			}
		})
	}
}
