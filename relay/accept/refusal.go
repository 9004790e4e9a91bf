package accept

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// Refusal says that a message, or a step towards one, was not accepted. Its text is for the sender
// and discloses nothing internal.
type Refusal struct {
	Reply  relay.Reply
	Reason Reason
	Err    error         // what was behind it, for the log; nil if nothing
	Wait   time.Duration // until the same may be taken, as the reply says it; 0: it does not say
}

// Reason is a closed set: a metric label and the Reason of relay.EventRefused.
// The reasons of package guard belong to it too.
type Reason string

// The reasons.
const (
	ReasonConnections Reason = "connections"   // too many, in all or from one address
	ReasonAuth        Reason = "auth_required" // no login yet
	ReasonRelay       Reason = "relay_denied"
	ReasonSender      Reason = "sender" // an address that the identity may not use
	ReasonRecipients  Reason = "recipients"
	ReasonQuota       Reason = "quota"      // of the identity, for now
	ReasonSuppressed  Reason = "suppressed" // the recipient is on the suppression list
	ReasonSize        Reason = "size"
	ReasonNoSpace     Reason = "no_space"
	ReasonLoop        Reason = "loop" // too many hops
	ReasonNewline     Reason = "bare_newline"
	ReasonNUL         Reason = "nul"
	ReasonLongLine    Reason = "long_line"
	ReasonHeader      Reason = "header"
	ReasonTLS         Reason = "tls"
	ReasonInternal    Reason = "internal" // an error of ours: temporary
	ReasonCut         Reason = "cut"      // the client went away in the middle of a message
	ReasonTimeout     Reason = "timeout"
)

// Error is for the log.
func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Reply.String() + ": " + r.Err.Error()
	}
	return r.Reply.String()
}

// Unwrap gives what was behind it.
func (r *Refusal) Unwrap() error { return r.Err }

// Permanent says whether trying again cannot help.
func (r *Refusal) Permanent() bool { return r.Reply.Code/100 == 5 }

// maxText keeps a reply within a line of 512 octets (RFC 5321 §4.5.3.1.5).
const maxText = 480

// Refuse makes a Refusal; status is in its written form.
func Refuse(reason Reason, code int, status, format string, args ...any) *Refusal {
	s, ok := relay.ParseStatus(status)
	if !ok {
		panic("accept: bad status " + status)
	}
	text := relay.Sanitize(fmt.Sprintf(format, args...))
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	return &Refusal{Reason: reason, Reply: relay.Reply{Code: code, Status: s, Text: text}}
}

// Suppressed refuses a recipient that is on the suppression list; nil where why is "".
func Suppressed(why string) *Refusal {
	if why == "" {
		return nil
	}
	return Refuse(ReasonSuppressed, 550, "5.7.1", "%s", why)
}

// RefusalOf makes a Refusal of any error. An unknown one is an error of ours
// and temporary: a 5yz would make the client throw its mail away (RFC 5321
// §4.2.1).
func RefusalOf(err error) *Refusal {
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, relay.ErrNoSpace):
		r = Refuse(ReasonNoSpace, 452, "4.3.1", "no space for new mail now, try again later")
	case errors.Is(err, relay.ErrClosed):
		r = Refuse(ReasonInternal, 451, "4.3.0", "no mail is taken now, try again later")
	default:
		r = Refuse(ReasonInternal, 451, "4.3.0", "local trouble, try again later")
	}
	r.Err = err
	return r
}

// overQuota turns a QuotaError into its refusal. It is temporary, so that a
// program that keeps what it could not send sends it later.
func overQuota(u *identity.User, err error) error {
	var q *identity.QuotaError
	if !errors.As(err, &q) {
		return err
	}
	// RFC 5321 §4.5.3.1.10: after 452 the client keeps these recipients for later.
	wait := roundUp(q.Wait)
	r := Refuse(ReasonQuota, 452, "4.7.28", "%s may send %d %s per %s; try again in %s", u.Called(), q.Limit, q.What, q.Per, waitText(wait))
	r.Wait = wait
	return r
}

// roundUp is d rounded up to whole seconds or minutes: after that time the message fits.
func roundUp(d time.Duration) time.Duration {
	step := time.Second
	if d > time.Minute {
		step = time.Minute
	}
	return (d + step - 1) / step * step
}

func waitText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}
