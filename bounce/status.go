package bounce

import (
	"bytes"
	"net/netip"
	"strings"
	"time"

	"dawk/relay"
)

// writeStatus writes the machine-readable part: the per-message fields of RFC
// 3464 §2.2, then those of each recipient (§2.3), with a blank line before
// each group. global: as message/global-delivery-status (RFC 6533 §4).
func writeStatus(b *bytes.Buffer, c Config, r Report, global bool) {
	writeMessage(b, r, global, "", "dns; "+c.Hostname)
	for _, o := range r.Outcomes {
		b.WriteString("\r\n")
		writeRecipient(b, r, o, global)
	}
}

// writeMessage writes the fields of the message. Prefix goes before the names
// that RFC 3464 gives; a digest has no reporting MTA of its own in each.
func writeMessage(b *bytes.Buffer, r Report, global bool, prefix, reporting string) {
	m := r.Message
	if id := oneLine(m.EnvID); id != "" {
		writeRaw(b, prefix+"Original-Envelope-Id", encode(id, global)) // §2.2.1
	}
	if reporting != "" {
		writeField(b, "Reporting-MTA", reporting) // §2.2.2
	}
	if !m.Arrival.IsZero() {
		writeField(b, prefix+"Arrival-Date", date(m.Arrival)) // §2.2.5
	}
	writeField(b, "X-Dawk-Queue-ID", m.ID.String())
	if id := messageIDOf(m.MessageID); id != "" {
		writeRaw(b, "X-Original-Message-ID", id) // an extension field (§2.2.6) that large providers write too
	}
}

func writeRecipient(b *bytes.Buffer, r Report, o relay.Outcome, global bool) {
	rcpt := r.Message.Recipients[o.Recipient]
	if v := originalRecipient(rcpt.ORcpt, global); v != "" {
		writeRaw(b, "Original-Recipient", v) // §2.3.1, never made up
	}
	writeRaw(b, "Final-Recipient", finalRecipient(rcpt.Path, global)) // §2.3.2
	action, status := actionStatus(o)
	writeField(b, "Action", string(action))  // §2.3.3
	writeField(b, "Status", status.String()) // §2.3.4
	if v := remoteMTA(o.Reply); v != "" {
		writeField(b, "Remote-MTA", v) // §2.3.5
	}
	if v := diagnostic(o.Reply); v != "" {
		writeField(b, "Diagnostic-Code", encode(v, global)) // §2.3.6
	}
	if at := r.Attempted[o.Recipient]; !at.IsZero() {
		writeField(b, "Last-Attempt-Date", date(at)) // §2.3.7: per recipient
	}
	writeField(b, "Final-Log-ID", r.Message.ID.String()) // §2.3.8
	if action == relay.ActionDelayed && !r.Until.IsZero() {
		writeField(b, "Will-Retry-Until", date(r.Until)) // §2.3.9: only for delayed
	}
}

// actionStatus are Action and Status of an outcome. What expired has failed
// with 4.4.7: class 4 in a failure says that the same message may succeed
// later (RFC 3463 §2), which keeps lists from striking the address.
func actionStatus(o relay.Outcome) (relay.Action, relay.Status) {
	s := o.Reply.Enhanced()
	switch o.Action {
	case relay.ActionExpired:
		return relay.ActionFailed, relay.Status{Class: 4, Subject: 4, Detail: 7}
	case relay.ActionFailed:
		if o.Reply.Code == 0 && o.Reply.Status.IsZero() {
			s.Class = 5 // the operator ended it and gave no reason
		}
	case relay.ActionDelayed:
		s.Class = 4
	default:
		s.Class = 2
	}
	return o.Action, s
}

// finalRecipient has the type utf-8 only where the address needs it
// (RFC 6533 §3).
func finalRecipient(p relay.Path, global bool) string {
	switch {
	case p.ASCII():
		return "rfc822; " + p.String()
	case global:
		return "utf-8; " + p.String()
	}
	return "utf-8; " + relay.UTF8XText(p.String())
}

// originalRecipient is what the sender gave as ORCPT, "" without.
func originalRecipient(o relay.ORcpt, global bool) string {
	addr := oneLine(o.Addr)
	if o.IsZero() || addr == "" {
		return ""
	}
	switch {
	case strings.EqualFold(o.Type, "utf-8") && global:
		return "utf-8; " + addr
	case strings.EqualFold(o.Type, "utf-8"):
		return "utf-8; " + relay.UTF8XText(addr)
	case isAtom(o.Type):
		return strings.ToLower(o.Type) + "; " + encode(addr, global)
	}
	return ""
}

// remoteMTA is the host whose reply it was: its name, or else its address.
func remoteMTA(r relay.Reply) string {
	// A host of `via` may be known by its address alone, which is no name.
	a, err := netip.ParseAddr(r.MTA)
	if err != nil {
		if name, err := relay.NormalizeDomain(r.MTA); err == nil && r.MTA != "" {
			return "dns; " + name
		}
		a, err = netip.ParseAddr(r.Addr)
	}
	if ap, err2 := netip.ParseAddrPort(r.Addr); err2 == nil {
		a, err = ap.Addr(), nil
	}
	if err != nil {
		return ""
	}
	return "dns; " + relay.Literal(a)
}

// diagnostic is the reply as type and text: "smtp" only for what a server
// said in SMTP, our own findings under a type of our own.
func diagnostic(r relay.Reply) string {
	words := said(r)
	switch {
	case words == "":
		return ""
	case r.Code == 0:
		return "X-Dawk; " + words
	}
	return "smtp; " + words
}

// said is a reply in one line, whole: code and status do not count towards
// the bound of its words.
func said(r relay.Reply) string {
	text := clean(r.Text)
	r.Text = ""
	return strings.TrimSpace(r.String() + " " + text)
}

// encode keeps UTF-8 where the part may hold it, and writes ASCII elsewhere.
func encode(s string, global bool) string {
	if global {
		return s
	}
	return toASCII(s)
}

// isAtom says whether s can be an address-type (RFC 3464 §2.1.2).
func isAtom(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// date is a date-time of RFC 5322 §3.3.
func date(t time.Time) string {
	return t.Format("Mon, 2 Jan 2006 15:04:05 -0700")
}
