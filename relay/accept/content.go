package accept

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"slices"
	"strings"

	"dawk/relay/identity"
	"dawk/relay/mailtext"
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
	hasID     bool
	messageID []byte        // value of the first Message-ID
	tlsNo     bool          // "TLS-Required: No" (RFC 8689 §5)
	text      identity.Text // of Subject and body, where it is needed
	eightBit  bool          // in the header as it was passed on
	body8Bit  bool
}

// scanner is the one reader of headers in acceptance. It reads a message as it
// goes by, and passes on everything but the fields that must not leave. It
// holds no more than one line.
type scanner struct {
	dst      io.Writer
	maxSize  int64 // octets as they came; 0: no limit
	maxHops  int
	keepFrom bool           // From and Sender leave under other names: a policy gives another From
	text     hash.Hash      // gets Subject and body, to tell texts apart; nil: not needed
	user     *identity.User // whose senders bind the fields of authors; nil: nothing binds them

	size   int64 // octets as they came
	hdr    header
	inBody bool
	line   []byte  // an unfinished line of the header
	drop   bool    // the field that we are in does not leave
	value  *[]byte // where the value of the field that we are in is kept; nil: nowhere
	author string  // name of the field that we are in, if it names an author and is bound
	names  []byte  // its value
	any    bool    // a field was seen: a continuation line has something to continue
	seen   int64   // octets of header so far
	last   byte    // octet that was passed on last
}

// read streams the content into the draft: it is never whole in memory here.
func (d *Decision) read(draft io.Writer) (*header, error) {
	u := d.User
	s := scanner{dst: draft, maxSize: d.maxSize, maxHops: d.acceptor.cfg.MaxHops, keepFrom: !u.RewriteFrom.IsNull()}
	if u.RewriteFrom.IsNull() && len(u.Senders()) > 0 {
		s.user = u
	}
	if u.HoldCopies > 0 || u.HoldNewRecipients > 0 {
		s.text = sha256.New()
	}
	if _, err := d.Content.WriteTo(&s); err != nil {
		return nil, err
	}
	return &s.hdr, s.finish()
}

// Write takes any piece of the message.
func (s *scanner) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.maxSize > 0 && s.size > s.maxSize {
		return 0, Refuse(ReasonSize, 552, "5.3.4", "the message is larger than the limit of %d octets", s.maxSize)
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
	if err := s.endField(); err != nil {
		return err
	}
	if s.text != nil {
		s.text.Sum(s.hdr.text[:0])
	}
	if s.inBody && s.last != '\n' { // nor is this from the guard
		return s.pass([]byte("\r\n"))
	}
	return nil
}

func (s *scanner) headerTooBig() error {
	return Refuse(ReasonHeader, 552, "5.3.4", "the header of the message is larger than the limit of %d octets", maxHeader)
}

// headerLine decides about one line of the header, with its CRLF.
func (s *scanner) headerLine(line []byte) error {
	if s.seen += int64(len(line)); s.seen > maxHeader {
		return s.headerTooBig()
	}
	switch {
	case len(line) == 2 && line[0] == '\r':
		s.inBody = true
		if err := s.endField(); err != nil {
			return err
		}
		return s.pass(line)
	case line[0] == ' ' || line[0] == '\t':
		if s.any {
			if s.value != nil {
				*s.value = append(*s.value, line...)
			}
			return s.passField(line)
		}
	default:
		if name, value, ok := mailtext.SplitField(line); ok {
			s.any = true
			return s.field(name, value, line)
		}
	}
	// Not a header field: the body begins here, without the empty line that
	// should stand before it. With it everybody reads the message alike.
	if err := s.endField(); err != nil {
		return err
	}
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
	if err := s.endField(); err != nil {
		return err
	}
	if s.user != nil {
		s.beginAuthor(name, value)
	}
	switch {
	case strings.EqualFold(name, "Received"):
		s.hdr.received++
		if s.maxHops > 0 && s.hdr.received > s.maxHops {
			return Refuse(ReasonLoop, 554, "5.4.6", "the message has passed more than %d relays: it goes round in a loop", s.maxHops)
		}
	case strings.EqualFold(name, "From"):
		if s.hdr.from++; s.hdr.from > 1 {
			return Refuse(ReasonHeader, 550, "5.6.0", "the message has more than one From field (RFC 5322 section 3.6)")
		}
		if s.keepFrom {
			s.keep(&s.hdr.fromValue, value)
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
		if !s.hdr.hasID {
			s.hdr.hasID = true
			s.keep(&s.hdr.messageID, value)
		}
	case strings.EqualFold(name, "TLS-Required"):
		s.hdr.tlsNo = strings.EqualFold(string(bytes.TrimSpace(value)), "No")
	case strings.EqualFold(name, "Bcc"), strings.EqualFold(name, "Resent-Bcc"), // RFC 5322 §3.6.3
		strings.EqualFold(name, "Return-Path"): // RFC 5321 §4.4: only final delivery adds it
		s.drop = true
	}
	return s.passField(line)
}

// keep keeps the value of the field that we are in.
func (s *scanner) keep(in *[]byte, value []byte) {
	s.value = in
	*in = append(*in, value...)
}

// endField ends the field that we are in. Its error is a refusal.
func (s *scanner) endField() error {
	author := s.author
	s.drop, s.value, s.author = false, nil, ""
	if author == "" {
		return nil
	}
	return mayStand(s.user, author, s.names)
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
