package sevenbit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"

	"dawk/relay"
)

// Bounds of what is looked into. Beyond them a message is not converted.
const (
	maxDepth  = 50
	maxParts  = 10_000
	maxHeader = 256 << 10 // octets of one header
	maxLine   = 64 << 10  // a longer line is read in pieces
)

// part is one entity of MIME: a message, a body part.
type part struct {
	parent *part // nil: the message itself
	depth  int

	kind     kind
	media    string // "text/plain", lower case
	encoding string // Content-Transfer-Encoding, lower case; "" without one
	boundary string // of a multipart
	mime     bool   // it says MIME-Version
	plain    bool   // it says nothing of its type
	text     bool
	names    bool // its header has parameters to be written in ASCII

	// Of a leaf's body.
	size, high, odd int64             // octets; those above 127; those that quoted-printable encodes
	utf8            *transform.Writer // that sees whether it is UTF-8, where nobody says what it is
	notUTF8         error             // of utf8

	encode string // the new Content-Transfer-Encoding; "": as it is
}

type kind uint8

const (
	leaf      kind = iota
	multipart      // parts between boundaries
	message        // one message (message/rfc822)
	sealed         // its content is covered by a signature, or may not be changed
)

func (p *part) refused() error {
	return refused("a part of type %s may not be changed", relay.Sanitize(p.media))
}

func (p *part) count(b []byte) {
	p.size += int64(len(b))
	for _, c := range b {
		if c > 127 {
			p.high++
		}
		if c > 126 || c == '=' || c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			p.odd++
		}
	}
	if p.plain && p.notUTF8 == nil {
		_, p.notUTF8 = p.utf8.Write(b)
	}
}

// visitor is told of a message in its order. Together the octets that it is
// given are the message.
type visitor interface {
	header(p *part, head []byte) error // with the empty line that ends it, if there is one
	body(p *part, b []byte) error      // a piece of a leaf's body
	end(p *part) error                 // of a leaf's body
	between(b []byte) error            // boundaries, and text before, between and after parts
}

// parser reads a message line by line.
type parser struct {
	v     visitor
	stack []*part // multiparts that we are in, the innermost last
	count int

	now    *part  // whose header or body this is; nil: text between parts
	inHead bool   // of now
	head   []byte // of now, so far
	held   bool   // CRLF of the last line: it belongs to the boundary, if one follows
}

func parse(content relay.Content, v visitor) error {
	p := &parser{v: v}
	if err := p.begin(nil); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(content, 0, content.Size()), maxLine)
	for start := true; ; {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			if err := p.line(line, start); err != nil {
				return err
			}
			start = line[len(line)-1] == '\n'
		}
		switch {
		case errors.Is(err, io.EOF):
			return p.finish()
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("read the message: %w", err)
		}
	}
}

// begin starts the header of a new part.
func (p *parser) begin(parent *part) error {
	p.now, p.inHead, p.head = &part{parent: parent}, true, p.head[:0]
	if parent != nil {
		p.now.depth = parent.depth + 1
	}
	if p.count++; p.count > maxParts || p.now.depth > maxDepth {
		return refused("it has more than %d parts, or more than %d within each other", maxParts, maxDepth)
	}
	return nil
}

// line takes a line, or a piece of a long one; start says that it begins one.
func (p *parser) line(line []byte, start bool) error {
	if start && len(p.stack) > 0 && bytes.HasPrefix(line, []byte("--")) {
		if i, last := p.delimiter(line); i >= 0 {
			return p.boundary(i, last, line)
		}
	}
	switch {
	case p.inHead:
		p.head = append(p.head, line...)
		if len(p.head) > maxHeader {
			return refused("a header is longer than %d octets", maxHeader)
		}
		if start && blank(line) {
			return p.headEnds()
		}
		return nil
	case p.now == nil:
		return p.v.between(line)
	}
	if err := p.release(); err != nil {
		return err
	}
	line, p.held = bytes.CutSuffix(line, []byte("\r\n"))
	return p.v.body(p.now, line)
}

// release gives a held CRLF to the body that it belongs to.
func (p *parser) release() error {
	if !p.held {
		return nil
	}
	p.held = false
	return p.v.body(p.now, []byte("\r\n"))
}

// delimiter finds the multipart that a line is a boundary of (RFC 2046 §5.1.1),
// the innermost first; -1 for none.
func (p *parser) delimiter(line []byte) (i int, last bool) {
	for i := len(p.stack) - 1; i >= 0; i-- {
		rest, ok := bytes.CutPrefix(line[2:], []byte(p.stack[i].boundary))
		if !ok {
			continue
		}
		rest, last = bytes.CutPrefix(rest, []byte("--"))
		if len(bytes.TrimRight(rest, " \t\r\n")) == 0 {
			return i, last
		}
	}
	return -1, false
}

// boundary ends what was, and begins another part or the text after them.
func (p *parser) boundary(i int, last bool, line []byte) error {
	if err := p.leave(); err != nil {
		return err
	}
	if p.held {
		p.held = false
		if err := p.v.between([]byte("\r\n")); err != nil {
			return err
		}
	}
	if err := p.v.between(line); err != nil {
		return err
	}
	of := p.stack[i]
	p.stack = p.stack[:i+1]
	if last {
		p.stack = p.stack[:i]
		p.now = nil
		return nil
	}
	return p.begin(of)
}

// leave ends the part that we are in, but for its last line end.
func (p *parser) leave() error {
	switch {
	case p.now == nil:
		return nil
	case p.inHead: // a part without a body
		p.inHead = false
		p.now.understand(p.head)
		if err := p.v.header(p.now, p.head); err != nil {
			return err
		}
	}
	return p.v.end(p.now)
}

func (p *parser) finish() error {
	if err := p.release(); err != nil {
		return err
	}
	return p.leave()
}

// headEnds looks at a complete header and goes on to what follows it.
func (p *parser) headEnds() error {
	now := p.now
	p.inHead = false
	now.understand(p.head)
	if err := p.v.header(now, p.head); err != nil {
		return err
	}
	switch now.kind {
	case multipart:
		p.stack = append(p.stack, now)
		p.now = nil
	case message:
		return p.begin(now)
	}
	return nil
}

// blank says whether a line is the one that ends a header.
func blank(line []byte) bool { return len(bytes.TrimRight(line, "\r\n")) == 0 }

// understand reads what a header says of its part (RFC 2045).
func (p *part) understand(head []byte) {
	value := map[string]string{}
	for name, f := range relay.Fields(head) {
		switch name {
		case "mime-version", "content-type", "content-transfer-encoding":
			if _, seen := value[name]; !seen {
				value[name] = relay.FieldValue(f)
			}
		}
	}
	_, p.mime = value["mime-version"]
	p.encoding = encodingName(value["content-transfer-encoding"])
	typ, said := value["content-type"]
	if p.plain = !said; p.plain {
		p.utf8 = transform.NewWriter(io.Discard, encoding.UTF8Validator)
		typ = "text/plain"
		if p.parent != nil && p.parent.media == "multipart/digest" { // RFC 2046 §5.1.5
			typ = "message/rfc822"
		}
	}
	p.classify(typ)
}

func (p *part) classify(typ string) {
	media, params, err := mime.ParseMediaType(typ)
	if err != nil {
		media, _, _ = strings.Cut(strings.ToLower(typ), ";")
		media = strings.TrimSpace(media)
	}
	p.media = media
	main, sub, _ := strings.Cut(media, "/")
	p.text = main == "text"
	switch {
	case media == "multipart/signed", media == "multipart/encrypted": // RFC 1847
		p.kind = sealed
	case main == "multipart":
		if p.kind, p.boundary = multipart, params["boundary"]; err != nil || p.boundary == "" {
			p.boundary = looseBoundary(typ)
		}
		if p.boundary = strings.TrimRight(p.boundary, " "); p.boundary == "" {
			p.kind = sealed
		}
	case media == "message/rfc822", media == "message/news":
		p.kind = message
	case main == "message" && !strings.HasPrefix(sub, "global"): // RFC 6532 §3.7: those may be encoded
		p.kind = sealed
	}
	// RFC 2045 §6.4 forbids to encode these as a whole. The label of a multipart is
	// usually wrong: its parts say what they are. The parts of an encoded message
	// cannot be read.
	switch {
	case p.identity():
	case p.kind == multipart:
		p.encoding = "8bit"
	case p.kind == message:
		p.kind = leaf
	}
}

// looseBoundary is the boundary of a field that does not keep to the grammar:
// mostly one with ":" or "=" in it that lacks its quotes (RFC 2045 §5.1).
func looseBoundary(typ string) string {
	for {
		_, rest, found := strings.Cut(typ, ";")
		if !found {
			return ""
		}
		typ = rest
		name, value, _ := strings.Cut(rest, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "boundary") {
			continue
		}
		value = strings.TrimLeft(value, " \t")
		if quoted, ok := strings.CutPrefix(value, `"`); ok {
			value, _, _ = strings.Cut(quoted, `"`)
			return value
		}
		if end := strings.IndexAny(value, "; \t"); end >= 0 {
			value = value[:end]
		}
		return value
	}
}

// encodingName is a Content-Transfer-Encoding as RFC 2045 has it: in lower
// case, without comments and quotes. A word that names no encoding, such as
// "8bits" or a character set, is read as 8bit: nothing was encoded.
func encodingName(s string) string {
	s, _, _ = strings.Cut(strings.ToLower(s), "(")
	s, _, _ = strings.Cut(s, ";")
	s = strings.Trim(s, " \t\"'")
	switch s {
	case "", "7bit", "8bit", "binary", "quoted-printable", "base64":
		return s
	case "7bits", "7-bit", "7-bits", "7 bit", "7":
		return "7bit"
	case "uuencode", "uue", "binhex", "yenc":
		return s
	}
	if strings.HasPrefix(s, "x-") { // somebody's own encoding (RFC 2045 §6.3)
		return s
	}
	return "8bit"
}

// identity says whether the body is there as it is.
func (p *part) identity() bool {
	switch p.encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}
