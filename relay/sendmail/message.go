package sendmail

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"dawk/relay"
	"dawk/relay/mailtext"
)

// maxHeader bounds the header, in octets, as acceptance does.
const maxHeader = 256 << 10

// Sender is who calls.
type Sender struct {
	User     string // login name
	FullName string
	Domain   string // of addresses without one
}

// Message is mail that is ready for the relay. Close releases it.
type Message struct {
	Envelope relay.Envelope
	// Unserved are the recipients that cannot be sent to. The others get the message; the sender is
	// told about these.
	Unserved []Unserved
	notify   relay.Notify // which notices are wanted
	header   []byte
	body     io.ReaderAt // of spool; begins at bodyAt
	bodyAt   int64
	size     int64 // of spool
	spool    *spool
}

// Size is the octets of header and body.
func (m *Message) Size() int64 { return int64(len(m.header)) + m.size - m.bodyAt }

// Reader reads header and body, in strict CRLF lines, from the beginning.
func (m *Message) Reader() io.Reader {
	return io.MultiReader(bytes.NewReader(m.header), io.NewSectionReader(m.body, m.bodyAt, m.size-m.bodyAt))
}

// Close releases what the message needed.
func (m *Message) Close() { m.spool.close() }

// Read takes a message from in, which ends at its end or, unless a says otherwise, at a line with a
// dot alone. Line ends and whatever else SMTP cannot carry are repaired: nobody reads error
// messages about a cron job's mail.
func Read(in io.Reader, a *Args, who Sender) (_ *Message, err error) {
	s := &spool{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	lines := mailtext.NewLines(s, true)
	if err := copyLines(lines, in, a.DotStays); err != nil {
		return nil, fail(ExitIO, "reading the message: %w", err)
	}
	if err := lines.Close(); err != nil {
		return nil, fail(ExitTemporary, "keeping the message: %w", err)
	}
	m := &Message{body: s, size: s.size, spool: s}
	head := make([]byte, min(s.size, maxHeader))
	if _, err := s.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fail(ExitTemporary, "keeping the message: %w", err)
	}
	h, err := readHeader(head, s.size > maxHeader, who)
	if err != nil {
		return nil, err
	}
	m.bodyAt = int64(h.length)
	if err := m.address(a, who, h); err != nil {
		return nil, err
	}
	if s.eightBit {
		m.Envelope.Body = relay.Body8BitMIME
	}
	return m, m.complete(a, who, h)
}

// copyLines copies in to dst, and stops at a line with only a dot.
func copyLines(dst io.Writer, in io.Reader, dotStays bool) error {
	r := bufio.NewReaderSize(in, 32<<10)
	for begin := true; ; {
		part, err := r.ReadSlice('\n')
		if text := strings.TrimRight(string(part[:min(len(part), 4)]), "\r\n"); !dotStays && begin && text == "." && len(part) <= 3 {
			return nil
		}
		if _, werr := dst.Write(part); werr != nil {
			return werr
		}
		switch {
		case err == io.EOF:
			return nil
		case err == bufio.ErrBufferFull:
			begin = false
		case err != nil:
			return err
		default:
			begin = true
		}
	}
}

// header is what stands before the body.
type header struct {
	length       int      // octets of it in the input, the empty line included
	kept         []byte   // what is passed on
	from         bool     // it has a From field
	to, resentTo []string // values of To, Cc and Bcc, and of the Resent fields for them
	who          Sender
}

// readHeader reads the header of a message. With more, head is not all of the
// message, and must hold the end of the header.
func readHeader(head []byte, more bool, who Sender) (*header, error) {
	h := &header{who: who}
	rest := head
	front := true // of the header: nothing but Return-Path was there
	for len(rest) > 0 {
		if n := mboxLines(rest); front && n > 0 {
			h.length, rest = h.length+n, rest[n:]
		}
		if bytes.HasPrefix(rest, []byte("\r\n")) {
			h.length += 2
			return h, nil
		}
		n := fieldEnd(rest)
		name, value, ok := mailtext.SplitField(rest[:n])
		if !ok {
			return h, nil // the body begins without the empty line
		}
		front = front && strings.EqualFold(name, "Return-Path")
		h.field(strings.ToLower(name), string(value), rest[:n])
		h.length += n
		rest = rest[n:]
	}
	if more {
		return nil, fail(ExitData, "the header of the message is larger than %d octets", maxHeader)
	}
	return h, nil
}

// mboxLines is the offset after the mbox lines at the beginning of b; 0: there are none, or no
// field follows and they are text.
func mboxLines(b []byte) (n int) {
	for mailtext.IsMboxLine(b[n:]) {
		n += fieldEnd(b[n:])
	}
	if _, _, ok := mailtext.SplitField(b[n : n+fieldEnd(b[n:])]); !ok {
		return 0
	}
	return n
}

func (h *header) field(name, value string, raw []byte) {
	switch name {
	case "from":
		// Some crons write "root (Cron Daemon)" into the mail of everybody's jobs.
		// The user may not send as root: its own address takes the place.
		list := mailtext.Addresses(value)
		if h.who.User != "root" && len(list) == 1 && list[0].Text == "root" {
			return
		}
		h.from = h.from || mailtext.HasAuthor(value) // an empty one counts as missing
	case "to", "cc":
		h.to = append(h.to, value)
	case "bcc":
		h.to = append(h.to, value)
		return // RFC 5322 §3.6.3: nobody sees it
	case "resent-to", "resent-cc":
		h.resentTo = append(h.resentTo, value)
	case "resent-bcc":
		h.resentTo = append(h.resentTo, value)
		return
	}
	h.kept = append(h.kept, raw...)
}

// fieldEnd is the offset after the first field of b, continuation lines included.
func fieldEnd(b []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return len(b)
		}
		if n += i + 1; n == len(b) || b[n] != ' ' && b[n] != '\t' {
			return n
		}
	}
}

// address builds the envelope.
func (m *Message) address(a *Args, who Sender, h *header) (err error) {
	if m.Envelope.From, err = sender(a, who); err != nil {
		return err
	}
	lists := a.Recipients
	if a.Extract && len(h.resentTo) > 0 { // RFC 5322 §3.6.6: it is sent to these
		lists = slices.Concat(lists, h.resentTo)
	} else if a.Extract {
		lists = slices.Concat(lists, h.to)
	}
	seen := map[relay.Path]bool{}
	for _, list := range lists {
		for _, t := range mailtext.Addresses(list) {
			p, err := mailtext.Qualify(t.Text, who.Domain)
			if err != nil {
				m.unserved(t.Text, "5.1.3 this is not the address of a mailbox") // RFC 3463 §3.2
				continue
			}
			if p.IsNull() || seen[p] {
				continue
			}
			seen[p] = true
			m.Envelope.Recipients = append(m.Envelope.Recipients, relay.Recipient{Path: p, Notify: a.Notify})
			m.Envelope.SMTPUTF8 = m.Envelope.SMTPUTF8 || !p.ASCII()
		}
	}
	switch {
	case len(m.Envelope.Recipients) > 0:
	case len(m.Unserved) > 0:
		return fail(ExitNoUser, "no recipient is an address: %s", unservedList(m.Unserved))
	case a.Extract:
		return fail(ExitUsage, "the message names no recipients: it needs a To, Cc or Bcc field")
	default:
		return fail(ExitUsage, "no recipients: name them, or use -t to take them from the message")
	}
	m.Envelope.SMTPUTF8 = m.Envelope.SMTPUTF8 || !m.Envelope.From.ASCII()
	m.Envelope.Ret, m.Envelope.EnvID, m.notify = a.Ret, a.EnvID, a.Notify
	return nil
}

// sender is the reverse-path: the address of -f, with or without a display name, or the user's own.
func sender(a *Args, who Sender) (relay.Path, error) {
	from := who.User
	if a.From != nil {
		list := mailtext.Addresses(*a.From)
		if len(list) == 0 && strings.Trim(*a.From, " \t<>") == "" {
			return relay.Path{}, nil
		}
		if len(list) != 1 {
			return relay.Path{}, fail(ExitUsage, "sender: -f %q is not one address", relay.Clip(*a.From))
		}
		from = list[0].Text
	}
	p, err := mailtext.Qualify(from, who.Domain)
	if err != nil {
		return relay.Path{}, fail(ExitUsage, "sender: %w", err)
	}
	return p, nil
}

// complete adds the required fields except Date and Message-ID, which the relay adds.
func (m *Message) complete(a *Args, who Sender, h *header) error {
	if !h.from {
		box := mailtext.Mailbox{Name: who.FullName, Path: m.Envelope.From}
		if a.FullName != "" {
			box.Name = a.FullName
		}
		if box.Path.IsNull() {
			p, err := mailtext.Qualify(who.User, who.Domain)
			if err != nil {
				return fail(ExitUsage, "sender: %w", err)
			}
			box.Path = p
		}
		if mailtext.CheckValue(box.Name) != nil {
			box.Name = relay.Sanitize(box.Name)
		}
		line, err := mailtext.List("From", []mailtext.Mailbox{box})
		if err != nil {
			return fail(ExitUsage, "%w", err)
		}
		m.header = append(m.header, line...)
	}
	m.header = append(m.header, h.kept...)
	m.header = append(m.header, "\r\n"...)
	return nil
}

// spool keeps a message: a small one in memory, a large one in a file that has already been
// unlinked.
type spool struct {
	mem      []byte
	file     *os.File
	size     int64
	eightBit bool
}

const spoolMemory = 1 << 20 // octets

func (s *spool) Write(p []byte) (int, error) {
	if !s.eightBit {
		s.eightBit = bytes.IndexFunc(p, func(r rune) bool { return r >= 0x80 }) >= 0
	}
	if s.file == nil && len(s.mem)+len(p) > spoolMemory {
		f, err := os.CreateTemp("", "sendmail-*")
		if err != nil {
			return 0, err
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return 0, err
		}
		if _, err := f.Write(s.mem); err != nil {
			return 0, err
		}
		s.mem = nil
	}
	s.size += int64(len(p))
	if s.file != nil {
		return s.file.Write(p)
	}
	s.mem = append(s.mem, p...)
	return len(p), nil
}

func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	return bytes.NewReader(s.mem).ReadAt(p, off)
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
}
