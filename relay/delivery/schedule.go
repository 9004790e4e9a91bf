package delivery

import (
	"fmt"
	"strings"
	"time"

	"dawk/relay"
)

// unknownStep is the step of the schedule that an unknown outcome waits for.
// The receiver may well have taken the message (RFC 1047): a patient second
// attempt gives its duplicate detection and its administrator time.
const unknownStep = 3

// schedule is the retry schedule. It is pure: the same arguments and the same
// luck give the same due time.
type schedule struct {
	steps []time.Duration // step n follows the end of attempt n; the last repeats
	rand  func(n int64) int64
}

// next is when the attempt after attempt n is due, and the rule that said so
// in words for people. n counts from 1; ended is when attempt n ended.
func (s schedule) next(n int, unknown bool, ended time.Time) (due time.Time, rule string) {
	step := min(max(n, 1), len(s.steps))
	if unknown {
		step = max(step, min(unknownStep, len(s.steps)))
	}
	wait := s.steps[step-1]
	rule = fmt.Sprintf("retry step %d of %d: %s ±10 %%", step, len(s.steps), shortDuration(wait))
	if n > len(s.steps) {
		rule += ", repeated"
	}
	if unknown {
		rule = "no answer to the final dot, so it waits for " + rule
	}
	return ended.Add(s.jitter(wait)), rule
}

// jitter spreads d evenly over ±10 %, so that what failed together does not
// come back together.
func (s schedule) jitter(d time.Duration) time.Duration {
	tenth := int64(d / 10)
	return d - time.Duration(tenth) + time.Duration(s.rand(2*tenth+1))
}

// step is how long a Delivery with so many attempts waits after its next one.
func (s schedule) step(attempts int) time.Duration {
	return s.steps[min(max(attempts, 0), len(s.steps)-1)]
}

// age is how long the relay has been free to deliver d: since arrival or, with
// FUTURERELEASE (RFC 4865), since its release; time on hold does not count.
func age(now time.Time, m *relay.Message, d *relay.Delivery) time.Duration {
	start := m.Arrival
	if m.NotBefore.After(start) {
		start = m.NotBefore
	}
	a := now.Sub(start) - d.HeldFor
	if !d.HeldAt.IsZero() {
		a -= max(0, now.Sub(d.HeldAt))
	}
	return a
}

// lifetime is how long m may stay in the queue.
func lifetime(m *relay.Message, maxAge time.Duration) time.Duration {
	if m.MaxAge > 0 {
		return m.MaxAge
	}
	return maxAge
}

// until is when we give up trying for d.
func (s *settler) until(now time.Time, m *relay.Message, d *relay.Delivery) time.Time {
	return now.Add(max(0, lifetime(m, s.maxAge)-age(now, m, d)))
}

// expired says whether d's time is up. It is asked only after an attempt, so
// that a long outage of ours or a jump of the clock bounces nothing untried.
func expired(now time.Time, m *relay.Message, d *relay.Delivery, maxAge time.Duration) bool {
	return age(now, m, d) >= lifetime(m, maxAge)
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
