package relay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Verb is what an operator does to queued mail. [VerbRetry] and [VerbHold] pass
// over what is on hold, [VerbRelease] over what is not.
type Verb string

// The verbs of `dawk queue`. Retry, hold and release act on whole Deliveries.
// Delete and bounce end single recipients; only bounce tells the sender.
const (
	VerbRetry   Verb = "retry"   // attempt it now
	VerbHold    Verb = "hold"    // attempt nothing until it is released
	VerbRelease Verb = "release" // end a hold; it is attempted now
	VerbDelete  Verb = "delete"  // forget it and tell nobody
	VerbBounce  Verb = "bounce"  // give up now and tell the sender

	// VerbReroute sends it by another route: it names one, and so it has a way of its own.
	VerbReroute Verb = "reroute"

	// VerbRetryNow is retry that cuts an attempt under way, before its final dot.
	VerbRetryNow Verb = "retry now"
)

// ErrPending: an attempt is under way. The verb acts on what it leaves, as soon as
// it ends.
var ErrPending = errors.New("it is being attempted now; done when the attempt ends")

// Verbs are all verbs, in the order of the help.
func Verbs() []Verb { return []Verb{VerbRetry, VerbHold, VerbRelease, VerbDelete, VerbBounce} }

// ParseVerb reads a verb as the operator writes it.
func ParseVerb(s string) (Verb, error) {
	if v := Verb(strings.ToLower(s)); slices.Contains(Verbs(), v) {
		return v, nil
	}
	return "", fmt.Errorf("%q is not something to do with a message: use retry, hold, release, delete or bounce", Sanitize(s))
}
