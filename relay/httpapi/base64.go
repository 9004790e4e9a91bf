package httpapi

import (
	"encoding/base64"
	"errors"
	"io"
)

// base64Lines passes base64 on in lines of 76 characters (RFC 2045 §6.8), and refuses what is not
// base64. Line ends in the input are ignored.
type base64Lines struct {
	dst io.Writer

	line  [76]byte
	n     int   // characters in line
	at    int64 // octets so far, line ends included
	ended bool  // by padding
}

// Write takes any piece.
func (b *base64Lines) Write(p []byte) (int, error) {
	for _, c := range p {
		b.at++
		if c == '\r' || c == '\n' {
			continue
		}
		if b.ended {
			return 0, b.wrong(b.at)
		}
		b.line[b.n] = c
		if b.n++; b.n == len(b.line) {
			if err := b.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// Close ends the last line.
func (b *base64Lines) Close() error {
	if b.n == 0 {
		return nil
	}
	return b.flush()
}

func (b *base64Lines) flush() error {
	var data [57]byte
	var out [78]byte
	n, err := base64.StdEncoding.Decode(data[:], b.line[:b.n])
	if err != nil {
		place := int64(0)
		if at, ok := errors.AsType[base64.CorruptInputError](err); ok {
			place = int64(at)
		}
		return b.wrong(b.at - int64(b.n) + place + 1)
	}
	b.ended = b.line[b.n-1] == '='
	base64.StdEncoding.Encode(out[:], data[:n])
	end := base64.StdEncoding.EncodedLen(n)
	b.n = 0
	_, err = b.dst.Write(append(out[:end:end], "\r\n"...))
	return err
}

func (b *base64Lines) wrong(at int64) error {
	return bad("the content of an attachment is not base64 from its octet %d on", max(1, at))
}
