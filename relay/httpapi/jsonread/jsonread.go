// Package jsonread reads JSON (RFC 8259) from a stream, without ever holding the whole of it: the
// caller asks for the value that it expects and says how long a string may become, or where it is
// to be copied to. What is held at once is one buffer and one such string. The caller controls the
// depth: it descends by calling [Reader.Object] and [Reader.Array], and it has to refuse unknown
// members, since no method skips a value.
//
// Text that is not UTF-8, or has half of a surrogate pair, is an error; it is not replaced. The
// package is pure and has no locks. Begin reading at Reader.
package jsonread

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// bufferSize is what a Reader holds, in octets.
const bufferSize = 8 << 10

// Kind is what a value is, in words.
type Kind string

// The kinds.
const (
	Object Kind = "an object"
	Array  Kind = "an array"
	String Kind = "a string"
	Number Kind = "a number"
	Bool   Kind = "true or false"
	Null   Kind = "null"
)

// SyntaxError says what is wrong with the JSON, and where.
type SyntaxError struct {
	Offset int64 // octets in front of the fault
	Text   string
}

// Error implements error.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s, at octet %d", e.Text, e.Offset) }

// Errors of a Reader besides SyntaxError and those of the stream; test with
// errors.Is.
var (
	ErrEmpty   = errors.New("the JSON is empty")
	ErrTooLong = errors.New("the string is too long")
)

// Reader reads one JSON text. Its first error stays.
type Reader struct {
	b   *bufio.Reader
	off int64
	err error
}

// NewReader reads from r. A byte order mark in front of the text is passed over
// (RFC 8259 §8.1).
func NewReader(r io.Reader) *Reader {
	n := &Reader{b: bufio.NewReaderSize(r, bufferSize)}
	if mark, _ := n.b.Peek(3); string(mark) == "\uFEFF" {
		n.skip(3)
	}
	return n
}

// Next is the kind of the next value, which is not read.
func (r *Reader) Next() (Kind, error) {
	c, err := r.token()
	if err != nil {
		return "", err
	}
	switch {
	case c == '{':
		return Object, nil
	case c == '[':
		return Array, nil
	case c == '"':
		return String, nil
	case c == 't' || c == 'f':
		return Bool, nil
	case c == 'n':
		return Null, nil
	case c == '-' || '0' <= c && c <= '9':
		return Number, nil
	}
	return "", r.unexpected(c, "where a value should begin")
}

// Object reads an object: member reads the value of each key. Keys are at most
// maxKey octets long.
func (r *Reader) Object(maxKey int, member func(key string) error) error {
	return r.list('{', '}', func(int) error {
		if c, err := r.token(); err != nil {
			return err
		} else if c != '"' {
			return r.unexpected(c, "where a key should begin")
		}
		key, err := r.String(maxKey)
		if err != nil {
			return err
		}
		c, err := r.token()
		if err != nil {
			return err
		}
		if c != ':' {
			return r.unexpected(c, "where a colon should stand")
		}
		r.skip(1)
		return member(key)
	})
}

// Array reads an array: element reads each value, which are counted from 0.
func (r *Reader) Array(element func(i int) error) error { return r.list('[', ']', element) }

func (r *Reader) list(begin, end byte, element func(i int) error) error {
	c, err := r.token()
	if err != nil {
		return err
	}
	if c != begin {
		return r.unexpected(c, fmt.Sprintf("where %q should stand", begin))
	}
	r.skip(1)
	if c, err = r.token(); err != nil {
		return err
	}
	for i := 0; c != end || i > 0; i++ {
		if err := element(i); err != nil {
			return r.fail(err)
		}
		if c, err = r.token(); err != nil {
			return err
		}
		if c == end {
			break
		}
		if c != ',' {
			return r.unexpected(c, fmt.Sprintf("where a comma or %q should stand", end))
		}
		r.skip(1)
	}
	r.skip(1)
	return nil
}

// String reads a string of at most so many octets of UTF-8.
func (r *Reader) String(most int) (string, error) {
	var s []byte
	err := r.copy(func(p []byte) error {
		if len(s)+len(p) > most {
			return ErrTooLong
		}
		s = append(s, p...)
		return nil
	})
	return string(s), err
}

// CopyString passes the text of a string on to dst, piece by piece.
func (r *Reader) CopyString(dst io.Writer) error {
	return r.copy(func(p []byte) error {
		_, err := dst.Write(p)
		return err
	})
}

// Null reads null.
func (r *Reader) Null() error {
	for _, want := range []byte("null") {
		c, err := r.peek()
		if err != nil {
			return err
		}
		if c != want {
			return r.unexpected(c, "in the word null")
		}
		r.skip(1)
	}
	return nil
}

// End reads to the end of the stream, which must hold nothing more.
func (r *Reader) End() error {
	c, err := r.token()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.unexpected(c, "behind the end")
}

// copy reads a string and gives its text in pieces, which hold whole characters
// and are only good until pass returns.
func (r *Reader) copy(pass func([]byte) error) error {
	c, err := r.token()
	if err != nil {
		return err
	}
	if c != '"' {
		return r.unexpected(c, "where a string should begin")
	}
	r.skip(1)
	for {
		c, err := r.peek()
		switch {
		case err != nil:
			return err
		case c == '"':
			r.skip(1)
			return nil
		case c == '\\':
			var room [utf8.UTFMax]byte
			char, err := r.escape()
			if err == nil {
				err = pass(utf8.AppendRune(room[:0], char))
			}
			if err != nil {
				return r.fail(err)
			}
		case c < ' ':
			return r.unexpected(c, "in a string: it has to be escaped")
		default:
			n, err := r.plain()
			if err != nil {
				return err
			}
			text, _ := r.b.Peek(n)
			if err := pass(text); err != nil {
				return r.fail(err)
			}
			r.skip(n)
		}
	}
}

// plain is how many octets of the buffer are unescaped text, at least one.
func (r *Reader) plain() (n int, err error) {
	buf, _ := r.b.Peek(r.b.Buffered())
	for n < len(buf) {
		c := buf[n]
		switch {
		case c == '"' || c == '\\' || c < ' ':
			return n, nil
		case c < utf8.RuneSelf:
			n++
			continue
		case !utf8.FullRune(buf[n:]) && n > 0:
			return n, nil // the rest of it is still to come
		case !utf8.FullRune(buf[n:]):
			if buf, err = r.b.Peek(utf8.UTFMax); len(buf) == 0 {
				return 0, r.fail(err)
			}
		}
		char, size := utf8.DecodeRune(buf[n:])
		if char == utf8.RuneError && size == 1 {
			r.off += int64(n)
			return 0, r.syntax("the text is not UTF-8")
		}
		n += size
	}
	return n, nil
}

// escape reads an escape sequence (RFC 8259 §7).
func (r *Reader) escape() (rune, error) {
	r.skip(1)
	c, err := r.peek()
	if err != nil {
		return 0, err
	}
	r.skip(1)
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		char, err := r.hex()
		if err != nil || !utf16.IsSurrogate(char) {
			return char, err
		}
		if next, _ := r.b.Peek(2); string(next) != `\u` {
			return 0, r.syntax("half of a surrogate pair")
		}
		r.skip(2)
		second, err := r.hex()
		if err != nil {
			return 0, err
		}
		if char = utf16.DecodeRune(char, second); char == utf8.RuneError {
			return 0, r.syntax("half of a surrogate pair")
		}
		return char, nil
	}
	return 0, r.unexpected(c, "behind a backslash")
}

func (r *Reader) hex() (rune, error) {
	digits, err := r.b.Peek(4)
	if err != nil {
		return 0, r.fail(short(err))
	}
	n, err := strconv.ParseUint(string(digits), 16, 16)
	if err != nil {
		return 0, r.syntax(`not four hexadecimal digits behind \u`)
	}
	r.skip(4)
	return rune(n), nil
}

// token is the next octet that is not white space.
func (r *Reader) token() (byte, error) {
	for {
		c, err := r.peek()
		if err != nil || c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, err
		}
		r.skip(1)
	}
}

func (r *Reader) peek() (byte, error) {
	if r.err != nil {
		return 0, r.err
	}
	b, err := r.b.Peek(1)
	if len(b) == 0 && r.off == 0 && errors.Is(err, io.EOF) {
		return 0, r.fail(ErrEmpty)
	}
	if len(b) == 0 {
		return 0, r.fail(short(err))
	}
	return b[0], nil
}

func (r *Reader) skip(n int) {
	n, _ = r.b.Discard(n) // it is buffered
	r.off += int64(n)
}

func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *Reader) unexpected(c byte, where string) error {
	return r.syntax(fmt.Sprintf("%q %s", rune(c), where))
}

func (r *Reader) syntax(text string) error { return r.fail(&SyntaxError{Offset: r.off, Text: text}) }

func (r *Reader) fail(err error) error {
	if r.err == nil {
		r.err = err
	}
	return r.err
}
