package guard

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// finishReply takes go-smtp's complete answer to the command it was given, notes what it means for
// the session, changes it where the RFCs require another text, and queues it for the client. It
// returns the reply's code.
func (g *Conn) finishReply() (code int) {
	answer := g.reply
	g.reply = g.reply[:0]
	v := g.verb
	if v == verbAuth && bytes.HasPrefix(answer, []byte("334")) {
		g.sess.inAuth = true
	}
	g.verb = verbNone
	if g.sess.noHelo { // the answer to the HELO that the client did not send
		_, answer, _ = bytes.Cut(answer, []byte("\r\n"))
		g.sess.noHelo = false
	}
	if v == verbData {
		answer = g.finishData(answer)
	}
	if len(answer) == 0 {
		return 0
	}
	code = lastCode(answer)
	if edited := g.edit(v, code, answer); edited != "" {
		answer = []byte(edited)
	}
	g.out = append(g.out, answer...)
	if g.cfg.Trace != nil {
		for line := range strings.SplitSeq(strings.TrimSuffix(string(answer), "\r\n"), "\r\n") {
			g.trace(false, line)
		}
	}
	return code
}

// edit returns the text that replaces an answer of go-smtp; "" leaves it as it is.
func (g *Conn) edit(v verb, code int, answer []byte) string {
	switch {
	case v == verbGreeting && code == 220:
		return "220 " + g.cfg.Hostname + " ESMTP dawk\r\n"
	case (v == verbEhlo || v == verbHelo) && code == 250:
		g.sess.helo, g.sess.esmtp = g.sess.newHelo, v == verbEhlo
		g.sess.mail, g.sess.rcpts = nil, 0 // RFC 5321 §4.1.4: as if by RSET
		if v == verbEhlo {
			return g.extensions(answer)
		}
		return "250 " + g.cfg.Hostname + "\r\n"
	case v == verbMail && code == 250:
		m := g.sess.newMail
		g.sess.mail, g.sess.rcpts = &m, 0
		return "250 2.1.0 sender accepted\r\n"
	case v == verbRcpt && code == 250:
		g.sess.rcpts++
		return "250 2.1.5 recipient accepted\r\n"
	case v == verbRset:
		g.sess.mail, g.sess.rcpts = nil, 0
		return "250 2.0.0 OK\r\n"
	case v == verbAuth && code == 235:
		g.sess.authed = true
		return "235 2.7.0 logged in\r\n" // RFC 4954 §4
	case v == verbAuth && g.sess.badB64:
		g.sess.badB64 = false
		return "501 5.5.2 that is not base64\r\n" // RFC 4954 §4
	case v == verbAuth && bytes.HasPrefix(answer, []byte("501 5.0.0")): // the client sent "*"
		return "501 5.7.0 login given up\r\n"
	}
	return ""
}

// finishData ends the transaction. If the session refused before it took the
// content, its answer is the answer to DATA, and go-smtp's 354 never goes out.
func (g *Conn) finishData(answer []byte) []byte {
	g.sess.mail, g.sess.rcpts = nil, 0
	if bytes.HasPrefix(answer, []byte("354")) {
		_, answer, _ = bytes.Cut(answer, []byte("\n"))
	}
	if g.body.started && g.body.ended && lastCode(answer) == 250 {
		g.sess.errors, g.sess.commands, g.sess.taken = 0, 0, true
	}
	return answer
}

func lastCode(answer []byte) int {
	last := bytes.TrimSuffix(answer, []byte("\r\n"))
	if i := bytes.LastIndexByte(last, '\n'); i >= 0 {
		last = last[i+1:]
	}
	if len(last) < 3 {
		return 0
	}
	code, _ := strconv.Atoi(string(last[:3]))
	return code
}

// extensions writes the answer to EHLO. It is go-smtp's list, with the AUTH mechanisms that the
// session allows now; extensions that cannot be offered safely are removed, and those that the
// guard implements are added.
func (g *Conn) extensions(answer []byte) string {
	var keep []string
	for line := range strings.SplitSeq(strings.TrimSuffix(string(answer), "\r\n"), "\r\n") {
		word, _, _ := strings.Cut(line[4:], " ")
		switch word {
		case "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "DSN", "AUTH":
			keep = append(keep, line[4:])
		}
	}
	keep = append(keep, fmt.Sprintf("SIZE %d", g.cfg.MaxSize)) // RFC 1870 §4: 0 means no fixed limit
	if g.cfg.TLS != nil && g.tls == nil {
		keep = append(keep, "STARTTLS")
	}
	if g.cfg.RequireTLS && g.tls != nil { // RFC 8689 §2: only over TLS
		keep = append(keep, "REQUIRETLS")
	}
	if g.cfg.MaxRecipients > 0 {
		keep = append(keep, fmt.Sprintf("LIMITS RCPTMAX=%d", g.cfg.MaxRecipients)) // RFC 9422 §4
	}
	if g.cfg.MaxHold > 0 { // RFC 4865 §4
		keep = append(keep, fmt.Sprintf("FUTURERELEASE %d %s", int64(g.cfg.MaxHold/time.Second),
			time.Now().Add(g.cfg.MaxHold).UTC().Format(time.RFC3339)))
	}
	var b strings.Builder
	b.WriteString("250-" + g.cfg.Hostname + " greets you\r\n") // RFC 5321 §4.1.1.1: our name first
	for i, k := range keep {
		sep := "-"
		if i == len(keep)-1 {
			sep = " "
		}
		b.WriteString("250" + sep + k + "\r\n")
	}
	return b.String()
}
