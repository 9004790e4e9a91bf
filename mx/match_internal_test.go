package mx

import "testing"

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		p, s string
		want bool
	}{{"*", "", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "ac", true}, {"a*b*c", "a-b-c", true},
		{"ab*ba", "aba", false}, {"a", "ab", false}, {"a*b*c", "acb", false}, {"", "", true}} {
		if glob(c.p, c.s) != c.want {
			t.Errorf("glob(%q, %q)", c.p, c.s)
		}
	}
}
