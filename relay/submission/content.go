package submission

import (
	"bytes"
	"encoding/binary"
	"hash"
	"io"
	"slices"
	"strings"

	"dawk/relay/identity"
)

// maxHeader bounds the header, in octets: what more is there is no header but
// an attack on those who keep headers in memory.
const maxHeader = 256 << 10

// header is what the scanner found. Its zero value is an empty message.
type header struct {
	received  int // Received fields: hops (RFC 5321 §6.3)
	from      int
	fromValue []byte // of From, where a policy replaces it
	replyTo   bool
	date      bool
	messageID string // the first Message-ID; "" without one
	hasID     bool
	tlsNo     bool          // "TLS-Required: No" (RFC 8689 §5)
	text      identity.Text // of Subject and body, where it is needed
	eightBit  bool          // in the header as it was passed on
	body8Bit  bool
}

// scanner reads a message as it goes by, and passes on everything but the
// fields that must not leave. It holds no more than one line.
type scanner struct {
	dst      io.Writer
	maxSize  int64 // octets as they came; 0: no limit
	maxHops  int
	keepFrom bool      // From and Sender leave under other names: a policy gives another From
	text     hash.Hash // gets Subject and body, to tell texts apart; nil: not needed

	size   int64 // octets as they came
	hdr    header
	inBody bool
	line   []byte // an unfinished line of the header
	drop   bool   // the field that we are in does not leave
	isID   bool   // the field that we are in is the first Message-ID
	isFrom bool   // the field that we are in is the From that a policy replaces
	value  []byte // of the Message-ID so far
	any    bool   // a field was seen: a continuation line has something to continue
	seen   int64  // octets of header so far
	last   byte   // octet that was passed on last
}

// Write takes any piece of the message.
func (s *scanner) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.maxSize > 0 && s.size > s.maxSize {
		return 0, refuse(ReasonSize, 552, "5.3.4", "the message is larger than the limit of %d octets", s.maxSize)
	}
	total := len(p)
	for len(p) > 0 && !s.inBody {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.line = append(s.line, p...)
			p = nil
			if s.seen+int64(len(s.line)) > maxHeader {
				return 0, s.headerTooBig()
			}
			break
		}
		line := p[:i+1]
		if len(s.line) > 0 {
			s.line = append(s.line, line...)
			line = s.line
		}
		p = p[i+1:]
		if err := s.headerLine(line); err != nil {
			return 0, err
		}
		s.line = s.line[:0]
	}
	if len(p) > 0 {
		if !s.hdr.body8Bit {
			s.hdr.body8Bit = has8Bit(p)
		}
		if s.text != nil {
			s.text.Write(p)
		}
		if err := s.pass(p); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// finish passes on what was held back. Call it once, after the last Write.
func (s *scanner) finish() error {
	if len(s.line) > 0 {
		line := append(s.line, "\r\n"...) // not from the guard: it ends every line
		s.line = nil
		if err := s.headerLine(line); err != nil {
			return err
		}
	}
	s.endField()
	if s.text != nil {
		s.text.Sum(s.hdr.text[:0])
	}
	if s.inBody && s.last != '\n' { // neither
		return s.pass([]byte("\r\n"))
	}
	return nil
}

func (s *scanner) headerTooBig() error {
	return refuse(ReasonHeader, 552, "5.3.4", "the header of the message is larger than the limit of %d octets", maxHeader)
}

// headerLine decides about one line of the header, with its CRLF.
func (s *scanner) headerLine(line []byte) error {
	if s.seen += int64(len(line)); s.seen > maxHeader {
		return s.headerTooBig()
	}
	switch {
	case len(line) == 2 && line[0] == '\r':
		s.endField()
		s.inBody = true
		return s.pass(line)
	case line[0] == ' ' || line[0] == '\t':
		if s.any {
			if s.isID {
				s.value = append(s.value, line...)
			}
			if s.isFrom && len(s.hdr.fromValue) < maxFrom {
				s.hdr.fromValue = append(s.hdr.fromValue, line...)
			}
			return s.passField(line)
		}
	default:
		if name, value, ok := splitField(line); ok {
			s.any = true
			return s.field(name, value, line)
		}
	}
	// Not a header field: the body begins here, without the empty line that
	// should stand before it. With it everybody reads the message alike.
	s.endField()
	s.inBody = true
	s.hdr.body8Bit = has8Bit(line)
	if s.text != nil {
		s.text.Write(line)
	}
	if err := s.pass([]byte("\r\n")); err != nil {
		return err
	}
	return s.pass(line)
}

// field decides about the first line of a field.
func (s *scanner) field(name string, value, line []byte) error {
	s.endField()
	switch {
	case strings.EqualFold(name, "Received"):
		s.hdr.received++
		if s.maxHops > 0 && s.hdr.received > s.maxHops {
			return refuse(ReasonLoop, 554, "5.4.6", "the message has passed more than %d relays: it goes round in a loop", s.maxHops)
		}
	case strings.EqualFold(name, "From"):
		if s.hdr.from++; s.hdr.from > 1 {
			return refuse(ReasonHeader, 550, "5.6.0", "the message has more than one From field (RFC 5322 section 3.6)")
		}
		if s.keepFrom {
			s.isFrom, s.hdr.fromValue = true, append([]byte(nil), value...)
			return s.renamed("X-Original-From", value)
		}
	case strings.EqualFold(name, "Reply-To"):
		s.hdr.replyTo = true
	case strings.EqualFold(name, "Sender") && s.keepFrom:
		return s.renamed("X-Original-Sender", value)
	case strings.EqualFold(name, "Subject") && s.text != nil:
		s.text.Write(value)
	case strings.EqualFold(name, "Date"):
		s.hdr.date = true
	case strings.EqualFold(name, "Message-ID"):
		s.isID = !s.hdr.hasID
		s.hdr.hasID = true
		s.value = append(s.value[:0], value...)
	case strings.EqualFold(name, "TLS-Required"):
		s.hdr.tlsNo = strings.EqualFold(string(bytes.TrimSpace(value)), "No")
	case strings.EqualFold(name, "Bcc"), strings.EqualFold(name, "Resent-Bcc"), // RFC 5322 §3.6.3
		strings.EqualFold(name, "Return-Path"): // RFC 5321 §4.4: only final delivery adds it
		s.drop = true
	}
	return s.passField(line)
}

// endField ends the field that we are in.
func (s *scanner) endField() {
	if s.isID {
		s.hdr.messageID = cleanID(s.value)
	}
	s.drop, s.isID, s.isFrom = false, false, false
}

func (s *scanner) passField(line []byte) error {
	if s.drop {
		return nil
	}
	if !s.hdr.eightBit {
		s.hdr.eightBit = has8Bit(line)
	}
	return s.pass(line)
}

// renamed passes a field on under another name; the rest of it follows. One
// that would become too long does not leave.
func (s *scanner) renamed(name string, value []byte) error {
	if len(name)+1+len(value) > 1000 { // RFC 5322 §2.1.1, with CRLF
		s.drop = true
	}
	return s.passField(slices.Concat([]byte(name), []byte(":"), value))
}

func (s *scanner) pass(p []byte) error {
	s.last = p[len(p)-1]
	_, err := s.dst.Write(p)
	return err
}

// splitField splits "Name: value CRLF". Spaces before the colon are obsolete
// syntax that must be understood (RFC 5322 §4.5).
func splitField(line []byte) (name string, value []byte, ok bool) {
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return "", nil, false
	}
	field := bytes.TrimRight(line[:i], " \t")
	for _, c := range field {
		if c <= ' ' || c > '~' { // RFC 5322 §3.6.8 ftext
			return "", nil, false
		}
	}
	return string(field), line[i+1:], len(field) > 0
}

// cleanID gives a Message-ID as one word in angle brackets, or "" if it is
// none that could be quoted in a log or a notice.
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

// maxFrom bounds how much of a From field is looked at, in octets.
const maxFrom = 1000

// has8Bit says whether p has octets above 127, eight at a time.
func has8Bit(p []byte) bool {
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
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
