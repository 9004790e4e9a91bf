package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// unknownStep is the step of the schedule that an unknown outcome waits for. The receiver may well
// have taken the message (RFC 1047): a later second attempt gives its duplicate detection and its
// administrator time.
const unknownStep = 3

// Retry is the retry schedule. It is pure: the same arguments and the same random number give the
// same due time.
type Retry struct {
	Steps []time.Duration // step n follows the end of attempt n; the last repeats
	Rand  func(n int64) int64
}

// Next is when the attempt after attempt n is due, with the rule for it in words. n counts from 1;
// ended is when attempt n ended.
func (s Retry) Next(n int, unknown bool, ended time.Time) (due time.Time, rule string) {
	step := min(max(n, 1), len(s.Steps))
	if unknown {
		step = max(step, min(unknownStep, len(s.Steps)))
	}
	wait := s.Steps[step-1]
	rule = fmt.Sprintf("retry step %d of %d: %s ±10 %%", step, len(s.Steps), shortDuration(wait))
	if n > len(s.Steps) {
		rule += ", repeated"
	}
	if unknown {
		rule = "no answer to the final dot, so it waits for " + rule
	}
	return ended.Add(s.jitter(wait)), rule
}

// Longest is the longest time from the end of an attempt to the next one.
func (s Retry) Longest() time.Duration {
	step := slices.Max(s.Steps)
	return step + step/jitterPart
}

// jitterPart: a step is made shorter or longer by up to a tenth.
const jitterPart = 10

// jitter spreads d evenly over ±10 %, so that mail that failed together is not tried again
// together.
func (s Retry) jitter(d time.Duration) time.Duration {
	part := int64(d / jitterPart)
	return d - time.Duration(part) + time.Duration(s.Rand(2*part+1))
}

// shortDuration writes 15m for 15m0s and 5d for 120h0m0s.
func shortDuration(d time.Duration) string {
	if day := 24 * time.Hour; d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
