package shaping

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestHabitsEndAfterADay: a day after the first thing was learned of a host all
// of it is forgotten, whatever was learned meanwhile.
func TestHabitsEndAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hosts
		h.LearnClassical("mx", true)
		h.Learn("mx", Habits{Recipients: 5})
		time.Sleep(23 * time.Hour)
		h.Learn("mx", Habits{Lockstep: true, Recipients: 9})
		if got := h.Get("mx"); got != (Habits{Classical: true, Lockstep: true, Recipients: 5}) {
			t.Errorf("after 23 h: %+v", got)
		}
		time.Sleep(time.Hour)
		if got := h.Get("mx"); got != (Habits{}) {
			t.Errorf("after a day: %+v", got)
		}
	})
}

// TestHostsAreBounded: strangers who name ever new hosts fill no memory.
func TestHostsAreBounded(t *testing.T) {
	var h Hosts
	for i := range 5 * maxHosts {
		h.Learn(fmt.Sprint(i), Habits{Lockstep: true})
	}
	if n := len(h.known.young) + len(h.known.old); n > 2*maxHosts {
		t.Errorf("%d hosts are remembered", n)
	}
	if !h.Get(fmt.Sprint(5*maxHosts - 1)).Lockstep {
		t.Error("the last one is forgotten")
	}
}
