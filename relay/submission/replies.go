package submission

import (
	"errors"
	"io"

	"github.com/emersion/go-smtp"

	"dawk/relay/accept"
	"dawk/relay/submission/guard"
)

// This file turns errors into SMTP replies. What is not known here or in
// accept.RefusalOf gets 451.

// smtpError is r as go-smtp wants it: exactly *smtp.SMTPError, since it makes
// a permanent 554 with the error's text of everything else.
func smtpError(r *accept.Refusal) *smtp.SMTPError {
	s := r.Reply.Status
	return &smtp.SMTPError{Code: r.Reply.Code, EnhancedCode: smtp.EnhancedCode{s.Class, s.Subject, s.Detail}, Message: r.Reply.Text}
}

// content is the message that the guard takes off the wire. Faults that the
// guard finds in it are refusals.
type content struct{ *guard.Conn }

func (c content) WriteTo(dst io.Writer) (int64, error) {
	n, err := c.Conn.WriteTo(dst)
	if err == nil {
		return n, nil
	}
	var r *accept.Refusal
	switch {
	case errors.Is(err, guard.ErrBareNewline):
		r = accept.Refuse(accept.ReasonNewline, 554, "5.6.11", "the message has a bare CR or LF; lines must end in CRLF (RFC 5321 section 2.3.8)")
	case errors.Is(err, guard.ErrNUL):
		r = accept.Refuse(accept.ReasonNUL, 554, "5.6.11", "the message has a NUL octet (RFC 5321 section 4.5.2)")
	case errors.Is(err, guard.ErrLongLine):
		r = accept.Refuse(accept.ReasonLongLine, 554, "5.6.0", "the message has a line of more than 998 octets (RFC 5322 section 2.1.1)")
	case errors.Is(err, guard.ErrLineEnds):
		r = accept.Refuse(accept.ReasonNewline, 554, "5.6.11", "the lines of the message do not end as those of the commands did")
	case errors.Is(err, guard.ErrReset):
		r = accept.Refuse(guard.ReasonReset, 421, "4.4.2", "the client broke the connection in the middle of a message")
	case errors.Is(err, guard.ErrStalled):
		r = accept.Refuse(accept.ReasonTimeout, 421, "4.4.2", "the message stopped moving")
	case errors.Is(err, guard.ErrEndless):
		r = accept.Refuse(accept.ReasonSize, 552, "5.3.4", "the message is far larger than the limit")
	case errors.Is(err, guard.ErrTransfer):
		r = accept.Refuse(accept.ReasonCut, 421, "4.4.2", "the message did not come whole")
	default: // of dst
		return n, err
	}
	r.Err = err
	return n, r
}
