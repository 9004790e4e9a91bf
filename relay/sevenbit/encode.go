package sevenbit

import "io"

// lineLimit is the most octets of an encoded line (RFC 2045 §6.7, §6.8).
const lineLimit = 76

// quoted is quoted-printable of text whose lines end in CRLF. Close completes it,
// without a last line end.
type quoted struct {
	w      io.Writer
	column int
	soft   bool // this line began after a soft break
	blank  byte // held: it is encoded if the line ends after it
	cr     bool // held
	buf    []byte
}

func (q *quoted) Write(b []byte) (int, error) {
	q.buf = q.buf[:0]
	for _, c := range b {
		if q.cr {
			q.cr = false
			if c == '\n' {
				q.flushBlank(true)
				q.buf = append(q.buf, "\r\n"...)
				q.column, q.soft = 0, false
				continue
			}
			q.flushBlank(false)
			q.put('\r', true)
		}
		switch {
		case c == '\r':
			q.cr = true
		case c == ' ' || c == '\t':
			q.flushBlank(false)
			q.blank = c
		default:
			q.flushBlank(false)
			q.put(c, c > 126 || c < ' ' || c == '=')
		}
	}
	_, err := q.w.Write(q.buf)
	return len(b), err
}

func (q *quoted) flushBlank(lineEnds bool) {
	if q.blank != 0 {
		q.put(q.blank, lineEnds)
		q.blank = 0
	}
}

const hex = "0123456789ABCDEF"

// put writes one octet, after a soft line break where it would not fit.
func (q *quoted) put(c byte, encode bool) {
	need := 1
	if encode {
		need = 3
	}
	if q.column+need > lineLimit-1 {
		q.buf = append(q.buf, "=\r\n"...)
		q.column, q.soft = 0, true
	}
	// A line that we begin must not look like a boundary, the end of the
	// message, or what mailboxes in files quote.
	if q.column == 0 && q.soft && (c == '-' || c == '.' || c == 'F') {
		encode = true
	}
	if encode {
		q.buf = append(q.buf, '=', hex[c>>4], hex[c&15])
		q.column += 3
		return
	}
	q.buf = append(q.buf, c)
	q.column++
}

func (q *quoted) Close() error {
	q.buf = q.buf[:0]
	q.flushBlank(true)
	if q.cr {
		q.put('\r', true)
	}
	_, err := q.w.Write(q.buf)
	return err
}

// folder breaks what is written into lines.
type folder struct {
	w      io.Writer
	column int
}

func (f *folder) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if f.column == lineLimit {
			if _, err := io.WriteString(f.w, "\r\n"); err != nil {
				return 0, err
			}
			f.column = 0
		}
		m := min(len(p), lineLimit-f.column)
		if _, err := f.w.Write(p[:m]); err != nil {
			return 0, err
		}
		f.column += m
		p = p[m:]
	}
	return n, nil
}
