package guard

import (
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"
	"unicode/utf8"

	"dawk/relay"
)

// next reads commands until there is one for go-smtp, and answers the others.
func (g *Conn) next() error {
	if g.verb == verbData && !g.sess.dot {
		// The session is done with the message, or never took it: go-smtp
		// looks for its end.
		g.sess.dot = true
		g.pend = append(g.pend, ".\r\n"...)
		return nil
	}
	if g.verb == verbGreeting && g.cfg.Implicit {
		if err := g.startTLS(); err != nil {
			return err
		}
	}
	early := g.verb == verbData && !g.body.started && g.r < g.w
	code := g.finishReply()
	for {
		switch {
		case code == 421 || early: // a reply 421 always ends the connection; see refuseData
			_ = g.flush()
			g.linger()
			return g.fail("", nil)
		case code >= 500:
			if err := g.countError(); err != nil {
				return err
			}
		}
		if g.drain.Load() {
			return g.fail(ReasonShutdown, reply(421, "4.3.2", g.cfg.Hostname+" is shutting down, try again later"))
		}
		line, bad, err := g.readLine()
		switch {
		case err != nil:
			return err
		case bad != nil:
			code = g.answer(ReasonLine, bad)
			continue
		}
		forward, answered, err := g.command(line)
		if err != nil || forward {
			return err
		}
		code = answered
	}
}

// countError ends sessions with too many errors: such a client is broken, or guesses.
func (g *Conn) countError() error {
	limit := g.cfg.MaxErrors
	if g.sess.trusted {
		limit *= 10
	}
	if g.stressed() {
		limit = 1
	}
	if g.sess.errors++; limit > 0 && g.sess.errors >= limit {
		return g.fail(ReasonErrors, reply(421, "4.7.0", "too many errors, closing the connection"))
	}
	return nil
}

// answer sends a reply of our own; reason says why it refuses, "" if it does not.
func (g *Conn) answer(reason string, r *relay.Reply) int {
	g.out = appendReply(g.out, r)
	g.trace(false, r.String())
	if reason != "" {
		g.refused(reason, r)
	}
	return r.Code
}

// command decides about one line: it is handed to go-smtp (forward), or
// answered with code.
func (g *Conn) command(b []byte) (forward bool, code int, err error) {
	line := string(b)
	if g.sess.inAuth {
		g.trace(true, "(secret)")
		return g.authResponse(line)
	}
	word, arg := cutCommand(line)
	g.traceCommand(word, line)
	if word != "RCPT" {
		g.sess.commands++
	}
	if g.cfg.MaxCommands > 0 && g.sess.commands > g.cfg.MaxCommands {
		return false, 0, g.fail(ReasonErrors, reply(421, "4.7.0", "too many commands without a message, closing the connection"))
	}
	switch word {
	case "EHLO", "HELO":
		return g.hello(verb(word), arg)
	case "MAIL":
		return g.mailCommand(arg)
	case "RCPT":
		return g.rcptCommand(arg)
	case "DATA":
		return g.dataCommand(arg)
	case "AUTH":
		return g.authCommand(arg)
	case "RSET":
		if arg != "" {
			return false, g.answer(ReasonSyntax, reply(501, "5.5.4", "RSET takes no argument")), nil
		}
		return g.forward(verbRset, "RSET")
	case "STARTTLS":
		code, err := g.startTLSCommand(arg)
		return false, code, err
	case "QUIT":
		if arg != "" {
			return false, g.answer(ReasonSyntax, reply(501, "5.5.4", "QUIT takes no argument")), nil
		}
		g.answer("", reply(221, "2.0.0", g.cfg.Hostname+" says good-bye"))
		_ = g.flush()
		g.end(net.ErrClosed)
		return false, 0, g.err
	}
	code, err = g.other(word, arg)
	return false, code, err
}

// other answers the commands that change nothing.
func (g *Conn) other(word, arg string) (int, error) {
	switch word {
	case "NOOP": // RFC 5321 §4.1.1.9: an argument is ignored
		return g.answer("", reply(250, "2.0.0", "OK")), nil
	case "HELP":
		return g.answer("", reply(214, "2.0.0", "EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY QUIT (RFC 5321)")), nil
	case "VRFY": // RFC 5321 §3.5.3: 252, whoever is asked for
		if arg == "" {
			return g.answer(ReasonSyntax, reply(501, "5.5.4", "VRFY takes an address")), nil
		}
		return g.answer("", reply(252, "2.5.0", "not verified here; send, and it will be tried")), nil
	case "EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML", "LHLO", "ATRN":
		return g.answer(ReasonSyntax, reply(502, "5.5.1", word+" is not implemented here")), nil
	case "BDAT":
		// CHUNKING is not offered, so BDAT is not allowed; and since the chunk that follows would be read
		// as commands, the connection ends.
		return 0, g.fail(ReasonSyntax, reply(502, "5.5.1", "BDAT is not offered here, closing the connection"))
	case "GET", "POST", "PUT", "CONNECT", "OPTIONS", "HEAD":
		// A web page can make a browser send this request: what follows are HTTP headers and a body that
		// an attacker wrote.
		return 0, g.fail(ReasonSyntax, reply(500, "5.5.1", "this is a mail server, closing the connection"))
	}
	return g.answer(ReasonSyntax, reply(500, "5.5.2", "that command is not known here")), nil
}

// forward passes a line to go-smtp.
func (g *Conn) forward(v verb, line string) (bool, int, error) {
	g.verb = v
	g.pend = append(append(g.pend[:0], line...), '\r', '\n')
	return true, 0, nil
}

func (g *Conn) sequence(text string) (bool, int, error) {
	return false, g.answer(ReasonSequence, reply(503, "5.5.1", text)), nil
}

func (g *Conn) syntax(r *relay.Reply) (bool, int, error) {
	return false, g.answer(ReasonSyntax, r), nil
}

// hello takes any name, since devices send anything (RFC 5321 §4.1.4 forbids refusing one that is
// not true). Whoever uses the name decides how far to trust it.
func (g *Conn) hello(v verb, name string) (bool, int, error) {
	if name == "" && !g.cfg.Untidy {
		return g.syntax(reply(501, "5.5.4", string(v)+" takes the name of the client"))
	}
	g.sess.newHelo = anyHelo(name)
	return g.forward(v, string(v)+" client")
}

const unknownHelo = "unknown" // a client without a name

// anyHelo turns whatever a client calls itself into one printable word.
func anyHelo(name string) string {
	if name == "" {
		return unknownHelo
	}
	word := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, name)
	return word[:min(len(word), 255)]
}

func (g *Conn) mailCommand(arg string) (bool, int, error) {
	switch {
	case g.sess.helo == "" && !g.cfg.Untidy:
		return g.sequence("send EHLO first")
	case g.sess.mail != nil:
		return g.sequence("a transaction is open already; send RSET to drop it") // RFC 5321 §4.1.4
	case !utf8.ValidString(arg):
		return g.syntax(reply(501, "5.5.2", "that is not valid UTF-8"))
	}
	_, overTLS := g.TLS()
	m, bad := parseMail(arg, &g.cfg, standing{tls: overTLS, authed: g.sess.authed, now: time.Now()})
	switch {
	case bad != nil && bad.Code == 552:
		return false, g.answer(ReasonSize, bad), nil
	case bad != nil:
		return g.syntax(bad)
	}
	g.sess.newMail = m
	if g.sess.helo == "" { // go-smtp hears a HELO before it: see finishReply
		g.sess.helo, g.sess.noHelo = unknownHelo, true
		return g.forward(verbMail, "HELO client\r\nMAIL FROM:<>")
	}
	return g.forward(verbMail, "MAIL FROM:<>")
}

func (g *Conn) rcptCommand(arg string) (bool, int, error) {
	switch {
	case g.sess.mail == nil:
		return g.sequence("send MAIL first")
	case !utf8.ValidString(arg):
		return g.syntax(reply(501, "5.5.2", "that is not valid UTF-8"))
	}
	r, bad := parseRcpt(arg, &g.cfg, g.sess.mail.SMTPUTF8)
	if bad != nil {
		return g.syntax(bad)
	}
	g.sess.newRcpt = r
	return g.forward(verbRcpt, "RCPT TO:<placeholder@guard.invalid>")
}

func (g *Conn) dataCommand(arg string) (bool, int, error) {
	switch {
	case arg != "":
		return g.syntax(reply(501, "5.5.4", "DATA takes no argument"))
	case g.sess.mail == nil:
		return g.refuseData("send MAIL and RCPT first")
	case g.sess.rcpts == 0:
		return g.refuseData("no valid recipients")
	}
	g.sess.dot = false
	g.body = bodyState{}
	return g.forward(verbData, "DATA")
}

// refuseData answers DATA out of sequence. A client that has sent content without waiting for 354
// is out of step with us.
func (g *Conn) refuseData(text string) (bool, int, error) {
	if g.r < g.w {
		return false, 0, g.fail(ReasonSequence, reply(503, "5.5.1", text+"; content sent without waiting for 354, closing the connection"))
	}
	return g.sequence(text)
}

// authCommand checks what RFC 4954 §4 says about AUTH; the session decides whether it is allowed
// and with which mechanisms.
func (g *Conn) authCommand(arg string) (bool, int, error) {
	switch {
	case g.sess.helo == "":
		return g.sequence("send EHLO first")
	case g.sess.authed:
		return g.sequence("you are logged in already")
	case g.sess.mail != nil:
		return g.sequence("AUTH is not allowed inside a transaction")
	case arg == "":
		return g.syntax(reply(501, "5.5.4", "AUTH takes a mechanism"))
	}
	mech, initial := cutWord(arg)
	initial = strings.TrimLeft(initial, blanks)
	if len(mech) > 20 || strings.ContainsFunc(mech, func(r rune) bool {
		return r >= 0x80 || !isAlnum(byte(r)) && r != '-' && r != '_'
	}) {
		return g.syntax(reply(501, "5.5.4", "that is not the name of a mechanism"))
	}
	if initial != "=" && !isBase64(initial) {
		return g.syntax(reply(501, "5.5.2", "the initial response is not base64"))
	}
	return g.forward(verbAuth, strings.TrimRight("AUTH "+mech+" "+initial, " "))
}

// authResponse passes on the answer to a 334.
func (g *Conn) authResponse(line string) (bool, int, error) {
	g.sess.inAuth = false
	// "=" for an empty response is only for initial responses (RFC 4954 §4), but curl sends it here
	// too.
	if line != "*" && line != "=" && !isBase64(line) {
		g.sess.badB64 = true
		line = "*" // go-smtp's own answer to bad base64 would be a temporary one
	}
	return g.forward(verbAuth, line)
}

func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

// startTLSCommand implements RFC 3207. Whatever came before it in the clear is forgotten, and input
// that came in the same packet is an injection.
func (g *Conn) startTLSCommand(arg string) (int, error) {
	switch {
	case g.cfg.TLS == nil || g.cfg.Implicit:
		return g.answer(ReasonSequence, reply(502, "5.5.1", "STARTTLS is not offered here")), nil
	case g.tls != nil:
		return g.answer(ReasonSequence, reply(503, "5.5.1", "TLS is active already")), nil
	case arg != "":
		return g.answer(ReasonSyntax, reply(501, "5.5.4", "STARTTLS takes no argument")), nil
	case g.sess.mail != nil || g.sess.authed:
		return g.answer(ReasonSequence, reply(503, "5.5.1", "STARTTLS comes before AUTH and MAIL")), nil
	case g.r < g.w:
		return 0, g.fail(ReasonTLS, reply(503, "5.5.1", "commands were sent after STARTTLS in the clear, closing the connection"))
	}
	g.answer("", reply(220, "2.0.0", "ready to start TLS"))
	if err := g.flush(); err != nil {
		return 0, g.lost(err)
	}
	if err := g.startTLS(); err != nil {
		return 0, err
	}
	g.sess = session{errors: g.sess.errors, commands: g.sess.commands, trusted: g.sess.trusted}
	return 0, nil
}

// traceCommand keeps secrets out of the transcript. A line that is not a command may be a password:
// a client that did not wait for the refusal of its AUTH sends the password as the next line.
func (g *Conn) traceCommand(word, line string) {
	if g.cfg.Trace == nil {
		return
	}
	switch word {
	case "AUTH":
		if f := strings.Fields(line); len(f) > 2 {
			line = f[0] + " " + f[1] + " (secret)"
		}
	case "EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "STARTTLS", "QUIT", "NOOP", "HELP", "VRFY", "BDAT":
	default:
		line = fmt.Sprintf("(%d octets that are not a command)", len(line))
	}
	g.trace(true, line)
}
