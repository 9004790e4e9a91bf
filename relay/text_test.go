package relay_test

import (
	"strings"
	"testing"

	"dawk/relay"
)

func TestClip(t *testing.T) {
	for s, want := range map[string]string{
		"":           "",
		"abcd":       "abcd",
		"abcde":      "abc…",
		"üüüü":       "üüüü",
		"üüüüü":      "üüü…",
		"a\xffbcdef": "a\xffb…",
	} {
		if got := relay.ClipTo(s, 4); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	if s := strings.Repeat("x", 80); relay.Clip(s) != s || len(relay.Clip(s+"x")) != 79+len("…") {
		t.Error("Clip has another bound than 80 characters")
	}
}

func TestNearest(t *testing.T) {
	names := []string{"from", "identity", "max_message_size", "max_age"}
	for word, want := range map[string]string{
		"form": "from", "From": "from", "idnetity": "identity", "max-age": "max_age", "max_message": "max_message_size",
		"size": "", "x": "", "": "", strings.Repeat("from", 20): "",
	} {
		if got := relay.Nearest(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
