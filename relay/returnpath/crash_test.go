package returnpath

import (
	"errors"
	"fmt"
	"testing"

	"dawk/relay"
)

// Wherever the relay dies, the server that brought the notice has heard nothing and brings
// it again; then there is one event in the outbox, those who observe have seen it, and the
// sender has what goes on to it.
func TestCrash(t *testing.T) {
	dead := errors.New("the relay died")
	for name, die := range map[string]func(*world){
		"before the commit":       func(w *world) { w.queue.before = dead },
		"after the commit":        func(w *world) { w.queue.after = dead },
		"before it was observed":  func(w *world) { w.lost = dead },
		"and the time after, too": func(w *world) { w.queue.before, w.lost = dead, dead },
	} {
		for _, forward := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", forward ", forward), func(t *testing.T) { testCrash(t, forward, die) })
		}
	}
}

func testCrash(t *testing.T, forward bool, die func(*world)) {
	w := newWorld(t, t.TempDir(), start)
	w.cfg.Forward = forward
	m := w.message(start)
	a, other := w.send(m, 0), w.send(m, 1)
	w.comes(other, bounced) // what is in the outbox already is not taken for ours
	die(w)
	tries := 1
	for w.came(a, bounced) != nil {
		if tries++; tries > 3 {
			t.Fatal("the notice is never taken")
		}
		w.Close()
		lost := w.lost
		w = reopen(t, w.dir, w.at, w.queue)
		w.lost, w.cfg.Forward = lost, forward
	}
	if tries < 2 {
		t.Fatal("nothing went wrong")
	}
	if len(w.events) == 0 || w.events[len(w.events)-1].Recipient != m.Recipients[0].Path {
		t.Errorf("nobody has seen it: %v", w.events)
	}
	w.comes(a, bounced)
	var bounces, accepted int
	for _, e := range w.queue.events {
		switch e.Kind {
		case relay.EventBounced:
			bounces++
		case relay.EventAccepted:
			accepted++
		}
	}
	want := map[bool]int{true: 2}[forward]
	if bounces != 2 || accepted != want || len(w.queue.sent) != want {
		t.Errorf("%d events of 2 notices, %d messages forwarded, %d told", bounces, len(w.queue.sent), accepted)
	}
}
