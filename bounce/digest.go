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
	status   []byte // its message/delivery-status part, as it was
	global   bool
	groups   []textproto.MIMEHeader // of its recipients
}

// Digest writes it: a text that names every message and recipient, and the
// delivery status of each for programs, one part a notice. It is no
// multipart/report: that is about one message (RFC 6522 §3).
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
	parts := []part{textPart(digestText(c, lang, r, all), lang)}
	for _, n := range all {
		parts = append(parts, statusPart(n.status, n.global))
	}
	return digestMessage(c, lang, r, parts), nil
}

func digestMessage(c Config, l *language, r DigestReport, parts []part) relay.Notice {
	eightBit := slices.ContainsFunc(parts, func(p part) bool { return p.encoding == "8bit" })
	global := !r.To.ASCII()
	messageID := "<" + r.ID.String() + ".dsn@" + c.Hostname + ">"
	var b bytes.Buffer
	head := Report{Message: &relay.Message{}, Now: r.Now}
	writeHeader(&b, c, head, r.To, l.say("digest.subject", "n", strconv.Itoa(len(r.Notices))), messageID)
	writeParts(&b, "multipart/mixed", parts, eightBit)
	return finish(relay.Notice{Content: b.Bytes(), Message: relay.Message{ID: r.ID, Arrival: r.Now, MessageID: messageID}}, r.To, eightBit, global)
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
	n.global = mediaType == "message/global-delivery-status"
	if mediaType != "message/delivery-status" && !n.global {
		return n, fmt.Errorf("its second part is %q", shown(mediaType))
	}
	if n.status, err = io.ReadAll(programs); err != nil {
		return n, err
	}
	if !bytes.HasSuffix(n.status, []byte("\r\n")) { // it belongs to the boundary
		n.status = append(n.status, "\r\n"...)
	}
	n.groups, err = readGroups(n.status)
	return n, err
}

// readGroups are the fields of each recipient.
func readGroups(status []byte) (groups []textproto.MIMEHeader, err error) {
	r := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(status), strings.NewReader("\r\n"))))
	for {
		h, err := r.ReadMIMEHeader()
		switch {
		case len(h) > 0 && h.Get("Final-Recipient") != "":
			groups = append(groups, h)
		case len(h) == 0 && errors.Is(err, io.EOF) && len(groups) > 0:
			return groups, nil
		}
		if err != nil && (len(groups) == 0 || !errors.Is(err, io.EOF)) {
			return nil, fmt.Errorf("its delivery status cannot be read: %w", err)
		}
	}
}
