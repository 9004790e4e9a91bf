package delivery

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"dawk/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// audit looks at every entry: it is in exactly one place, and the place has it.
func (s *scheduler) audit(out map[ref]bool) error {
	seen := map[ref]string{}
	note := func(r ref, where string, want ...place) error {
		if before, twice := seen[r]; twice {
			return fmt.Errorf("entry %d is in %s and in %s", r, before, where)
		}
		seen[r] = where
		if !slices.Contains(want, s.at(r).place) {
			return fmt.Errorf("entry %d in %s says it is in place %d", r, where, s.at(r).place)
		}
		return nil
	}
	for i, r := range s.due.refs {
		if err := note(r, "the heap", placeWaiting, placeHeldTimed); err != nil {
			return err
		}
		if int(s.at(r).prev) != i || i > 0 && s.at(s.due.refs[(i-1)/4]).due > s.at(r).due {
			return fmt.Errorf("the heap is out of order at %d", i)
		}
	}
	for r := s.checks.head; r != 0; r = s.at(r).next {
		if err := note(r, "the checks", placeHeldCheck); err != nil {
			return err
		}
	}
	for _, d := range s.active {
		ready := 0
		for l := d.first; l != nil; l = l.next {
			n := 0
			for r := l.head; r != 0; r = s.at(r).next {
				if err := note(r, "a lane of "+s.dests.names[d.num], placeReady); err != nil {
					return err
				}
				n++
			}
			if n != l.n || s.lanes[uint64(d.num)<<32|uint64(l.ident)] != l {
				return fmt.Errorf("a lane of %s has %d, not %d, or is lost", s.dests.names[d.num], n, l.n)
			}
			ready += n
		}
		canTurn := d.ready > 0 && d.rest == 0 && d.flying < d.budget(s.perDestination)
		if ready != d.ready || canTurn && !d.inRing {
			return fmt.Errorf("%s: %d ready, says %d; in the ring %v, could have a turn %v", s.dests.names[d.num], ready, d.ready, d.inRing, canTurn)
		}
	}
	for r := range out {
		if err := note(r, "out", placeOut); err != nil {
			return err
		}
	}
	n := 0
	for r := s.oldest; r != 0; r = s.at(r).newer {
		n++
		if s.at(r).place == placeHeld {
			if err := note(r, "the held", placeHeld); err != nil {
				return err
			}
		}
		if seen[r] == "" {
			return fmt.Errorf("entry %d is nowhere, but says place %d", r, s.at(r).place)
		}
	}
	if n != s.n || len(seen) != s.n || s.adrift() != 0 {
		return fmt.Errorf("%d by arrival, %d seen, %d counted, %d adrift", n, len(seen), s.n, s.adrift())
	}
	return nil
}

// Whatever happens, every Delivery has exactly one next event.
func TestEveryDeliveryHasOneNextEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newScheduler(5, 2, schedule{steps: DefaultRetry, rand: middle}.step)
		now, next := int64(1_000_000_000), uint64(0)
		flying, acting := map[ref]bool{}, map[ref]bool{}
		known := map[relay.QueueID][]uint16{}
		pick := func(m map[ref]bool) ref {
			all := make([]ref, 0, len(m))
			for r := range m {
				all = append(all, r)
			}
			slices.Sort(all)
			return rapid.SampledFrom(all).Draw(t, "entry")
		}
		fateOf := func() fate {
			f := fate{gone: rapid.IntRange(0, 3).Draw(t, "gone") == 0, due: now + rapid.Int64Range(-5, 200).Draw(t, "due")*1e6,
				attempts: rapid.IntRange(0, 70000).Draw(t, "attempts"), held: rapid.IntRange(0, 4).Draw(t, "held") == 0,
				reason: uint8(rapid.IntRange(0, 5).Draw(t, "reason"))}
			if f.held && rapid.Bool().Draw(t, "notice") {
				f.notice = now + rapid.Int64Range(1, 100).Draw(t, "noticeAt")*1e6
			}
			return f
		}
		forget := func(r ref, f fate) {
			if !f.gone {
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
					f := fateOf()
					f.gone = false
					e := relay.Entry{ID: id, Job: job, Destination: fmt.Sprint("d", rapid.IntRange(0, 5).Draw(t, "dest")),
						Identity: fmt.Sprint("i", rapid.IntRange(0, 2).Draw(t, "ident")), Arrival: time.UnixMicro(now)}
					if !s.add(e, f, now) || s.add(e, f, now) {
						t.Fatal("a new entry is taken once")
					}
					known[id] = append(known[id], job)
				}
			},
			"time": func(t *rapid.T) { now += rapid.Int64Range(0, 60).Draw(t, "s") * 1e6; s.advance(now) },
			"take": func(t *rapid.T) {
				if r, ok := s.take(); ok {
					flying[r] = true
				} else if s.flying < s.maxFlying {
					for _, d := range s.active {
						if d.ready > 0 && d.rest == 0 && d.flying < d.budget(s.perDestination) {
							t.Fatalf("%s could have a turn", s.dests.names[d.num])
						}
					}
				}
			},
			"check": func(*rapid.T) {
				if r, ok := s.takeCheck(); ok {
					acting[r] = true
				}
			},
			"land and settle": func(t *rapid.T) {
				if len(flying) == 0 {
					t.Skip()
				}
				r, f := pick(flying), fateOf()
				s.land(r, verdict(rapid.IntRange(0, 2).Draw(t, "verdict")), now)
				forget(r, f)
				s.put(r, f, now)
				delete(flying, r)
			},
			"act": func(t *rapid.T) {
				for id, jobs := range known {
					for _, job := range jobs {
						r := s.find(id, job)
						if r == 0 {
							t.Fatalf("lost %s/%d", id, job)
						}
						if s.at(r).place != placeOut && rapid.IntRange(0, 5).Draw(t, "this") == 0 {
							s.pull(r)
							acting[r] = true
							if rapid.Bool().Draw(t, "wake") {
								s.wake(r)
							}
						}
					}
				}
			},
			"acted": func(t *rapid.T) {
				if len(acting) == 0 {
					t.Skip()
				}
				r, f := pick(acting), fateOf()
				forget(r, f)
				s.put(r, f, now)
				delete(acting, r)
			},
			"": func(t *rapid.T) {
				out := map[ref]bool{}
				for r := range flying {
					out[r] = true
				}
				for r := range acting {
					out[r] = true
				}
				if err := s.audit(out); err != nil {
					t.Fatal(err)
				}
				if len(flying) != s.flying || s.flying > s.maxFlying {
					t.Fatalf("%d fly, it says %d", len(flying), s.flying)
				}
				n, sum := 0, 0
				for _, jobs := range known {
					n += len(jobs)
				}
				for _, c := range s.minutes {
					sum += c
				}
				if n != s.n || sum != s.n {
					t.Fatalf("%d entries, it says %d and by the minute %d", n, s.n, sum)
				}
				if rescued := s.rescue(); rescued != 0 {
					t.Fatalf("%d stranded", rescued)
				}
			},
		})
		// When all is gone, nothing is remembered.
		for r := range flying {
			s.land(r, verdictNone, now)
			s.put(r, fate{gone: true}, now)
		}
		for r := range acting {
			s.put(r, fate{gone: true}, now)
		}
		for r := s.oldest; r != 0; r = s.oldest {
			s.pull(r)
			s.put(r, fate{gone: true}, now)
		}
		s.advance(now + 1e12)
		if r, ok := s.take(); ok {
			t.Fatalf("it gave out %d, which is gone", r)
		}
		if len(s.dests.byName)+len(s.active)+len(s.lanes)+len(s.idents.byName)+len(s.index)+len(s.minutes)+len(s.heldBy)+s.ready+s.out+s.flying != 0 {
			t.Fatalf("empty, but it remembers %d destinations, %d busy, %d lanes, %d identities",
				len(s.dests.byName), len(s.active), len(s.lanes), len(s.idents.byName))
		}
	})
}

// Entries leave the heap from anywhere, and the rest stays in order.
func TestDueHeap(t *testing.T) {
	luck := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		tab := newTable()
		h := dueHeap{t: &tab}
		var in []ref
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

// fill adds n deferred Deliveries of messages to so many domains.
func fill(s *scheduler, n, domains int, now int64) {
	for i := range n {
		s.add(relay.Entry{ID: relay.QueueID{Key: uint64(now) + uint64(i), Dir: 9}, Destination: fmt.Sprintf("domain%d.example", i%domains),
			Identity: fmt.Sprint("user", i%50), Arrival: time.UnixMicro(now)},
			fate{due: now + rand.Int64N(7200e6) + 1, attempts: 3}, now)
	}
}

// weigh fills a scheduler and says how many octets a Delivery takes.
func weigh(n, domains int) int {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := newScheduler(500, 10, schedule{steps: DefaultRetry, rand: middle}.step)
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
	s := newScheduler(500, 10, schedule{steps: DefaultRetry, rand: middle}.step)
	now := time.Now().UnixMicro()
	fill(s, 1_000_000, 20_000, now)
	for b.Loop() {
		r := s.due.first()
		now = max(now, s.at(r).due)
		s.advance(now)
		if r, ok := s.take(); ok {
			s.land(r, verdictOpen, now)
			s.put(r, fate{due: now + 3600e6 + rand.Int64N(7200e6), attempts: 4}, now)
		}
	}
}
