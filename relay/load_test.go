package relay_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"dawk/relay"
)

// Every state has a name of its own and words, and JSON gives it back.
func TestStatesHaveWords(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	said := map[string]bool{}
	for s := range relay.LoadStates {
		p := relay.ProviderLoad{Name: "big.example", Ready: 2, State: s, Since: now.Add(-time.Hour), Until: now.Add(time.Minute), Drained: now.Add(time.Hour),
			Failure: relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "no answer within 30s")}
		why := p.Why(now)
		if s.String() == "" || said[s.String()] || said[why] || len(strings.Fields(why)) < 2 {
			t.Errorf("state %d %q: %q", s, s, why)
		}
		said[s.String()], said[why] = true, true
		switch s {
		case relay.LoadProbing, relay.LoadSuspended, relay.LoadHeld:
			for _, want := range []string{"since 11:00:00 UTC", "no answer within 30s"} {
				if !strings.Contains(why, want) {
					t.Errorf("%s: %q lacks %q", s, why, want)
				}
			}
		}
		var back relay.LoadState
		if b, err := json.Marshal(s); err != nil || json.Unmarshal(b, &back) != nil || back != s {
			t.Errorf("%s: %s, %v", s, b, err)
		}
	}
	unknown := relay.ProviderLoad{State: relay.LoadSuspended, Failure: relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3}, "timeout")}
	if why := unknown.Why(now); strings.Contains(why, "let nobody in") || !strings.Contains(why, "DNS gives no usable answer") {
		t.Errorf("servers that nobody asked are blamed: %q", why)
	}
	var s relay.LoadState
	if err := json.Unmarshal([]byte(`"asleep"`), &s); err == nil {
		t.Error("a state that does not exist is taken")
	}
}
