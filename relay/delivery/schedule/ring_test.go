package schedule

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A ring gives turns in the order of joining, whoever leaves from wherever.
func TestRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ring[int]
		var nodes [6]node[int]
		var want []int
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				if i := rapid.IntRange(0, len(nodes)-1).Draw(t, "who"); !nodes[i].queued {
					r.join(&nodes[i], i)
					want = append(want, i)
				}
			},
			"at the front": func(t *rapid.T) {
				if i := rapid.IntRange(0, len(nodes)-1).Draw(t, "who"); !nodes[i].queued {
					r.insert(&nodes[i], i, nil)
					want = slices.Insert(want, 0, i)
				}
			},
			"leave": func(t *rapid.T) {
				i := rapid.IntRange(0, len(nodes)-1).Draw(t, "who")
				r.leave(&nodes[i])
				want = slices.DeleteFunc(want, func(o int) bool { return o == i })
			},
			"next": func(t *rapid.T) {
				if r.empty() {
					t.Skip()
				}
				if got := r.first.who; got != want[0] || r.n != len(want) {
					t.Fatalf("it is the turn of %d, want %d of %v", got, want[0], want)
				}
				r.leave(r.first)
				want = want[1:]
			},
			"": func(t *rapid.T) {
				for i, s := range nodes {
					if s.queued != slices.Contains(want, i) {
						t.Fatalf("%d has a node: %v; in the ring are %v", i, s.queued, want)
					}
				}
				if r.empty() != (len(want) == 0) || r.last != nil && r.last.who != want[len(want)-1] {
					t.Fatalf("it ends wrongly: %v", want)
				}
			},
		})
	})
}
