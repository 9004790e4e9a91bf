package bounce_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"

	"dawk/relay"
)

// parsed is a notice read back by the standard library.
type parsed struct {
	header     mail.Header
	types      []string // media types of the parts
	bodies     [][]byte // decoded
	text       string
	perMessage textproto.MIMEHeader
	recipients []textproto.MIMEHeader
}

// The fields that we write, RFC 3464 §2.2 and §2.3: anything else in a status
// part was put there by a stranger.
var (
	perMessageFields = []string{"Original-Envelope-Id", "Reporting-Mta", "Arrival-Date", "X-Dawk-Queue-Id", "X-Original-Message-Id", "X-Dawk-Digest"}
	recipientFields  = []string{"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-Mta",
		"Diagnostic-Code", "Last-Attempt-Date", "Final-Log-Id", "Will-Retry-Until",
		"X-Original-Envelope-Id", "X-Arrival-Date", "X-Dawk-Queue-Id", "X-Original-Message-Id"} // the last four in a digest
	headerFields = []string{"From", "To", "Reply-To", "Subject", "Date", "Message-Id", "In-Reply-To", "References",
		"Auto-Submitted", "Mime-Version", "Content-Type", "Content-Transfer-Encoding"}
)

// parse reads a notice back strictly, and proves what holds for all of them.
func parse(n relay.Notice) (*parsed, error) {
	if err := checkOctets(n); err != nil {
		return nil, err
	}
	msg, err := mail.ReadMessage(bytes.NewReader(n.Content))
	if err != nil {
		return nil, err
	}
	if err := onlyOnce(textproto.MIMEHeader(msg.Header), headerFields); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	p := &parsed{header: msg.Header}
	mediaType, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/report" || params["report-type"] != "delivery-status" {
		return nil, fmt.Errorf("media type %q %v: %v", mediaType, params, err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := p.add(part); err != nil {
			return nil, err
		}
	}
	if len(p.types) < 2 || len(p.types) > 3 {
		return nil, fmt.Errorf("%d parts: %q", len(p.types), p.types)
	}
	p.text = string(p.bodies[0])
	if err := p.readStatus(); err != nil {
		return nil, err
	}
	return p, p.agreesWithGoMessage(n.Content)
}

func (p *parsed) add(part *multipart.Part) error {
	if err := onlyOnce(part.Header, []string{"Content-Type", "Content-Transfer-Encoding", "Content-Description", "Content-Language"}); err != nil {
		return fmt.Errorf("part %d: %w", len(p.types)+1, err)
	}
	mediaType, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	var r io.Reader = part
	switch part.Header.Get("Content-Transfer-Encoding") {
	case "quoted-printable":
		r = quotedprintable.NewReader(part)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, part)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	p.types, p.bodies = append(p.types, mediaType), append(p.bodies, body)
	return nil
}

func (p *parsed) readStatus() error {
	if !slices.Contains([]string{"message/delivery-status", "message/global-delivery-status"}, p.types[1]) {
		return fmt.Errorf("second part is %s", p.types[1])
	}
	// A textproto header ends at the blank line between the groups.
	r := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(p.bodies[1]), strings.NewReader("\r\n"))))
	for {
		h, err := r.ReadMIMEHeader()
		if len(h) == 0 && errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("delivery status: %w", err)
		}
		fields := recipientFields
		if p.perMessage == nil {
			fields, p.perMessage = perMessageFields, h
		} else {
			p.recipients = append(p.recipients, h)
		}
		if err := onlyOnce(h, fields); err != nil {
			return fmt.Errorf("delivery status: %w", err)
		}
	}
}

func (p *parsed) agreesWithGoMessage(content []byte) error {
	e, err := message.Read(bytes.NewReader(content))
	if err != nil && !message.IsUnknownCharset(err) {
		return fmt.Errorf("go-message: %w", err)
	}
	parts := e.MultipartReader()
	for i := 0; ; i++ {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			if i != len(p.types) {
				return fmt.Errorf("go-message sees %d parts, net/mail %d", i, len(p.types))
			}
			return nil
		}
		if err != nil && !message.IsUnknownCharset(err) {
			return fmt.Errorf("go-message: %w", err)
		}
		if t, _, _ := part.Header.ContentType(); i >= len(p.types) || t != p.types[i] {
			return fmt.Errorf("go-message: part %d is %s", i+1, t)
		}
	}
}

// checkOctets: strict CRLF, bounded lines, and no octet above 127 that the
// envelope does not announce.
func checkOctets(n relay.Notice) error {
	m := n.Message
	if m.Size != int64(len(n.Content)) || !bytes.HasSuffix(n.Content, []byte("\r\n")) {
		return fmt.Errorf("size %d of %d octets", m.Size, len(n.Content))
	}
	header, body, ok := bytes.Cut(n.Content, []byte("\r\n\r\n"))
	if !ok {
		return errors.New("no end of header")
	}
	for i, line := range bytes.Split(n.Content, []byte("\r\n")) {
		if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") {
			return fmt.Errorf("line %d: %.80q of %d octets", i+1, line, len(line))
		}
	}
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		raw := bytes.HasPrefix(line, []byte("To:")) || bytes.HasPrefix(line, []byte("Reply-To:"))
		if len(line) > 78 && !raw && bytes.ContainsRune(bytes.TrimSpace(line[min(len(line), 60):]), ' ') {
			return fmt.Errorf("header line could be folded: %q", line)
		}
	}
	if !m.UTF8Header && !relay.ASCII(header) || !m.EightBit && !relay.ASCII(body) {
		return fmt.Errorf("octets above 127 not announced: %+v", m)
	}
	if m.EightBit != (m.Body == relay.Body8BitMIME) || m.UTF8Header != m.SMTPUTF8 {
		return fmt.Errorf("envelope contradicts itself: %+v", m)
	}
	return nil
}

func onlyOnce(h textproto.MIMEHeader, allowed []string) error {
	for name, values := range h {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("unknown field %q: %q", name, values)
		}
		if len(values) != 1 {
			return fmt.Errorf("field %q %d times", name, len(values))
		}
	}
	return nil
}

// content is a relay.Content in memory.
type content struct{ *bytes.Reader }

func (c content) Size() int64  { return c.Reader.Size() }
func (c content) Close() error { return nil }

func contentOf(s string) relay.Content { return content{bytes.NewReader([]byte(s))} }

func path(t testing.TB, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
