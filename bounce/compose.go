package bounce

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"dawk/relay"
)

// Identity is the Message.Identity of notices.
const Identity = "dawk"

// Compose writes the notice: a multipart/report (RFC 6522) of a text for
// people, the delivery status for programs (RFC 3464), and the message or its
// header. It is to be sent with the null reverse-path (RFC 3464 §2), and may
// be signed before it is queued.
//
// An error means a fault in the caller (ErrReport) or in c, never in what strangers wrote; when the
// content cannot be read, the notice has no third part.
func Compose(c Config, r Report) (relay.Notice, error) {
	to, err := check(c, r)
	if err != nil {
		return relay.Notice{}, err
	}
	c.Hostname, _ = relay.NormalizeDomain(c.Hostname)
	if r.Kind != KindDoubleBounce { // that one is the postmaster's
		r.Outcomes = outcomesForSender(r.Outcomes)
	}
	// A sender whose address needs SMTPUTF8 gets the internationalised forms of RFC 6533; everybody
	// else gets ASCII, which every host passes on. Its status stays message/delivery-status where
	// every address in it is ASCII, which §4.4 allows: programs that read bounces know only that type.
	global := !to.ASCII()
	orig := readOriginal(c, r)
	returned := returnedPart(orig, global)
	globalStatus := global && slices.ContainsFunc(r.Outcomes, func(o relay.Outcome) bool { return needsUTF8(r.Message.Recipients[o.Recipient]) })

	var text, status bytes.Buffer
	lang := languageOf(c, r, orig)
	writeText(&text, c, lang, r, orig, returned)
	writeStatus(&status, c, r, globalStatus)
	parts := []part{textPart(text.Bytes(), lang), statusPart(status.Bytes(), globalStatus)}
	if returned.body != nil {
		parts = append(parts, returned)
	}
	return assemble(c, r, to, noticeSubject(lang, r, orig), parts, global), nil
}

// assemble makes one message of the parts: a multipart/report, with what all
// messages of our own have in common.
func assemble(c Config, r Report, to relay.Path, subject string, parts []part, global bool) relay.Notice {
	m := relay.Message{ID: r.ID, Arrival: r.Now, MessageID: "<" + r.ID.String() + ".dsn@" + c.Hostname + ">",
		Identity: Identity, Notice: true, UTF8Header: global}
	m.Recipients, m.SMTPUTF8 = []relay.Recipient{{Path: to}}, global // not REQUIRETLS: see redacted
	if slices.ContainsFunc(parts, func(p part) bool { return p.encoding == "8bit" }) {
		m.EightBit, m.Body = true, relay.Body8BitMIME
	}
	var b bytes.Buffer
	writeHeader(&b, c, r, to, subject, m.MessageID)
	writeParts(&b, parts, m.EightBit)
	m.Size = int64(b.Len())
	return relay.Notice{Content: b.Bytes(), Message: m}
}

// check refuses what cannot be written, and says who is to be told.
func check(c Config, r Report) (relay.Path, error) {
	if err := c.Validate().Err(); err != nil {
		return relay.Path{}, err
	}
	if r.ID.IsZero() || r.Message == nil || len(r.Outcomes) == 0 {
		return relay.Path{}, fmt.Errorf("%w: it needs a queue ID, a message and an outcome", ErrReport)
	}
	if !slices.Contains(Kinds(), r.Kind) {
		return relay.Path{}, fmt.Errorf("%w: %q is not a kind of notice", ErrReport, r.Kind)
	}
	for _, o := range r.Outcomes {
		if o.Recipient < 0 || o.Recipient >= len(r.Message.Recipients) {
			return relay.Path{}, fmt.Errorf("%w: message %s has no recipient %d", ErrReport, r.Message.ID, o.Recipient)
		}
	}
	to := To(c, r.Kind, r.Message)
	if to.IsNull() || r.Message.Notice && r.Kind != KindDoubleBounce {
		return relay.Path{}, fmt.Errorf("%w: nobody may be told about message %s", ErrReport, r.Message.ID)
	}
	return to, nil
}

// writeHeader writes the header up to MIME-Version.
func writeHeader(b *bytes.Buffer, c Config, r Report, to relay.Path, subject, messageID string) {
	// RFC 3464 §2 wants the address of a human: postmaster exists at every
	// host that sends mail (RFC 5321 §4.5.1).
	writeField(b, "From", "Mail Delivery System <postmaster@"+c.Hostname+">")
	writeRaw(b, "To", to.String())
	if p := withHost(c, c.Postmaster); !p.IsNull() && p != to && (p.ASCII() || !to.ASCII()) {
		writeRaw(b, "Reply-To", p.String())
	}
	writeField(b, "Subject", encodeSubject(subject))
	writeField(b, "Date", date(r.Now))
	writeField(b, "Message-ID", messageID)
	if id := messageIDOf(r.Message.MessageID); id != "" {
		writeField(b, "In-Reply-To", id)
		writeField(b, "References", id)
	}
	writeField(b, "Auto-Submitted", "auto-replied") // RFC 3834 §5.1: no vacation message answers it
	writeField(b, "MIME-Version", "1.0")
}

// encodeSubject writes encoded words (RFC 2047), the shorter kind for the
// script.
func encodeSubject(s string) string {
	other := 0
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			other++
		}
	}
	if other > len(s)/3 {
		return mime.BEncoding.Encode("utf-8", s)
	}
	return mime.QEncoding.Encode("utf-8", s)
}

func textPart(text []byte, l *language) part {
	p := part{mediaType: "text/plain; charset=us-ascii", encoding: "7bit", body: text, language: l.tag}
	if !relay.ASCII(text) {
		p.mediaType, p.encoding, p.body = "text/plain; charset=utf-8", "quoted-printable", toQuotedPrintable(text)
	}
	return p
}

// needsUTF8 says whether an address of a recipient has more than ASCII.
func needsUTF8(r relay.Recipient) bool { return !r.Path.ASCII() || !relay.ASCII(r.ORcpt.Addr) }

func statusPart(status []byte, global bool) part {
	p := part{mediaType: "message/delivery-status", encoding: "7bit", body: status}
	if global {
		p.mediaType = "message/global-delivery-status" // RFC 6533 §4
		if !relay.ASCII(status) {
			p.encoding = "8bit"
		}
	}
	return p
}

// describe is the description of a part (RFC 2045 §8).
func describe(i int, p part) string {
	switch {
	case i == 0:
		return "What happened"
	case strings.HasSuffix(p.mediaType, "delivery-status"):
		return "Delivery report"
	}
	return "Original message"
}

// writeParts writes the body with the fields that describe it. The boundary
// does not occur in any part: what a stranger wrote cannot end one (RFC 2046
// §5.1.1).
func writeParts(b *bytes.Buffer, parts []part, eightBit bool) {
	boundary := boundaryFor(parts)
	encoding := "7bit"
	if eightBit {
		encoding = "8bit"
	}
	b.WriteString("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"" + boundary + "\"\r\n")
	b.WriteString("Content-Transfer-Encoding: " + encoding + "\r\n\r\n")
	for i, p := range parts {
		fmt.Fprintf(b, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\nContent-Description: %s\r\n",
			boundary, p.mediaType, p.encoding, describe(i, p))
		if p.language != "" {
			b.WriteString("Content-Language: " + p.language + "\r\n") // RFC 3282
		}
		b.WriteString("\r\n")
		b.Write(p.body)
		b.WriteString("\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
}

// boundaryFor makes a boundary that no part contains: nobody can write text that holds its own
// hash, and a counter changes the boundary if somebody does. "=_" never stands in quoted-printable
// or base64.
func boundaryFor(parts []part) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p.body)
	}
	for i := 0; ; i++ {
		boundary := fmt.Sprintf("=_dawk_%x_%d", h.Sum(nil)[:12], i)
		if !slices.ContainsFunc(parts, func(p part) bool { return bytes.Contains(p.body, []byte(boundary)) }) {
			return boundary
		}
	}
}
