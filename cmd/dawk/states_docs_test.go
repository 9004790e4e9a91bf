package main

import (
	"strings"
	"testing"

	"dawk/relay"
)

// docs/states.md names every state that JSON may hold.
func TestStatesAreDocumented(t *testing.T) {
	page := read(t, "../../docs/states.md")
	for s := range relay.LoadStates {
		if !strings.Contains(page, "\n| `"+s.String()+"` | ") {
			t.Errorf("no row for the state %s of a provider", s)
		}
	}
	for _, s := range relay.DeliveryStates() {
		if !strings.Contains(page, "`"+s.String()+"`") {
			t.Errorf("no word of the state %s of a delivery", s)
		}
	}
}
