package bounce

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
)

// DigestReport is one message to be written in the place of many notices for
// the same mailbox, which were held back because they were too many.
type DigestReport struct {
	ID      relay.QueueID // of the digest itself
	To      relay.Path
	Limit   int        // notices that are sent one by one
	Notices []HeldBack // at least one
	Now     time.Time
}

// HeldBack is a notice that Compose wrote and that is not sent by itself.
type HeldBack struct {
	ID      relay.QueueID
	Content []byte
}

// heldBack is a HeldBack as the digest tells it.
type heldBack struct {
	subject  string
	language string
	status   [][]byte               // the fields of each recipient, and those of the message with them
	groups   []textproto.MIMEHeader // the same, to be asked
	quoted   []byte                 // "What the notice said: …", of a double bounce
}

// Digest writes it: a multipart/report whose text names every message, and
// whose one delivery status has every recipient of all of them.
//
// RFC 3464 has no report about several messages. This one keeps its syntax, so
// that programs that strike off dead addresses find each with its status: what
// belongs to a message stands, as an extension field (§2.3.10), with each of
// its recipients. (As separate status parts in a multipart/mixed, readers that
// fall back on guessing took the mailbox of the notice for a dead one.)
//
// A notice that cannot be read is an error: the caller then sends them one by
// one, so that nothing is lost.
func Digest(c Config, r DigestReport) (relay.Notice, error) {
	if err := c.Validate(); err != nil {
		return relay.Notice{}, err
	}
	if r.ID.IsZero() || r.To.IsNull() || len(r.Notices) == 0 {
		return relay.Notice{}, fmt.Errorf("%w: a digest needs a queue ID, a recipient and a notice", ErrReport)
	}
	c.Hostname, _ = relay.NormalizeDomain(c.Hostname)
	all := make([]heldBack, len(r.Notices))
	for i, n := range r.Notices {
		var err error
		if all[i], err = readNotice(n.Content); err != nil {
			return relay.Notice{}, fmt.Errorf("notice %s: %w", n.ID, err)
		}
	}
	lang := c.languages().find(all[0].language)
	if lang == nil {
		lang = c.house()
	}
	var status bytes.Buffer
	writeField(&status, "Reporting-MTA", "dns; "+c.Hostname)
	writeField(&status, "X-Dawk-Digest", strconv.Itoa(len(all)))
	for _, n := range all {
		for _, g := range n.status {
			status.WriteString("\r\n")
			status.Write(g)
		}
	}
	global := !r.To.ASCII()
	if !global && !ascii(status.Bytes()) {
		return relay.Notice{}, fmt.Errorf("%w: notices for another mailbox than %s", ErrReport, r.To)
	}
	parts := []part{textPart(digestText(c, lang, r, all), lang), statusPart(status.Bytes(), global && !ascii(status.Bytes()))}
	eightBit := slices.ContainsFunc(parts, func(p part) bool { return p.encoding == "8bit" })
	messageID := "<" + r.ID.String() + ".dsn@" + c.Hostname + ">"
	var b bytes.Buffer
	writeHeader(&b, c, Report{Message: &relay.Message{}, Now: r.Now}, r.To, lang.say("digest.subject", "n", strconv.Itoa(len(all))), messageID)
	writeParts(&b, "multipart/report; report-type=delivery-status", parts, eightBit)
	return finish(relay.Notice{Content: b.Bytes(), Message: relay.Message{ID: r.ID, Arrival: r.Now, MessageID: messageID}}, r.To, eightBit, global), nil
}

// digestText is what people read: who did not get what, message by message.
func digestText(c Config, l *language, r DigestReport, all []heldBack) []byte {
	var b bytes.Buffer
	wrap(&b, "", sentences(l.say("digest.text", "address", address(r.To), "n", strconv.Itoa(len(all)), "limit", strconv.Itoa(r.Limit)),
		l.say("digest.programs")))
	for i, n := range all {
		b.WriteString("\r\n")
		wrap(&b, "", strconv.Itoa(i+1)+". "+n.subject)
		for j, g := range n.groups {
			if j == maxNamed {
				wrap(&b, "  ", l.say("names.more", "n", strconv.Itoa(len(n.groups)-j)))
				break
			}
			_, to, _ := strings.Cut(g.Get("Final-Recipient"), ";")
			_, said, _ := strings.Cut(g.Get("Diagnostic-Code"), ";")
			if said == "" {
				said = g.Get("Status")
			}
			wrap(&b, "  ", clean(to)+": "+clean(said))
		}
		if len(n.groups) > 0 {
			wrap(&b, "  ", l.say("details.queue_id", "value", clean(n.groups[0].Get("Final-Log-Id")), "host", c.Hostname))
		}
		if n.quoted != nil {
			writeQuoted(&b, l, 2, bufio.NewReader(bytes.NewReader(n.quoted)), maxDigestQuoted/len(all))
		}
	}
	b.WriteString("\r\n")
	wrap(&b, "", l.say("footer", "host", c.Hostname))
	return b.Bytes()
}

// readNotice reads back what Compose wrote. It goes by structure, not by
// looking for words: strangers' words are in there.
func readNotice(content []byte) (n heldBack, err error) {
	msg, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return n, err
	}
	n.subject, _ = decodeWords(msg.Header.Get("Subject"))
	n.subject = strings.ReplaceAll(clean(n.subject), "=?", "= ?")
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		return n, err
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	people, err := parts.NextRawPart()
	if err != nil {
		return n, err
	}
	n.language = people.Header.Get("Content-Language")
	programs, err := parts.NextRawPart()
	if err != nil {
		return n, err
	}
	mediaType, _, _ := mime.ParseMediaType(programs.Header.Get("Content-Type"))
	if mediaType != "message/delivery-status" && mediaType != "message/global-delivery-status" {
		return n, fmt.Errorf("its second part is %q", shown(mediaType))
	}
	status, err := io.ReadAll(programs)
	if err != nil {
		return n, err
	}
	groups := bytes.Split(bytes.TrimRight(status, "\r\n"), []byte("\r\n\r\n"))
	ofMessage := asExtensions(groups[0])
	for _, g := range groups[1:] {
		n.status = append(n.status, slices.Concat(g, []byte("\r\n"), ofMessage))
		h, err := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(g), strings.NewReader("\r\n\r\n")))).ReadMIMEHeader()
		if err != nil || h.Get("Final-Recipient") == "" {
			return n, fmt.Errorf("its delivery status cannot be read: %w", err)
		}
		n.groups = append(n.groups, h)
	}
	if len(n.groups) == 0 {
		return n, errors.New("its delivery status has no recipient")
	}
	n.quoted, err = readQuoted(parts)
	return n, err
}

// readQuoted reads the part behind the delivery status, if it is text.
func readQuoted(parts *multipart.Reader) ([]byte, error) {
	p, err := parts.NextPart() // undoes quoted-printable
	if err == io.EOF {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if mediaType, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type")); mediaType != "text/plain" {
		return nil, nil
	}
	return io.ReadAll(p)
}

// asExtensions are the fields of a message (RFC 3464 §2.2) as fields of a
// recipient: Reporting-MTA is the digest's own.
func asExtensions(group []byte) []byte {
	var b bytes.Buffer
	skip := false
	for line := range bytes.Lines(append(bytes.Clone(group), "\r\n"...)) {
		if folded := line[0] == ' ' || line[0] == '\t'; !folded {
			skip = bytes.HasPrefix(line, []byte("Reporting-MTA:"))
			if !skip && !bytes.HasPrefix(line, []byte("X-")) {
				b.WriteString("X-")
			}
		}
		if !skip {
			b.Write(line)
		}
	}
	return b.Bytes()
}
