package delivery

import (
	"time"

	"dawk/relay"
)

// age is how long the relay has been free to deliver d: since arrival or, with
// FUTURERELEASE (RFC 4865), since its release; time on hold does not count.
func age(now time.Time, m *relay.Message, d *relay.Delivery) time.Duration {
	a := now.Sub(m.Released()) - d.HeldFor.Duration()
	if !d.HeldAt.IsZero() {
		a -= max(0, now.Sub(d.HeldAt))
	}
	return a
}

// until is when we give up on d.
func (s *settler) until(now time.Time, m *relay.Message, d *relay.Delivery) time.Time {
	return now.Add(max(0, m.Lifetime(s.maxAge)-age(now, m, d)))
}

// expired says whether d's time is up. It is checked only after an attempt: mail that was never
// tried does not bounce after a long outage of ours or a jump of the clock.
func expired(now time.Time, m *relay.Message, d *relay.Delivery, maxAge time.Duration) bool {
	return age(now, m, d) >= m.Lifetime(maxAge)
}

const returned = "returned to its sender " + byAdministrator

// returnedNow gives the outcomes of relay.VerbBounce: like those of expiry, with the last reply or,
// without an attempt, the operator's decision.
func returnedNow(d *relay.Delivery) []relay.Outcome {
	out := outcomesFor(d, relay.ActionFailed, relay.Decision(relay.CauseOperator, relay.Status{Class: 5, Subject: 3, Detail: 0}, returned))
	for i, o := range d.Open {
		if !o.Last.IsZero() {
			out[i].Action, out[i].Reply = relay.ActionExpired, o.Last
		}
	}
	return out
}
