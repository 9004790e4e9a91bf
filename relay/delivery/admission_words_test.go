package delivery

import "testing"

// What a throttling changed is said as it is, also where one connection is all there was.
func TestSlowedTo(t *testing.T) {
	for _, x := range []struct {
		after, before int
		want          string
	}{
		{5, 10, "5 connections at once instead of 10"},
		{1, 2, "1 connection at once instead of 2"},
		{1, 1, "connections at once stay at 1"},
	} {
		if got := slowedTo(x.after, x.before); got != x.want {
			t.Errorf("from %d to %d: %q, want %q", x.before, x.after, got, x.want)
		}
	}
}
