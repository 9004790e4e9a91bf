package submission

import (
	"errors"
	"fmt"

	"github.com/emersion/go-smtp"

	"dawk/relay"
	"dawk/relay/submission/guard"
)

// Refusal is a message, or a step towards one, that was not accepted, with the
// words for whoever sent it. Nothing in it tells of our insides.
type Refusal struct {
	Reply  relay.Reply
	Reason Reason
	Err    error // what was behind it, for the log; nil if nothing
}

// Reason is a closed set: a metric label and the Reason of relay.EventRefused.
// The reasons of package guard belong to it too.
type Reason string

// The reasons.
const (
	ReasonConnections Reason = "connections"   // too many, in all or from one address
	ReasonAuth        Reason = "auth_required" // no login yet
	ReasonRelay       Reason = "relay_denied"
	ReasonSender      Reason = "sender" // not one that the identity may use
	ReasonRecipients  Reason = "recipients"
	ReasonQuota       Reason = "quota" // of the identity, for now
	ReasonSize        Reason = guard.ReasonSize
	ReasonNoSpace     Reason = "no_space"
	ReasonLoop        Reason = "loop" // too many hops
	ReasonNewline     Reason = "bare_newline"
	ReasonNUL         Reason = "nul"
	ReasonLongLine    Reason = "long_line"
	ReasonHeader      Reason = "header"
	ReasonTLS         Reason = "tls"
	ReasonInternal    Reason = "internal" // our own trouble: temporary
	ReasonCut         Reason = "cut"      // the client went away in the middle of a message
	ReasonTimeout     Reason = guard.ReasonTimeout
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

// refuse makes a Refusal; status is in its written form.
func refuse(reason Reason, code int, status, format string, args ...any) *Refusal {
	s, ok := relay.ParseStatus(status)
	if !ok {
		panic("submission: bad status " + status)
	}
	return &Refusal{Reason: reason, Reply: relay.Reply{Code: code, Status: s, Text: relay.Sanitize(fmt.Sprintf(format, args...))}}
}

// refusal turns every error into the reply it gets. It is the only place that
// does. What is not known is our own trouble and temporary: a 5yz would make
// the client throw its mail away (RFC 5321 §4.2.1).
func refusal(err error) *Refusal {
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, relay.ErrNoSpace):
		r = refuse(ReasonNoSpace, 452, "4.3.1", "no space for new mail now, try again later")
	case errors.Is(err, relay.ErrClosed):
		r = refuse(ReasonInternal, 451, "4.3.0", "no mail is taken now, try again later")
	case errors.Is(err, guard.ErrBareNewline):
		r = refuse(ReasonNewline, 554, "5.6.11", "the message has a bare CR or LF; lines must end in CRLF (RFC 5321 section 2.3.8)")
	case errors.Is(err, guard.ErrNUL):
		r = refuse(ReasonNUL, 554, "5.6.11", "the message has a NUL octet (RFC 5321 section 4.5.2)")
	case errors.Is(err, guard.ErrLongLine):
		r = refuse(ReasonLongLine, 554, "5.6.0", "the message has a line of more than 998 octets (RFC 5322 section 2.1.1)")
	case errors.Is(err, guard.ErrStalled):
		r = refuse(ReasonTimeout, 421, "4.4.2", "the message stopped moving")
	case errors.Is(err, guard.ErrEndless):
		r = refuse(ReasonSize, 552, "5.3.4", "the message is far larger than the limit")
	case errors.Is(err, guard.ErrTransfer):
		r = refuse(ReasonCut, 421, "4.4.2", "the message did not come whole")
	default:
		r = refuse(ReasonInternal, 451, "4.3.0", "local trouble, try again later")
	}
	r.Err = err
	return r
}

// smtpError is r as go-smtp wants it: exactly *smtp.SMTPError, since it makes
// a permanent 554 with the error's text of everything else.
func (r *Refusal) smtpError() *smtp.SMTPError {
	s := r.Reply.Status
	return &smtp.SMTPError{Code: r.Reply.Code, EnhancedCode: smtp.EnhancedCode{s.Class, s.Subject, s.Detail}, Message: r.Reply.Text}
}
