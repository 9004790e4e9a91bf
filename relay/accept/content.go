package accept

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"slices"
	"strings"

	"dawk/relay/identity"
	"dawk/relay/mailtext"
)

// maxHeader bounds the header, in octets: a longer one is an attack on programs that
// keep headers in memory.
const maxHeader = 256 << 10

// header is what the scanner found. Its zero value is an empty message.
type header struct {
	received             int // Received fields: hops (RFC 5321 §6.3)
	from                 int
	fromValue            []byte // of From, where a policy replaces it
	replyTo, date, hasID bool
	unsubscribable       bool          // it has a List-Unsubscribe or List-Unsubscribe-Post field
	messageID            []byte        // value of the first Message-ID
	tlsNo                bool          // "TLS-Required: No" (RFC 8689 §5)
	text                 identity.Text // of Subject and body, where it is needed
	body8Bit, eightBit   bool          // in the body; in the header as it was passed on
	signed               bool          // by its sender, so far: all of it by DKIM, or in the body a part (RFC 1847) or a text by PGP
}

// scanner is the one reader of headers in acceptance. It reads a message as it passes, and writes
// everything on except the fields that must not leave. It holds no more than one field. Lines that
// are too long are folded here, where their field is known; an interface that refuses such lines
// has done so already.
type scanner struct {
	dst      io.Writer
	maxSize  int64 // octets as they came; 0: no limit
	maxHops  int
	keepFrom bool           // From and Sender leave under other names: a policy gives another From
	addFrom  bool           // an empty From field counts as missing
	domain   string         // for addresses of the header that have none; "": they stay as they are
	text     hash.Hash      // gets Subject and body, to tell texts apart; nil: not needed
	user     *identity.User // who may name only some authors; nil: the header may name anybody

	size    int64 // octets as they came
	hdr     header
	inBody  bool
	line    []byte // an incomplete line of the header
	field   []byte // the current field
	mbox    []byte // mbox lines before the first field, or after Return-Path; nil once a field has followed
	atFront bool   // only Return-Path was seen: a message from a mailbox may begin with it
	any     bool   // a field was seen: a continuation line has something to continue
	seen    int64  // octets of header so far
	col     int    // octets of the current line of the body that were passed on
	held    []byte // octets of it that were not passed on yet
	kind    []byte // values of Content-Type fields, in lower case, until the body begins
	parts   parts
	last    byte // the octet that was passed on last
}

// read streams the content into the draft: here it is never completely in memory.
func (d *Decision) read(draft io.Writer) (*header, error) {
	u := d.User
	s := scanner{dst: draft, maxSize: d.maxSize, maxHops: d.acceptor.cfg.MaxHops, keepFrom: !u.RewriteFrom.IsNull(),
		addFrom: d.AddFrom, domain: d.CompleteHeader}
	if u.BindsHeader() {
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
		if err := s.body(p); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// finish passes on what was held back. Call it once, after the last Write.
func (s *scanner) finish() error {
	if len(s.line) > 0 {
		line := append(s.line, "\r\n"...) // cannot come from the guard, which ends every line
		s.line = nil
		if err := s.headerLine(line); err != nil {
			return err
		}
	}
	if err := s.endField(); err != nil {
		return err
	}
	if len(s.mbox) > 0 && !s.inBody {
		if err := s.beginBody(nil); err != nil {
			return err
		}
	}
	if s.text != nil {
		s.text.Sum(s.hdr.text[:0])
	}
	if err := s.pass(s.held); err != nil {
		return err
	}
	if s.inBody && s.last != '\n' { // cannot come from the guard either
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
	if !s.any || s.atFront {
		// A byte order mark and the line of an mbox file are not header fields, but a header may follow
		// them. If none follows, they are the beginning of the text.
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		if mailtext.IsMboxLine(line) || len(s.mbox) > 0 && (line[0] == ' ' || line[0] == '\t') { // one may be folded
			s.mbox = append(s.mbox, line...)
			return nil
		}
	}
	switch {
	case len(line) == 2 && line[0] == '\r' && len(s.mbox) == 0:
		s.inBody = true
		if err := s.endField(); err != nil {
			return err
		}
		return s.pass(line)
	case line[0] == ' ' || line[0] == '\t':
		if s.any {
			s.field = append(s.field, line...)
			return nil
		}
	default:
		name, _, ok := bytes.Cut(line, []byte(":"))
		if name = bytes.TrimRight(name, " \t"); ok && mailtext.FieldName(string(name)) {
			s.atFront = (!s.any || s.atFront) && strings.EqualFold(string(name), "Return-Path")
			s.any, s.mbox = true, nil
			err := s.endField()
			s.field = append(s.field[:0], line...)
			return err
		}
	}
	// Not a header field: the body begins here, without the empty line that should stand before it.
	// With it every program reads the message in the same way.
	if err := s.endField(); err != nil {
		return err
	}
	return s.beginBody(line)
}

// beginBody adds the missing empty line, and passes on the line after it.
func (s *scanner) beginBody(line []byte) error {
	s.inBody = true
	if err := s.pass([]byte("\r\n")); err != nil {
		return err
	}
	return s.body(slices.Concat(s.mbox, line))
}

// body passes on a piece of the body. What is beyond the 998th octet of a line goes on the next
// one, after a space, as in Postfix.
func (s *scanner) body(p []byte) error {
	if !s.hdr.body8Bit {
		s.hdr.body8Bit = has8Bit(p)
	}
	if s.text != nil {
		s.text.Write(p)
	}
	if s.kind != nil {
		s.hdr.signed = s.parts.atTop(s.kind) || s.hdr.signed
		s.kind = nil
	}
	seen := len(s.held) // the octets before it were looked at
	if seen > 0 {
		p = append(s.held, p...)
		s.held = nil
	}
	const nearEnd = mailtext.MaxLine - 4
	from := 0 // the octets before it were passed on
	for at := 0; at < len(p); {
		if s.col == 0 && at >= seen {
			if at += s.parts.plainLines(p[at:]); at == len(p) {
				break
			}
		}
		end := len(p)
		if i := bytes.IndexByte(p[at:], '\n'); i >= 0 {
			end = at + i + 1
			if s.col == 0 && i < mailtext.MaxLine && p[at] != '-' && s.parts.idle() {
				at = end // a whole line, as nearly all are, that needs no look
				continue
			}
		}
		if end > seen {
			s.hdr.signed = s.parts.see(p[max(at, seen):end]) || s.hdr.signed
			seen = end
		}
		n := end - at // without its CRLF
		for n > 0 && (p[at+n-1] == '\n' || p[at+n-1] == '\r') {
			n--
		}
		switch {
		case s.col+n > mailtext.MaxLine && s.hdr.signed:
			return longSigned()
		case s.col+n > mailtext.MaxLine:
			at += mailtext.BreakAt(p[at:], mailtext.MaxLine-s.col)
			if err := s.pass(slices.Concat(p[from:at], []byte("\r\n "))); err != nil {
				return err
			}
			from, s.col = at, 1
			continue
		case p[end-1] == '\n':
			s.col = 0
		case s.col+n > nearEnd: // the break may come before these, if they begin a character
			at += nearEnd - s.col
			s.held, s.col = bytes.Clone(p[at:]), nearEnd
			return s.pass(p[from:at])
		default:
			s.col += n
		}
		at = end
	}
	return s.pass(p[from:])
}

// longSigned refuses a signed message that would have to be folded: that would break the signature
// without anybody's knowledge.
func longSigned() error {
	return Refuse(ReasonLongLine, 554, "5.6.0", "the message is signed and has a line of more than %d octets (RFC 5322 section 2.1.1); folding it would break the signature", mailtext.MaxLine)
}

func (s *scanner) pass(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	s.last = p[len(p)-1]
	_, err := s.dst.Write(p)
	return err
}

// endField decides about the field that has ended, and passes it on. Its error
// is a refusal, or that of the draft.
func (s *scanner) endField() error {
	raw := s.field
	s.field = s.field[:0]
	if len(raw) == 0 {
		return nil
	}
	name, value, _ := mailtext.SplitField(raw)
	var buf [32]byte // as long as any name that matters: nothing is allocated for those
	lower := string(appendLower(buf[:0], name))
	if s.domain != "" && mailtext.IsAddressField(lower) {
		if done := mailtext.Complete(lower, value, s.domain); len(done) > len(value) {
			raw = slices.Concat(raw[:len(raw)-len(value)], done)
			value = raw[len(raw)-len(done):]
		}
	}
	signed := s.hdr.signed // before this field
	leaves, err := s.look(name, lower, value)
	if err != nil || leaves == "" {
		return err
	}
	if leaves != name {
		raw = slices.Concat([]byte(leaves), []byte(":"), value)
	}
	if !s.hdr.eightBit {
		s.hdr.eightBit = has8Bit(raw)
	}
	folded := mailtext.FoldField(raw)
	if signed && len(folded) != len(raw) {
		return longSigned()
	}
	return s.pass(folded)
}

// look records what acceptance needs from a field, and returns the name under which the field is
// passed on; "": it is left out. Lower is the name in lower case. A field that every message must
// have and that is empty counts as missing.
func (s *scanner) look(name, lower string, value []byte) (leaves string, err error) {
	if s.user != nil && !s.noFrom(name, value) {
		if author := s.authorField(name); author != "" {
			if err := mayStand(s.user, author, value); err != nil {
				return "", err
			}
		}
	}
	switch lower {
	case "received":
		s.hdr.received++
		if s.maxHops > 0 && s.hdr.received > s.maxHops {
			return "", Refuse(ReasonLoop, 554, "5.4.6", "the message has passed more than %d relays: it goes round in a loop", s.maxHops)
		}
	case "from":
		return s.lookAtFrom(name, value)
	case "reply-to":
		s.hdr.replyTo = true
	case "sender":
		if s.keepFrom {
			return "X-Original-Sender", nil
		}
	case "subject":
		if s.text != nil {
			s.text.Write(value)
		}
	case "date":
		if empty(value) {
			return "", nil
		}
		s.hdr.date = true
	case "message-id":
		if empty(value) {
			return "", nil
		}
		if !s.hdr.hasID {
			s.hdr.hasID, s.hdr.messageID = true, bytes.Clone(value)
		}
	case "list-unsubscribe", "list-unsubscribe-post":
		s.hdr.unsubscribable = true
	case "dkim-signature":
		s.hdr.signed = true
	case "content-type":
		s.kind = append(s.kind, bytes.ToLower(value)...)
	case "tls-required":
		s.hdr.tlsNo = strings.EqualFold(string(bytes.TrimSpace(value)), "No")
	case "bcc", "resent-bcc", // RFC 5322 §3.6.3
		"return-path": // RFC 5321 §4.4: only final delivery adds it
		return "", nil
	}
	return name, nil
}

// noFrom says whether a field is an empty From that is to be replaced.
func (s *scanner) noFrom(name string, value []byte) bool {
	return s.addFrom && strings.EqualFold(name, "From") && !mailtext.HasAuthor(string(value))
}

// lookAtFrom is look for the From field.
func (s *scanner) lookAtFrom(name string, value []byte) (leaves string, err error) {
	if s.noFrom(name, value) {
		if empty(value) {
			return "", nil
		}
		return "X-Original-From", nil // a name without an address
	}
	if s.hdr.from++; s.hdr.from > 1 {
		return "", Refuse(ReasonHeader, 550, "5.6.0", "the message has more than one From field (RFC 5322 section 3.6)")
	}
	if s.keepFrom {
		s.hdr.fromValue = bytes.Clone(value)
		return "X-Original-From", nil
	}
	return name, nil
}

// empty says whether a field has no value: nothing, or brackets around nothing.
func empty(value []byte) bool { return len(bytes.Trim(value, " \t\r\n<>")) == 0 }
