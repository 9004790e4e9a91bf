package accept

import (
	"bytes"
	"strings"

	"dawk/relay/mailtext"
)

// parts looks for signed content inside a body: multipart/signed among its parts, as in mailing
// lists and forwarded messages, and text that PGP has signed. It reads the header of each part and
// of each enclosed message. However deep they are nested, it remembers only its own position:
// whatever follows a line that looks like a boundary and reads like the header of a part is taken
// for one. At worst a long line is refused that could have been folded.
type parts struct {
	enclosed bool // the body has parts

	line    []byte // the beginning of this line, where it matters
	skip    bool   // this line does not matter
	header  bool   // in the header of a part
	isType  bool   // the last field was Content-Type
	message bool   // the part is a message: another header follows its own
}

// partLine is how many octets of a line are looked at.
const partLine = 512

// idle says whether the next whole line can be ignored if it does not begin with a hyphen.
func (p *parts) idle() bool { return !p.header && !p.skip && len(p.line) == 0 }

// see takes the next piece of a body, at most a line, and says whether signed
// content begins with it.
func (p *parts) see(piece []byte) (signed bool) {
	if !p.header && len(p.line) == 0 && len(piece) > 1 && (piece[0] != '-' || piece[1] != '-') {
		p.skip = true
	}
	if !p.skip {
		p.line = append(p.line, piece[:min(len(piece), partLine-len(p.line))]...)
	}
	if piece[len(piece)-1] != '\n' {
		return false
	}
	signed = !p.skip && p.look(bytes.TrimRight(p.line, "\r\n"))
	p.line, p.skip = p.line[:0], false
	return signed
}

// plainLines is how many octets at the front of body are whole lines that need no look:
// short ones, of which none begins as a boundary does.
func (p *parts) plainLines(body []byte) (n int) {
	if p.header || p.skip || len(p.line) > 0 || bytes.HasPrefix(body, []byte("--")) {
		return 0
	}
	if i := mailtext.AtLineStart(body, "--"); i >= 0 {
		body = body[:i]
	}
	for {
		i := bytes.LastIndexByte(body[n:min(len(body), n+mailtext.MaxLine)], '\n')
		if i < 0 {
			return n
		}
		n += i + 1
	}
}

func (p *parts) look(line []byte) (signed bool) {
	switch {
	case bytes.Equal(line, []byte("-----BEGIN PGP SIGNED MESSAGE-----")): // RFC 9580 §7.1
		return true
	case !p.enclosed:
		return false
	case bytes.HasPrefix(line, []byte("--")): // a boundary, maybe
		p.header, p.isType, p.message = true, false, false
		return false
	case !p.header:
		return false
	case len(line) == 0:
		p.header, p.isType, p.message = p.message, false, false
		return false
	case line[0] != ' ' && line[0] != '\t':
		name, _, ok := mailtext.SplitField(line)
		p.header, p.isType = ok, ok && strings.EqualFold(name, "Content-Type")
	}
	if !p.isType {
		return false
	}
	kind := bytes.ToLower(line)
	p.message = p.message || bytes.Contains(kind, []byte("message/"))
	return isSigned(kind)
}

// atTop takes the Content-Type of the whole message, in lower case, and says whether all of it is
// signed.
func (p *parts) atTop(kind []byte) (signed bool) {
	message := bytes.Contains(kind, []byte("message/"))
	p.enclosed = message || bytes.Contains(kind, []byte("multipart/"))
	p.header = message
	return isSigned(kind)
}

// isSigned looks into a Content-Type in lower case.
func isSigned(kind []byte) bool { return bytes.Contains(kind, []byte("multipart/signed")) }
