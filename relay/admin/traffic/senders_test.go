package traffic

import (
	"fmt"
	"testing"
	"time"

	"dawk/relay"
)

// Messages are counted by identity, and the number of identities that are known is bounded:
// who was silent for longest goes.
func TestSenders(t *testing.T) {
	var s Senders
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	say := func(kind relay.EventKind, who string, n int) {
		s.Observe(relay.Event{Kind: kind, Identity: who, Time: at.Add(time.Duration(n) * time.Second)})
	}
	say(relay.EventAccepted, "shop", 0)
	say(relay.EventAccepted, "shop", 1)
	say(relay.EventDelivered, "shop", 2)
	say(relay.EventAccepted, "", 3)
	if got := s.All(); len(got) != 1 || got["shop"] != (Sent{2, at.Add(time.Second)}) {
		t.Errorf("%+v", got)
	}
	for n := range maxTraffic {
		say(relay.EventAccepted, fmt.Sprint(n), 10+n)
	}
	if got := s.All(); len(got) != maxTraffic || got["shop"].Messages != 0 || got["0"].Messages != 1 {
		t.Errorf("%d are known", len(got))
	}
}
