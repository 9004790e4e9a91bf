package bounce

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"

	"dawk/relay"
)

// maxQuoted bounds what a double bounce quotes of the notice that failed, in
// octets: a digest of a thousand messages has about 300 KiB.
const maxQuoted = 1 << 20

// writeNotice quotes the text of one of our notices, so that the postmaster knows what could not be
// reported. The notice itself is not returned: its delivery status would be taken for that of the
// double bounce (see holdsReport), and that of a digest is large.
func writeNotice(b *bytes.Buffer, l *language, c relay.Content) {
	text := noticeText(c)
	if text == nil {
		return
	}
	b.WriteString("\r\n")
	wrap(b, "", l.say("said.notice"))
	b.WriteString("\r\n")
	for size := 0; ; {
		line, err := text.ReadString('\n')
		if size += len(line); size > maxQuoted {
			b.WriteString("\r\n")
			wrap(b, "    ", l.say("said.cut"))
			return
		}
		switch words := clean(line); {
		case words != "":
			own := min(len(line)-len(strings.TrimLeft(line, " ")), 8) // the lines were wrapped when they were written
			if prefix := strings.Repeat(" ", 4+own); len(words) < maxLine-100 {
				b.WriteString(prefix + words + "\r\n")
			} else {
				wrap(b, prefix, words)
			}
		case err == nil:
			b.WriteString("\r\n")
		}
		if err != nil {
			return
		}
	}
}

// noticeText reads, from a notice that we wrote, the part for people; nil when it cannot be read.
func noticeText(c relay.Content) *bufio.Reader {
	if c == nil {
		return nil
	}
	msg, err := mail.ReadMessage(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		return nil
	}
	mediaType, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return nil
	case mediaType == "text/plain": // a plain notice, written when the full one could not be composed
		return bufio.NewReader(msg.Body)
	}
	people, err := multipart.NewReader(msg.Body, params["boundary"]).NextPart() // undoes quoted-printable
	if err != nil && !errors.Is(err, io.EOF) || people == nil {
		return nil
	}
	return bufio.NewReader(people)
}
