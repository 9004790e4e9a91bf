package smtpclient

import (
	"bytes"
	"strconv"
	"strings"

	"dawk/relay"
)

// mailCommand appends MAIL with the parameters that the server offered. Every value is re-encoded
// here: no octet of a client is sent unchecked.
func mailCommand(b []byte, m *relay.Message, size int64, ext Extensions, o Options) []byte {
	b = append(b, "MAIL FROM:"...)
	b = append(b, m.From.Wire()...)
	if ext.hasSize && !o.Bare {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, size, 10)
	}
	if ext.EightBitMIME {
		switch {
		case needs8Bit(m):
			b = append(b, " BODY=8BITMIME"...)
		case m.Body == relay.Body7Bit && !o.Bare:
			b = append(b, " BODY=7BIT"...)
		}
	}
	if o.SMTPUTF8 {
		b = append(b, " SMTPUTF8"...)
	}
	if m.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if o.DSN && !o.Bare {
		if m.Ret != "" {
			b = append(b, " RET="...)
			b = append(b, relay.XText(string(m.Ret))...)
		}
		if m.EnvID != "" {
			b = append(b, " ENVID="...)
			b = append(b, relay.XText(m.EnvID)...)
		}
	}
	return append(b, "\r\n"...)
}

// Options says which optional parts are used in one transaction.
type Options struct {
	DSN      bool
	SMTPUTF8 bool
	Bare     bool // without the parameters that the mail can do without
}

// needs8Bit says whether the content may only be sent as BODY=8BITMIME.
func needs8Bit(m *relay.Message) bool {
	return m.EightBit || m.UTF8Header || m.Body == relay.Body8BitMIME
}

// rcptCommand appends RCPT for one recipient.
func rcptCommand(b []byte, r *relay.Recipient, o Options) []byte {
	b = append(b, "RCPT TO:"...)
	b = append(b, r.Path.Wire()...)
	if o.DSN && !o.Bare {
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

// badParameter says whether a reply may mean that a parameter was not understood
// (RFC 5321 §4.1.1.11, RFC 3461 §5.1, RFC 3463 §3.6): many servers give no status,
// or one that says no more than "protocol".
func badParameter(r relay.Reply) bool {
	s := r.Status
	switch {
	case r.Code == 555, r.Code/100 == 5 && s.Subject == 5 && (s.Detail == 2 || s.Detail == 4):
		return true
	case r.Code == 500, r.Code == 501, r.Code == 504:
		return s.IsZero() || s.Subject == 5 && s.Detail != 3
	}
	return false
}

// barely says whether mail that was refused with r is sent once more without the optional
// parameters. SMTPUTF8 and REQUIRETLS are never left out: what they say of the mail still holds. In
// BODY=8BITMIME it is the content that has to change first.
func (t *Transaction) barely(r relay.Reply, line func(Options) []byte) bool {
	bare := t.Opts
	bare.Bare = true
	parsed := r.Code == 501 && r.Stage == relay.StageMail // it may have read the parameters as part of the address
	if !badParameter(r) && !parsed || bytes.Equal(line(t.Opts), line(bare)) {
		return false
	}
	t.NoParams, t.c.Bare = true, true
	return true
}

// converted says whether mail whose BODY=8BITMIME was refused is sent once more with its content
// converted: the server is then treated as one without 8BITMIME.
func (t *Transaction) converted(r relay.Reply) bool {
	if !badParameter(r) || !t.c.Ext.EightBitMIME || !needs8Bit(t.M) || t.M.UTF8Header {
		return false
	}
	t.NoParams, t.c.Ext.EightBitMIME = true, false
	return true
}

// orcpt is "rfc822;" with xtext or, outside ASCII, "utf-8;" with utf-8-addr-xtext, which may be
// sent to any server (RFC 6533 §3).
func orcpt(o relay.ORcpt) string {
	if strings.EqualFold(o.Type, "utf-8") {
		return relay.XText(o.Type) + ";" + relay.UTF8XText(o.Addr)
	}
	return relay.XText(o.Type) + ";" + relay.XText(o.Addr)
}
