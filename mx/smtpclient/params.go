package smtpclient

import (
	"fmt"
	"strconv"
	"strings"

	"dawk/relay"
)

// mailCommand is MAIL with the parameters that the server offered to
// understand. Every value is re-encoded here: no octet of a client's reaches
// the wire unchecked.
func mailCommand(m *relay.Message, size int64, ext Extensions, o Options) []byte {
	b := append(make([]byte, 0, 128), "MAIL FROM:"...)
	b = append(b, m.From.Wire()...)
	if ext.hasSize {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, size, 10)
	}
	if ext.EightBitMIME {
		switch {
		case needs8Bit(m):
			b = append(b, " BODY=8BITMIME"...)
		case m.Body == relay.Body7Bit:
			b = append(b, " BODY=7BIT"...)
		}
	}
	if o.SMTPUTF8 {
		b = append(b, " SMTPUTF8"...)
	}
	if m.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if o.DSN {
		if m.Ret != "" {
			b = append(b, " RET="...)
			b = append(b, xtext(string(m.Ret))...)
		}
		if m.EnvID != "" {
			b = append(b, " ENVID="...)
			b = append(b, xtext(m.EnvID)...)
		}
	}
	return append(b, "\r\n"...)
}

// Options are what of the optional is used in one transaction.
type Options struct {
	DSN      bool
	SMTPUTF8 bool
}

// needs8Bit says whether the content may only go out as BODY=8BITMIME.
func needs8Bit(m *relay.Message) bool {
	return m.EightBit || m.UTF8Header || m.Body == relay.Body8BitMIME
}

// rcptCommand is RCPT for one recipient.
func rcptCommand(r *relay.Recipient, o Options) []byte {
	b := append(make([]byte, 0, 128), "RCPT TO:"...)
	b = append(b, r.Path.Wire()...)
	if o.DSN {
		if r.Notify != 0 {
			b = append(b, " NOTIFY="...)
			b = append(b, r.Notify.String()...)
		}
		if !r.ORcpt.IsZero() {
			b = append(b, " ORCPT="...)
			b = append(b, orcpt(r.ORcpt)...)
		}
	}
	return append(b, "\r\n"...)
}

// usesDSN says whether mailCommand and rcptCommand would write parameters of
// RFC 3461.
func usesDSN(m *relay.Message, r *relay.Recipient) bool {
	return m.Ret != "" || m.EnvID != "" || r.Notify != 0 || !r.ORcpt.IsZero()
}

// xtext encodes as RFC 3461 §4 says.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// orcpt is "rfc822;" with xtext or, for other than ASCII, "utf-8;" with
// utf-8-addr-xtext, which any server may be given (RFC 6533 §3).
func orcpt(o relay.ORcpt) string {
	typ := xtext(o.Type)
	if !strings.EqualFold(o.Type, "utf-8") {
		return typ + ";" + xtext(o.Addr)
	}
	var b strings.Builder
	for _, r := range o.Addr {
		if r < '!' || r > '~' || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return typ + ";" + b.String()
}
