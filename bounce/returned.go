package bounce

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"

	"dawk/relay"
)

// How much of the original comes back, in octets. RFC 3461 §6.2 leaves the
// limit to us; most senders keep their mail, and large notices fill mailboxes.
const (
	maxReturned    = 50 << 10 // of the whole message, without RET
	maxReturnedRet = 1 << 20  // of the whole message, with RET=FULL
	maxHeader      = 50 << 10 // of a header
	maxShort       = 1 << 10  // of a header, where room is short
)

// part is the third part of the notice: the message, or its header.
type part struct {
	mediaType string
	encoding  string // Content-Transfer-Encoding
	body      []byte // encoded, ends in CRLF
	whole     bool   // the message, not only its header
	language  string // of the part for people
}

// original holds the parts of the message that the notice needs.
type original struct {
	header []byte // with the CRLF of its last line, at most what headerLimit says
	full   []byte // the whole message, where it is to be returned
	fixed  bool   // full has 8-bit content that cannot be re-encoded
}

// readOriginal reads what the notice needs. When the content cannot be read there is nothing to
// return, which RFC 6522 §3 allows; the notice is sent nevertheless.
func readOriginal(c Config, r Report) original {
	if r.Content == nil {
		return original{}
	}
	limit, size := returnLimit(r), r.Content.Size()
	n := min(size, headerLimit(r)+4)
	if size <= limit {
		n = size
	}
	b := make([]byte, n)
	if got, err := r.Content.ReadAt(b, 0); got < len(b) && err != nil {
		return original{}
	}
	o := original{header: headerOf(b, headerLimit(r))}
	if r.Message.RequireTLS {
		return original{header: o.redacted()}
	}
	if size <= limit && embeddable(b) && !holdsReport(b) {
		o.full = b
		o.fixed = !relay.ASCII(b) && c.SevenBit != nil && !c.SevenBit(r.Content)
	}
	return o
}

// redacted is what a notice about a REQUIRETLS message says of its header: enough to recognise the
// message. RFC 8689 §5 asks that the notice is not discarded where no host on its way offers
// REQUIRETLS. So it is sent like other mail, without the parts that the sender wanted protected.
func (o original) redacted() []byte {
	var b bytes.Buffer
	for _, name := range []string{"Date", "From", "Message-ID"} {
		if v := clean(o.field(name)); v != "" {
			writeField(&b, name, v)
		}
	}
	return b.Bytes()
}

// returnLimit is the size up to which the whole message is returned; -1:
// never.
func returnLimit(r Report) int64 {
	m := r.Message
	switch {
	case m.RequireTLS:
		return -1 // RFC 8689 §5: as if RET=HDRS
	case r.Short:
		return -1
	case r.Kind != KindFailed:
		return -1 // RFC 3461 §4.3: RET is for failures; "never the body" for the postmaster
	case m.Ret == relay.RetFull:
		return maxReturnedRet
	case m.Ret == relay.RetHdrs:
		return -1
	}
	return maxReturned
}

// headerLimit is how much of the header is returned, in octets.
func headerLimit(r Report) int64 {
	if r.Short {
		return maxShort
	}
	return maxHeader
}

// holdsReport says whether b is, holds or quotes a delivery status report. Programs that read
// bounces look into every part, however deep, and would take the recipients of that report for
// ours: they would strike off an address to which we sent nothing. It is enough that the name of
// the type occurs anywhere: at worst only the header is returned although the whole message could
// be.
func holdsReport(b []byte) bool {
	b = bytes.ToLower(b)
	return bytes.Contains(b, []byte("delivery-status")) || bytes.Contains(b, []byte("multipart/report"))
}

// headerOf is the header section at the beginning of b, at most limit octets, in whole lines.
func headerOf(b []byte, limit int64) []byte {
	switch i := bytes.Index(b, []byte("\r\n\r\n")); {
	case bytes.HasPrefix(b, []byte("\r\n")):
		return nil
	case i >= 0:
		b = b[:i+2]
	}
	if int64(len(b)) > limit {
		b = b[:limit]
		b = b[:bytes.LastIndexByte(b, '\n')+1]
	}
	return b
}

// embeddable says whether b can stand in a message/rfc822 part, which allows
// no encoding (RFC 2046 §5.2.1): strict CRLF, no NUL, no line over 998.
func embeddable(b []byte) bool {
	if len(b) == 0 || bytes.IndexByte(b, 0) >= 0 || !bytes.HasSuffix(b, []byte("\r\n")) {
		return false
	}
	for line := range bytes.SplitSeq(b, []byte("\r\n")) {
		if len(line) > maxLine || bytes.ContainsAny(line, "\r\n") {
			return false
		}
	}
	return true
}

// returnedPart labels and encodes the third part. global: the notice travels
// with SMTPUTF8, so that 8-bit header fields may stand as they are.
func returnedPart(o original, global bool) part {
	switch {
	case o.full != nil && (global || !o.fixed || utf8.Valid(o.full)):
		return wholePart(o, global)
	case len(o.header) > 0:
		return headerPart(o.header, global)
	}
	return part{}
}

func wholePart(o original, global bool) part {
	p := part{mediaType: "message/rfc822", encoding: "7bit", body: o.full, whole: true}
	if relay.ASCII(o.full) {
		return p
	}
	p.encoding = "8bit"
	if !utf8.Valid(o.header) || relay.ASCII(o.header) && (global || !o.fixed) {
		// A header in an undeclared 8-bit charset was wrong already and stays as it is; for the body
		// 8BITMIME is enough (RFC 6152), which every host with SMTPUTF8 has (RFC 6531 §3.1).
		return p
	}
	p.mediaType = "message/global" // RFC 6532 §3.7: any encoding is allowed
	if !global {
		p.encoding, p.body = "base64", toBase64(o.full)
	}
	return p
}

func headerPart(h []byte, global bool) part {
	p := part{mediaType: "text/rfc822-headers", encoding: "7bit", body: h}
	switch {
	case relay.ASCII(h) && embeddable(h):
		return p
	case !relay.ASCII(h) && utf8.Valid(h):
		p.mediaType = "message/global-headers" // RFC 6533 §6
		if global && embeddable(h) {
			p.encoding = "8bit"
			return p
		}
	}
	p.encoding, p.body = "quoted-printable", toQuotedPrintable(h)
	return p
}

func toBase64(b []byte) []byte {
	const octets = 57 // 76 characters, RFC 2045 §6.8
	var out bytes.Buffer
	for ; len(b) > 0; b = b[min(octets, len(b)):] {
		out.WriteString(base64.StdEncoding.EncodeToString(b[:min(octets, len(b))]))
		out.WriteString("\r\n")
	}
	return out.Bytes()
}

// toQuotedPrintable encodes text with CRLF line ends; writing to memory does
// not fail.
func toQuotedPrintable(b []byte) []byte {
	var out bytes.Buffer
	w := quotedprintable.NewWriter(&out)
	io.Copy(w, bytes.NewReader(b))
	w.Close()
	if !bytes.HasSuffix(out.Bytes(), []byte("\r\n")) {
		out.WriteString("\r\n")
	}
	return out.Bytes()
}

// field returns the first field of that name in a header, unfolded; "" if there is none. It accepts
// any header, however broken: it was written by a stranger.
func (o original) field(name string) string {
	for n, field := range relay.Fields(o.header) {
		if strings.EqualFold(n, name) {
			return relay.FieldValue(field)
		}
	}
	return ""
}
