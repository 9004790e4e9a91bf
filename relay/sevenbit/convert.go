package sevenbit

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"dawk/relay"
)

// Converter converts. Its zero value signs nothing and keeps large results in
// the system's directory for temporary files.
type Converter struct {
	// Dir is where results of more than 256 KiB are kept while they are needed.
	Dir string
	// Owns says whether a DKIM-Signature field is one of ours. Such a field
	// would be broken by the conversion: it is taken out, and Sign makes another.
	Owns func(field []byte) bool
	// Sign gives the header fields that sign m with its new content; see
	// dkim.Signer.
	Sign func(m *relay.Message, content relay.Content) ([]byte, error)
}

// Can says whether content can be converted.
func (c Converter) Can(content relay.Content) bool {
	out, err := Converter{Dir: c.Dir}.Convert(nil, content)
	if err == nil {
		out.Close()
	}
	return !errors.Is(err, relay.ErrNotSevenBit)
}

// Convert gives the content of m without octets above 127, signed again if it was
// signed by us, since the old signature does not survive; the caller closes it.
// The error is relay.ErrNotSevenBit, with the reason, where that is not
// possible, and any other is trouble with reading or keeping.
func (c Converter) Convert(m *relay.Message, content relay.Content) (relay.Content, error) {
	var look survey
	err := parse(content, &look)
	if err == nil {
		err = look.decide()
	}
	if err != nil {
		return nil, err
	}
	out := &spool{dir: c.Dir}
	w := &writer{out: bufio.NewWriterSize(out, 16<<10), parts: look.parts, owns: c.Owns}
	if err = parse(content, w); err == nil {
		err = w.finish(out)
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	if !w.unsigned || c.Sign == nil {
		return out, nil
	}
	head, err := c.Sign(m, out)
	if err != nil {
		out.Close()
		return nil, err
	}
	return &relay.Spliced{Head: head, Body: out}, nil
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", relay.ErrNotSevenBit, fmt.Sprintf(format, args...))
}

// survey is the first pass: what is where.
type survey struct {
	parts []*part
}

func (s *survey) header(p *part, head []byte) error {
	s.parts = append(s.parts, p)
	if relay.ASCII(head) {
		return nil
	}
	if p.parent != nil && p.parent.kind == multipart {
		if _, p.names = asciiHeader(head); p.names {
			return nil
		}
	}
	return refused("a header holds octets that are not ASCII, which no encoding of the body helps")
}

func (s *survey) body(p *part, b []byte) error { p.count(b); return nil }

func (s *survey) end(*part) error { return nil }

func (s *survey) between([]byte) error { return nil }

// decide gives every part with 8-bit octets its new encoding. A part whose label
// says that it is encoded already is passed on as it is: nobody knows how to read it,
// and no encoding would help.
func (s *survey) decide() error {
	for _, p := range s.parts {
		anew := p.high > 0 && p.identity()
		switch {
		case !anew && !p.names:
			continue
		case anew && p.kind == sealed:
			return p.refused()
		case anew:
			p.encode = "base64"
			// Quoted-printable takes two more octets for each that it encodes,
			// base64 37 % more in all: of text, the shorter one.
			if p.text && p.odd*2*100 <= p.size*37 {
				p.encode = "quoted-printable"
			}
		}
		for up := p.parent; up != nil; up = up.parent {
			if up.kind == sealed {
				return up.refused()
			}
			up.encode = "7bit"
		}
	}
	return nil
}

// writer is the second pass.
type writer struct {
	out   *bufio.Writer
	parts []*part // of the first pass, in order
	owns  func([]byte) bool

	next     int
	now      *part          // of the first pass: where we are
	enc      io.WriteCloser // of its body; nil: as it is
	unsigned bool           // a signature of ours was taken out
}

func (w *writer) header(_ *part, head []byte) error {
	w.now = w.parts[w.next]
	w.next++
	w.enc = nil
	if w.now.encode == "quoted-printable" {
		w.enc = &quoted{w: w.out}
	} else if w.now.encode == "base64" {
		w.enc = base64.NewEncoder(base64.StdEncoding, &folder{w: w.out})
	}
	return w.write(w.rewrite(head))
}

// rewrite is a header with another encoding in it, and without our signature.
func (w *writer) rewrite(head []byte) []byte {
	p := w.now
	if p.names {
		head, _ = asciiHeader(head)
	}
	root := p.parent == nil
	if !root && p.encode == "" {
		return head
	}
	out := make([]byte, 0, len(head)+128)
	end := 0
	for name, f := range relay.Fields(head) {
		end += len(f)
		switch {
		case p.encode != "" && name == "content-transfer-encoding":
		case root && name == "dkim-signature" && w.owns != nil && w.owns(f):
			w.unsigned = true
		default:
			out = append(out, f...)
		}
	}
	if root && p.encode != "" && !p.mime {
		out = append(out, "MIME-Version: 1.0\r\n"...)
	}
	if root && p.plain && p.encode != "" {
		charset := "unknown-8bit"
		if p.notUTF8 == nil && p.utf8.Close() == nil {
			charset = "utf-8"
		}
		out = append(out, "Content-Type: text/plain; charset="+charset+"\r\n"...)
	}
	if p.encode != "" && (p.encode != "7bit" || p.encoding != "") {
		out = append(out, "Content-Transfer-Encoding: "+p.encode+"\r\n"...)
	}
	return append(out, head[end:]...)
}

func (w *writer) body(_ *part, b []byte) error {
	if w.enc == nil {
		return w.write(b)
	}
	_, err := w.enc.Write(b)
	return err
}

func (w *writer) end(*part) error {
	if w.enc == nil {
		return nil
	}
	enc := w.enc
	w.enc = nil
	return enc.Close()
}

func (w *writer) between(b []byte) error {
	return w.write(masked(b, '?'))
}

func (w *writer) write(b []byte) error {
	_, err := w.out.Write(b)
	return err
}

// finish gives the message the end of its last line, where an encoded body is
// the end of it.
func (w *writer) finish(out *spool) error {
	if w.next != len(w.parts) {
		return errors.New("the message was not the same when it was read again")
	}
	err := w.out.Flush()
	if err == nil && out.size > 0 && out.last != '\n' {
		_, err = out.Write([]byte("\r\n"))
	}
	return err
}
