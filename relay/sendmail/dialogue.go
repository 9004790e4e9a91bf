package sendmail

import (
	"bufio"
	"bytes"
	"io"
)

// CopyDialogue passes the client's side of an SMTP dialogue on. A program whose
// first command ends in LF alone means LF as its line end, and gets CRLF in its
// place, also behind a last line without an end; any other goes on as it is.
func CopyDialogue(dst io.Writer, src io.Reader) error {
	r := bufio.NewReaderSize(src, 32<<10)
	first, err := r.ReadSlice('\n')
	if err == io.EOF || bytes.HasSuffix(first, []byte("\n")) && !bytes.HasSuffix(first, []byte("\r\n")) {
		return copyLF(dst, r, first, err)
	}
	if _, err := dst.Write(first); err != nil {
		return err
	}
	_, err = io.Copy(dst, r)
	return err
}

// copyLF passes on a dialogue whose lines end in LF.
func copyLF(dst io.Writer, r *bufio.Reader, part []byte, err error) error {
	begun := false // a line that has no end yet
	for {
		text, ended := bytes.CutSuffix(part, []byte("\n"))
		if ended {
			part = append(bytes.TrimSuffix(bytes.Clone(text), []byte("\r")), "\r\n"...)
		}
		begun = !ended && (begun || len(part) > 0)
		if _, werr := dst.Write(part); werr != nil {
			return werr
		}
		switch {
		case err == io.EOF && begun:
			_, err = io.WriteString(dst, "\r\n")
			return err
		case err == io.EOF:
			return nil
		case err != nil && err != bufio.ErrBufferFull:
			return err
		}
		part, err = r.ReadSlice('\n')
	}
}

// LastReply passes the relay's side of a dialogue on and remembers how it ended.
type LastReply struct {
	io.Writer
	line [4]byte // the begin of the line that we are in
	n    int     // octets of it
	code [3]byte // of the last line
}

// Write implements io.Writer.
func (l *LastReply) Write(p []byte) (int, error) {
	for _, c := range p {
		if c == '\n' {
			copy(l.code[:], l.line[:3])
			l.n = 0
			continue
		}
		if l.n < len(l.line) {
			l.line[l.n] = c
			l.n++
		}
	}
	return l.Writer.Write(p)
}

// Err says that the input ended in the middle of a message: nobody has it.
func (l *LastReply) Err() error {
	if string(l.code[:]) == "354" {
		return fail(ExitData, "the input ended before the line with a dot alone that ends a message; it was not taken")
	}
	return nil
}
