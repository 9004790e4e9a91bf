package bounce

import (
	"bytes"
	"fmt"
	"time"

	"dawk/relay"
)

// Compose writes the notice. An error means a fault in the caller (ErrReport)
// or in the configuration, never in what strangers wrote; when the content
// cannot be read the notice goes without the returned part.
func Compose(c Config, r Report) (relay.Notice, error) {
	if err := c.Validate(); err != nil {
		return relay.Notice{}, err
	}
	if r.ID.IsZero() || r.Message == nil || len(r.Outcomes) == 0 {
		return relay.Notice{}, fmt.Errorf("%w: needs an ID, a message and an outcome", ErrReport)
	}
	for _, o := range r.Outcomes {
		if o.Recipient < 0 || o.Recipient >= len(r.Message.Recipients) {
			return relay.Notice{}, fmt.Errorf("%w: %s has no recipient %d", ErrReport, r.Message.ID, o.Recipient)
		}
	}
	to := To(c, r.Kind, r.Message)
	if to.IsNull() {
		return relay.Notice{}, fmt.Errorf("%w: nobody to tell about %s", ErrReport, r.Message.ID)
	}
	var b bytes.Buffer
	id := fmt.Sprintf("<%s.dsn@%s>", r.ID, c.Hostname)
	boundary := "=_dawk_" + r.ID.String()
	fmt.Fprintf(&b, "From: Mail Delivery System <postmaster@%s>\r\nTo: %s\r\n", c.Hostname, to)
	fmt.Fprintf(&b, "Subject: Mail not delivered\r\nDate: %s\r\n", r.Now.Format(time.RFC1123Z))
	fmt.Fprintf(&b, "Message-ID: %s\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n", id)
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"%s\"\r\n\r\n", boundary)
	fmt.Fprintf(&b, "--%s\r\nContent-Type: text/plain\r\n\r\n", boundary)
	for _, o := range r.Outcomes {
		fmt.Fprintf(&b, "%s: %s\r\n", o.Action, r.Message.Recipients[o.Recipient].Path)
	}
	fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; %s\r\n", boundary, c.Hostname)
	for _, o := range r.Outcomes {
		fmt.Fprintf(&b, "\r\nFinal-Recipient: rfc822; %s\r\nAction: %s\r\nStatus: %s\r\n",
			r.Message.Recipients[o.Recipient].Path, o.Action, o.Reply.Enhanced())
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return relay.Notice{
		Message: relay.Message{
			ID:        r.ID,
			Envelope:  relay.Envelope{Recipients: []relay.Recipient{{Path: to}}},
			Arrival:   r.Now,
			Size:      int64(b.Len()),
			Identity:  "dawk",
			MessageID: id,
			Notice:    true,
		},
		Content: b.Bytes(),
	}, nil
}
