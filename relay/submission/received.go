package submission

import (
	"net/netip"
	"strings"
	"time"

	"dawk/relay"
)

const rfc5322Date = "Mon, 02 Jan 2006 15:04:05 -0700" // RFC 5322 §3.3

// received writes the trace field (RFC 5321 §4.4). Whatever in it a client
// said is checked to be a name before it is written.
func (a *Acceptor) received(s *Submission, id relay.QueueID, now time.Time) []byte {
	var b strings.Builder
	b.WriteString("Received: from ")
	if s.HideClient || !s.Client.IsValid() {
		// The grammar wants a domain here. This one says that none is told,
		// and is nobody's (RFC 2606 §2).
		b.WriteString("hidden.invalid")
	} else {
		b.WriteString(heloDomain(s.Helo) + " (" + literal(s.Client) + ")")
	}
	b.WriteString("\r\n\tby " + a.cfg.Hostname + " (dawk) with " + s.Protocol)
	if s.TLS != "" {
		b.WriteString(" (" + s.TLS + ")")
	}
	b.WriteString("\r\n\tid " + id.String())
	// With several recipients "for" would tell each of the others (RFC 5321
	// §7.2); outside ASCII it would make the header need SMTPUTF8.
	if len(s.Recipients) == 1 {
		if p := a.Path(s.Recipients[0].Path); p.ASCII() {
			b.WriteString("\r\n\tfor " + p.Wire())
		}
	}
	b.WriteString("; " + now.Format(rfc5322Date) + "\r\n")
	return []byte(b.String())
}

// heloDomain is what a client called itself, if that is a name or an address
// literal.
func heloDomain(helo string) string {
	d, err := relay.NormalizeDomain(helo)
	if err != nil {
		return "unknown"
	}
	return d
}

// literal is an address literal (RFC 5321 §4.1.3).
func literal(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return "[" + a.String() + "]"
	}
	return "[IPv6:" + a.String() + "]"
}

// protocol is the keyword for "with" (RFC 3848; RFC 6531 §4.3 for SMTPUTF8).
func protocol(esmtp, utf8, tls, auth bool) string {
	switch {
	case !esmtp:
		return "SMTP"
	case utf8:
		return "UTF8SMTP" + suffix(tls, auth)
	}
	return "ESMTP" + suffix(tls, auth)
}

func suffix(tls, auth bool) (s string) {
	if tls {
		s = "S"
	}
	if auth {
		s += "A"
	}
	return s
}
