package sendmail

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"sync/atomic"
)

// CopyDialogue passes the client's side of an SMTP dialogue on. If the first command of a program
// ends in LF alone, each LF is replaced by CRLF, and a last line without an end gets CRLF too; any
// other input is passed on unchanged.
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

// Dialogue passes an SMTP dialogue on, and knows at its end whether a message was not accepted:
// many programs read only the exit status, and no reply.
type Dialogue struct {
	Replies io.Writer // gets what the relay says

	begun    atomic.Bool // the client has said MAIL
	reset    atomic.Bool // and RSET after it: it wants no message sent
	ended    atomic.Bool // the client's side came to its end
	command  line        // of the client
	reply    line        // of the relay
	code     string      // of the last reply
	refusal  string      // the last code that was a refusal
	accepted bool        // a message
}

// line holds the beginning of a line that passes through.
type line struct {
	begin [4]byte
	n     int // octets of it
}

// see takes one octet, and says whether it ends the line.
func (l *line) see(c byte) bool {
	if c == '\n' {
		return true
	}
	if l.n < len(l.begin) {
		l.begin[l.n] = c
		l.n++
	}
	return false
}

// text gives what is held, and begins the next line.
func (l *line) text() string {
	s := string(l.begin[:l.n])
	l.n = 0
	return s
}

// Commands passes the client's side on, as CopyDialogue does.
func (d *Dialogue) Commands(dst io.Writer, src io.Reader) error {
	err := CopyDialogue(commandWriter{d, dst}, src)
	d.ended.Store(err == nil)
	return err
}

type commandWriter struct {
	d *Dialogue
	io.Writer
}

func (w commandWriter) Write(p []byte) (int, error) {
	for _, c := range p {
		if !w.d.command.see(c) {
			continue
		}
		// A line of a message with this text comes after the command.
		switch strings.ToUpper(w.d.command.text()) {
		case "MAIL":
			w.d.begun.Store(true)
			w.d.reset.Store(false)
		case "RSET":
			w.d.reset.Store(true)
		}
	}
	return w.Writer.Write(p)
}

// Write passes the relay's side on.
func (d *Dialogue) Write(p []byte) (int, error) {
	for _, c := range p {
		if !d.reply.see(c) {
			continue
		}
		text := d.reply.text()
		if len(text) == 4 && text[3] == '-' { // more lines follow
			continue
		}
		code := text[:min(len(text), 3)]
		d.accepted = d.accepted || d.code == "354" && code == "250"
		if d.code = code; code >= "400" {
			d.refusal = code
		}
	}
	return d.Replies.Write(p)
}

// Err says, once the relay has ended the dialogue, why a message was not accepted; nil: every
// message was.
func (d *Dialogue) Err() error {
	exit := ExitTemporary
	if d.refusal >= "500" {
		exit = ExitUnavailable
	}
	switch {
	case d.code == "354":
		return fail(ExitData, "the input ended before the line with a dot alone that ends a message; it was not taken")
	case d.code >= "400":
		return fail(exit, "the dialogue ended with a refusal, %s", d.code)
	case d.code != "221" && !d.ended.Load():
		return fail(ExitTemporary, "the relay ended the dialogue before QUIT")
	case d.accepted || d.reset.Load() && d.refusal == "":
	case d.begun.Load():
		return fail(exit, "no message was taken")
	}
	return nil
}
