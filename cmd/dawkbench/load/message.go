package load

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// A message is named in two places: in each recipient's local part, so that
// the sink knows what it is given before the content, and in a header field,
// with the length and checksum of the body.
//
//	RCPT TO:<m17-r2@d3.test>
//	X-Bench: 17 4096 1c9d2a5f

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	header     = "X-Bench: "
	lineOctets = 72 // with CRLF
)

// body is the content behind the header, the same for all messages of a size.
type body struct {
	wire []byte // dot-stuffed, with the final dot
	size int    // octets before stuffing
	crc  uint32
}

// newBody makes lines of text of about size octets in all. Every tenth begins
// with a dot, which the protocol has to double and undouble at every hop.
func newBody(size int) *body {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ,;:-+= "
	var plain []byte
	for n := 0; len(plain) < size; n++ {
		line := alphabet[n%len(alphabet):] + alphabet[:n%len(alphabet)]
		if n%10 == 9 {
			line = "." + line
		}
		line = line[:min(lineOctets-2, max(1, size-len(plain)-2))]
		plain = append(append(plain, line...), '\r', '\n')
	}
	var wire []byte
	for line := range bytes.SplitAfterSeq(plain, []byte("\n")) {
		if bytes.HasPrefix(line, []byte(".")) {
			wire = append(wire, '.')
		}
		wire = append(wire, line...)
	}
	return &body{wire: append(wire, ".\r\n"...), size: len(plain), crc: crc32.Checksum(plain, castagnoli)}
}

// recipient names recipient r of message id.
func appendRecipient(b []byte, id, r, domains int, domain string) []byte {
	b = append(b, 'm')
	b = strconv.AppendInt(b, int64(id), 10)
	b = append(b, "-r"...)
	b = strconv.AppendInt(b, int64(r), 10)
	if domain != "" {
		return append(append(b, '@'), domain...)
	}
	b = append(b, "@d"...)
	b = strconv.AppendInt(b, int64((id+r)%domains), 10)
	return append(b, ".test"...) // organisations of their own, since limits are by provider
}

// parseRecipient reads what appendRecipient wrote, in or without brackets.
func parseRecipient(s string) (id, r int, ok bool) {
	local, _, _ := strings.Cut(strings.TrimPrefix(s, "<"), "@")
	m, n, found := strings.Cut(strings.TrimPrefix(local, "m"), "-r")
	id, err := strconv.Atoi(m)
	r, err2 := strconv.Atoi(n)
	return id, r, found && err == nil && err2 == nil && id >= 0 && r >= 0
}

func appendHeader(b []byte, id int, body *body) []byte {
	b = append(b, "From: Bench <source@bench.test>\r\nTo: Many <many@bench.test>\r\nSubject: message "...)
	b = strconv.AppendInt(b, int64(id), 10)
	b = append(b, "\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <"...)
	b = strconv.AppendInt(b, int64(id), 10)
	b = append(b, "@bench.test>\r\n"+header...)
	return fmt.Appendf(b, "%d %d %08x\r\n\r\n", id, body.size, body.crc)
}

// mark is what an X-Bench field says.
type mark struct {
	id, size int
	crc      uint32
}

func parseMark(value string) (m mark, ok bool) {
	words := strings.Fields(value)
	if len(words) != 3 {
		return m, false
	}
	var err1, err2 error
	m.id, err1 = strconv.Atoi(words[0])
	m.size, err2 = strconv.Atoi(words[1])
	crc, err3 := strconv.ParseUint(words[2], 16, 32)
	m.crc = uint32(crc)
	return m, err1 == nil && err2 == nil && err3 == nil
}
