package accept_test

import (
	"fmt"
	"strings"
	"testing"

	"dawk/relay/accept/accepttest"
)

// What it costs to decide about a message and to read it, with a queue that only
// remembers.
func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			a, seen := acceptor(b, &accepttest.Queue{Forget: true}, nil)
			s := submit(b, pieces{"Date: x\r\nMessage-ID: <x@example.org>\r\nFrom: <a@example.org>\r\nTo: <b@example.com>\r\nSubject: x\r\n\r\n" +
				strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72-2), 4096})
			s.CompleteHeader = "relay.example.org"
			b.ReportAllocs()
			for b.Loop() {
				seen.Events = nil
				if _, err := a.Submit(b.Context(), s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
