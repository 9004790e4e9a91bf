package mailtext_test

import (
	"strings"
	"testing"

	"dawk/relay/mailtext"
)

// TestLongFieldsTakeLinearTime: a field is as long as a header may be, and no
// repetition makes the reader of addresses go over it again and again. Where the
// time is quadratic, this one is ended by go test.
func TestLongFieldsTakeLinearTime(t *testing.T) {
	for _, p := range []string{`"`, `""`, `"a"@`, "a@b, ", "<a>", "(a)", "a.@", "[a", "=\""} {
		for _, before := range []string{"", "(", `"`, "<"} {
			mailtext.Addresses(before + strings.Repeat(p, (512<<10)/len(p)))
		}
	}
}
