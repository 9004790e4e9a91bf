package guard

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dawk/relay"
)

// Mail is the checked content of a MAIL command.
type Mail struct {
	From       relay.Path
	BadFrom    *relay.Reply // the fault in From, which a login may replace; nil: none
	Size       int64        // announced (RFC 1870); 0: not
	Body       relay.BodyType
	SMTPUTF8   bool
	RequireTLS bool
	EnvID      string
	Ret        relay.Ret
	NotBefore  time.Time // RFC 4865 HOLDFOR or HOLDUNTIL; zero: at once
}

// Limits of parameter values in octets (RFC 3461 §4.2, §4.4), encoded.
const (
	maxORcpt = 500
	maxEnvID = 100
)

// address is relay.ParsePath with the reply that each of its errors gets. Non-ASCII mailboxes need
// SMTPUTF8 on MAIL (RFC 6531 §3.4 and §3.5). A mailbox without a domain gets our domain, if that is
// allowed.
func (c *Config) address(s string, utf8OK bool) (relay.Path, *relay.Reply) {
	if !utf8OK && !relay.ASCII(s) {
		return relay.Path{}, reply(553, "5.6.7", "an address outside ASCII needs SMTPUTF8 on MAIL")
	}
	p, err := relay.ParsePath(s)
	if err != nil && c.Domain != "" {
		if ours, err := relay.ParsePath(s + "@" + c.Domain); err == nil {
			return ours, nil
		}
	}
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, relay.ErrPathTooBig):
		return p, reply(501, "5.1.3", "the address is longer than 998 octets")
	case errors.Is(err, relay.ErrDomain):
		return p, reply(501, "5.1.3", "the domain of the address is not valid")
	}
	return p, reply(501, "5.1.3", "that is not a valid address")
}

// standing is the state of a session at the time of a MAIL command.
type standing struct {
	tls    bool
	authed bool
	now    time.Time
}

// parseMail reads the argument of MAIL (RFC 5321 §4.1.1.2).
func parseMail(arg string, cfg *Config, at standing) (m Mail, bad *relay.Reply) {
	path, params, bad := cutPath("FROM", arg, cfg.Untidy)
	if bad != nil {
		return m, bad
	}
	for _, p := range params {
		if bad := m.set(p, cfg, at); bad != nil {
			return m, bad
		}
	}
	m.From, bad = cfg.address(path, m.SMTPUTF8)
	if at.authed { // the user may have an address of his own instead
		m.BadFrom, bad = bad, nil
	}
	return m, bad
}

func (m *Mail) set(p param, cfg *Config, at standing) *relay.Reply {
	switch p.key {
	case "SIZE": // RFC 1870 §4: up to 20 digits
		n, err := strconv.ParseUint(p.value, 10, 63)
		if errors.Is(err, strconv.ErrRange) && len(p.value) <= 20 {
			n, err = 1<<63-1, nil
		}
		if err != nil || len(p.value) > 20 {
			return reply(501, "5.5.4", "SIZE takes a number of octets")
		}
		m.Size = int64(n)
		if cfg.MaxSize > 0 && m.Size > cfg.MaxSize {
			return tooBig(cfg.MaxSize)
		}
	case "BODY": // RFC 6152 §2
		switch b := relay.BodyType(strings.ToUpper(p.value)); b {
		case relay.Body7Bit, relay.Body8BitMIME:
			m.Body = b
		default:
			return reply(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
		}
	case "SMTPUTF8":
		if p.given {
			return reply(501, "5.5.4", "SMTPUTF8 takes no value") // RFC 6531 §3.4
		}
		m.SMTPUTF8 = true
	case "RET", "ENVID":
		return m.setDSN(p)
	case "REQUIRETLS": // RFC 8689 §2: over TLS only, no value
		if !cfg.RequireTLS {
			return unknownParam(p.key)
		}
		if p.given {
			return reply(501, "5.5.4", "REQUIRETLS takes no value")
		}
		if !at.tls {
			return reply(530, "5.7.10", "REQUIRETLS needs TLS: use STARTTLS first")
		}
		m.RequireTLS = true
	case "HOLDFOR", "HOLDUNTIL":
		return m.setHold(p, cfg, at.now)
	default:
		return unknownParam(p.key) // RFC 5321 §4.1.1.11
	}
	return nil
}

// setDSN reads the parameters of RFC 3461 §4.3 and §4.4.
func (m *Mail) setDSN(p param) *relay.Reply {
	switch p.key {
	case "RET":
		switch r := relay.Ret(strings.ToUpper(p.value)); r {
		case relay.RetFull, relay.RetHdrs:
			m.Ret = r
		default:
			return reply(501, "5.5.4", "RET is FULL or HDRS")
		}
	case "ENVID":
		id, ok := decodeXtext(p.value)
		if !ok || id == "" || len(p.value) > maxEnvID || !isPrintable(id) {
			return reply(501, "5.5.4", "ENVID is not valid xtext of printable characters")
		}
		m.EnvID = id
	}
	return nil
}

// setHold reads the parameters of RFC 4865 §4.
func (m *Mail) setHold(p param, cfg *Config, now time.Time) *relay.Reply {
	if cfg.MaxHold <= 0 {
		return unknownParam(p.key)
	}
	if !m.NotBefore.IsZero() {
		return reply(501, "5.5.4", "only one of HOLDFOR and HOLDUNTIL may be given")
	}
	if p.key == "HOLDFOR" {
		n, err := strconv.ParseUint(p.value, 10, 31)
		if err != nil || len(p.value) > 9 || n == 0 {
			return reply(501, "5.5.4", "HOLDFOR takes a number of seconds")
		}
		m.NotBefore = now.Add(time.Duration(n) * time.Second)
	} else {
		t, err := time.Parse(time.RFC3339, strings.ToUpper(p.value))
		if err != nil {
			return reply(501, "5.5.4", "HOLDUNTIL takes a date and time like 2026-01-31T12:00:00Z")
		}
		m.NotBefore = t
	}
	if m.NotBefore.After(now.Add(cfg.MaxHold)) {
		return reply(501, "5.5.4", fmt.Sprintf("mail may be held for at most %d seconds", int64(cfg.MaxHold/time.Second)))
	}
	return nil
}

// parseRcpt reads the argument of RCPT (RFC 5321 §4.1.1.3).
func parseRcpt(arg string, cfg *Config, utf8OK bool) (r relay.Recipient, bad *relay.Reply) {
	path, params, bad := cutPath("TO", arg, cfg.Untidy)
	if bad != nil {
		return r, bad
	}
	if path == "" {
		return r, reply(501, "5.1.3", "the recipient may not be empty")
	}
	for _, p := range params {
		switch p.key {
		case "NOTIFY":
			n, ok := relay.ParseNotify(p.value)
			if !ok || !p.given {
				return r, reply(501, "5.5.4", "NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY")
			}
			r.Notify = n
		case "ORCPT":
			o, ok := parseORcpt(p.value, utf8OK)
			if !ok {
				return r, reply(501, "5.5.4", "ORCPT is not of the form type;address in xtext")
			}
			r.ORcpt = o
		default:
			return r, unknownParam(p.key)
		}
	}
	r.Path, bad = cfg.address(path, utf8OK)
	return r, bad
}

// parseORcpt reads ORCPT (RFC 3461 §4.2; RFC 6533 §3 for the type utf-8).
func parseORcpt(s string, utf8OK bool) (o relay.ORcpt, ok bool) {
	kind, value, ok := strings.Cut(s, ";")
	if !ok || kind == "" || value == "" || len(s) > maxORcpt {
		return o, false
	}
	if strings.ContainsFunc(kind, func(r rune) bool { return r > '~' || !isAlnum(byte(r)) && r != '-' }) {
		return o, false
	}
	o.Type = strings.ToLower(kind)
	if o.Type == "utf-8" {
		if !utf8OK && !relay.ASCII(value) {
			return o, false
		}
		o.Addr, ok = decodeUnitext(value)
	} else {
		o.Addr, ok = decodeXtext(value)
		ok = ok && isPrintable(o.Addr)
	}
	return o, ok && o.Addr != ""
}

// decodeXtext undoes xtext (RFC 3461 §4): printable ASCII without "+" and "=",
// and "+" with two upper-case hexadecimal digits for the rest.
func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c < '!' || c > '~' || c == '=':
			return "", false
		case c == '+':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", false
			}
			v, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			c, i = byte(v), i+2
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// decodeUnitext undoes utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 §3):
// "\x{…}" with two to six hexadecimal digits for what is not QCHAR.
func decodeUnitext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); {
		rest := s[i:]
		if !strings.HasPrefix(rest, `\x{`) {
			r, n := utf8.DecodeRuneInString(rest)
			if r == utf8.RuneError && n <= 1 || r <= ' ' || r == 0x7f || r == '\\' || r == '+' || r == '=' {
				return "", false
			}
			b.WriteRune(r)
			i += n
			continue
		}
		end := strings.IndexByte(rest, '}')
		if end < 5 || end > 9 {
			return "", false
		}
		v, err := strconv.ParseUint(rest[3:end], 16, 32)
		if err != nil || !utf8.ValidRune(rune(v)) {
			return "", false
		}
		b.WriteRune(rune(v))
		i += end + 1
	}
	out := b.String()
	return out, relay.Sanitize(out) == out // no control character, not even a decoded one
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' }

// isPrintable allows spaces, which decoded xtext may hold.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
