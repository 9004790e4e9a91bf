package accept

import (
	"encoding/binary"
	"fmt"
	"strings"

	"dawk/relay"
)

const rfc5322Date = "Mon, 02 Jan 2006 15:04:05 -0700" // RFC 5322 §3.3

const (
	maxOriginals = 1000 // X-Original-To fields of a redirected message
	maxInLine    = 900  // octets of an address that stands in a line with other text (RFC 5322 §2.1.1)
)

// fields are the fields that the user's rules add, the required ones that this message lacks (RFC
// 6409 §8.1 and §8.2), and Received, which comes first, before signatures.
func (d *Decision) fields(m *relay.Message, hdr *header) (b, received []byte) {
	b = d.fromField(hdr)
	if !d.User.Redirect.IsNull() {
		for i, r := range d.Recipients {
			if i == maxOriginals {
				b = fmt.Appendf(b, "X-Original-To: and %d more\r\n", len(d.Recipients)-i)
				break
			}
			if to := inASCII(r.Path.Wire()); len(to) <= maxInLine {
				b = append(b, "X-Original-To: "+to+"\r\n"...)
			}
		}
	}
	if !hdr.date {
		b = append(b, "Date: "+m.Arrival.Format(rfc5322Date)+"\r\n"...)
	}
	if !hdr.hasID {
		b = append(b, "Message-ID: "+m.MessageID+"\r\n"...)
	}
	return append(b, d.unsubscribe(m, hdr)...), d.received(m)
}

// unsubscribe is the fields for a link that ends this mail with one click (RFC 8058 §3.1):
// of a message to one recipient, where the sender has written none of them.
func (d *Decision) unsubscribe(m *relay.Message, hdr *header) []byte {
	token := d.acceptor.cfg.Unsubscribe
	if token == nil || d.User.Unsubscribe == "" || hdr.unsubscribable || len(d.Recipients) != 1 || m.From.IsNull() {
		return nil
	}
	link := strings.Replace(d.User.Unsubscribe, "{token}", token(d.Identity, d.Recipients[0].Path), 1)
	return []byte("List-Unsubscribe:\r\n <" + link + ">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
}

// fromField is the From field that the user's rules give, or that a device has left out; nil if the
// message keeps its own, or if the user may not send as the author that it would name.
func (d *Decision) fromField(hdr *header) (b []byte) {
	from := d.User.RewriteFrom
	if from.IsNull() {
		if !d.AddFrom || hdr.from > 0 {
			return nil
		}
		from = d.From
		if from.IsNull() || !from.ASCII() || len(from.Wire()) > maxInLine {
			from = d.acceptor.cfg.Postmaster
		}
		if !from.ASCII() || !d.User.MayName(from) {
			return nil
		}
	}
	b = append(b, "From: "+from.Wire()+"\r\n"...)
	if to := answersTo(hdr); to != "" {
		b = append(b, "Reply-To: "+to+"\r\n"...)
	}
	return b
}

// maxFrom bounds the From field in which a mailbox is looked for, in octets.
const maxFrom = 1000

// answersTo is the mailbox of a From that a policy replaces, if it can get mail: devices call
// themselves root@localhost. "": the author wants answers elsewhere, or there is no such mailbox.
func answersTo(hdr *header) string {
	if hdr.replyTo || len(hdr.fromValue) > maxFrom {
		return ""
	}
	address, ok := relay.OneMailbox(strings.TrimSpace(strings.ReplaceAll(string(hdr.fromValue), "\r\n", "")))
	p, err := relay.ParsePath(address)
	domain := p.Domain()
	_, literal := relay.ParseLiteral(domain)
	if !ok || err != nil || !p.ASCII() || literal || !strings.Contains(domain, ".") {
		return ""
	}
	for _, local := range []string{".localdomain", ".local", ".lan", ".internal", ".home.arpa", ".invalid"} { // RFC 2606, 6762, 8375
		if strings.HasSuffix(domain, local) {
			return ""
		}
	}
	return p.Wire()
}

// inASCII encodes characters outside ASCII as RFC 6533 §3 does in utf-8 addresses: our fields must
// not make the message need SMTPUTF8.
func inASCII(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}

// received is the trace field (RFC 5321 §4.4). The name that a client gave is written only if it is
// valid.
func (d *Decision) received(m *relay.Message) []byte {
	var b strings.Builder
	b.WriteString("Received: from ")
	if d.HideClient || !d.Client.IsValid() {
		// The grammar wants a domain here. This one says that the client gave no name, and nobody can own
		// it (RFC 2606 §2).
		b.WriteString("hidden.invalid")
	} else {
		b.WriteString(heloDomain(d.Helo) + " (" + relay.Literal(d.Client) + ")")
	}
	b.WriteString("\r\n\tby " + d.acceptor.cfg.Hostname + " (dawk) with " + d.Protocol)
	if d.TLS != "" {
		b.WriteString(" (" + d.TLS + ")")
	}
	b.WriteString("\r\n\tid " + m.ID.String())
	// With several recipients "for" would disclose the others to each of them (RFC 5321 §7.2); outside
	// ASCII it would make the header need SMTPUTF8.
	if len(d.Recipients) == 1 {
		if to := d.Recipients[0].Path; to.ASCII() && len(to.Wire()) <= maxInLine {
			b.WriteString("\r\n\tfor " + to.Wire())
		}
	}
	b.WriteString("; " + m.Arrival.Format(rfc5322Date) + "\r\n")
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

// cleanID gives a Message-ID as one word in angle brackets, or "" if it cannot be quoted in a log
// or a notice.
func cleanID(v []byte) string {
	id := strings.TrimSpace(string(v))
	if len(id) < 3 || len(id) > maxMessageID || id[0] != '<' || id[len(id)-1] != '>' {
		return ""
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] == 0x7f {
			return ""
		}
	}
	return strings.ToValidUTF8(id, "?")
}

const maxMessageID = 998

// has8Bit says whether p has octets above 127, 32 at a time.
func has8Bit(p []byte) bool {
	for ; len(p) >= 32; p = p[32:] {
		one, two := binary.LittleEndian.Uint64(p)|binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[16:])|binary.LittleEndian.Uint64(p[24:])
		if (one|two)&0x8080808080808080 != 0 {
			return true
		}
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// appendLower appends the name of a field, which is ASCII, in lower case.
func appendLower(b []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}
