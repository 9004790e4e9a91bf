package submission_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"dawk/relay/accept/accepttest"
)

// What it costs to accept a message on a connection that is open, the client's
// work included, with a queue that only remembers.
func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			f := start(b, options{listener: trusted(), queue: &accepttest.Queue{Forget: true}})
			c := f.play(hello)
			envelope := []byte("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
			body := []byte("Date: x\r\nMessage-ID: <x@example.org>\r\nFrom: a@example.org\r\nSubject: x\r\n\r\n" +
				strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72-2) + ".\r\n")
			read := func() {
				line, err := c.br.ReadSlice('\n')
				if err != nil || line[0] > '3' {
					b.Fatalf("%q %v", line, err)
				}
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			before := cpuTime(b)
			for b.Loop() {
				c.c.Write(envelope)
				read()
				read()
				read()
				c.c.Write(body)
				read()
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what this process has spent, client and server alike. On a busy
// machine it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
