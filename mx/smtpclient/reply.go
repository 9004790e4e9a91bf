package smtpclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"

	"dawk/relay"
)

// Bounds of a server's reply. RFC 5321 §4.5.3.1.5 allows lines of 512 octets;
// real servers write longer ones.
const (
	maxReplyLine  = 2048 // octets, with CRLF
	maxReplyLines = 100
	maxReplySize  = 64 << 10
	maxBlankLines = 20 // lines without a code, or replies 1yz, before a reply: some servers write one after each
)

// errGarbled means that the server sent something that is not SMTP: nothing that follows on the
// same connection can be trusted.
var errGarbled = errors.New("the server's reply is not SMTP")

// errCodeless means that there is text where a reply should begin.
var errCodeless = fmt.Errorf("%w: text without a code", errGarbled)

// WireReply is one reply as read: the code and the text of each line.
type WireReply struct {
	Code  int
	Lines []string
}

func (r WireReply) Class() int { return r.Code / 100 }

// readReply reads one whole reply (RFC 5321 §4.2.1), bounded. br must hold at
// least maxReplyLine octets.
func readReply(br *bufio.Reader) (WireReply, error) {
	var r WireReply
	size, blanks := 0, 0
	for {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || err == nil && len(line) > maxReplyLine {
			return WireReply{}, fmt.Errorf("%w: a line of over %d octets", errGarbled, maxReplyLine)
		}
		if err != nil {
			return WireReply{}, err
		}
		if size += len(line); size > maxReplySize || len(r.Lines) == maxReplyLines {
			return WireReply{}, fmt.Errorf("%w: a reply without end", errGarbled)
		}
		if blankLine(line) {
			if blanks++; blanks > maxBlankLines {
				return WireReply{}, fmt.Errorf("%w: only empty lines", errGarbled)
			}
			continue
		}
		code, text, more, err := parseReplyLine(line)
		if err != nil && codeless(line) {
			if len(r.Lines) == 0 {
				return WireReply{}, fmt.Errorf("%w: %.80q", errCodeless, line)
			}
			r.Lines = append(r.Lines, string(bytes.TrimRight(line, "\r\n")))
			continue
		}
		if err != nil {
			return WireReply{}, err
		}
		// RFC 5321 §4.2.1: the codes of all lines are the same. Where they
		// disagree on success or failure we don't guess.
		if len(r.Lines) > 0 && code/100 != r.Code/100 {
			words := relay.ClipTo(strings.Join(append(r.Lines, text), " "), 200)
			return WireReply{}, fmt.Errorf("%w: one reply with codes %d and %d: %s", errGarbled, r.Code, code, words)
		}
		r.Code = code
		r.Lines = append(r.Lines, text)
		if !more {
			return r, nil
		}
	}
}

// blankLine says whether a line is empty.
func blankLine(line []byte) bool { return len(bytes.TrimRight(line, " \t\r\n")) == 0 }

// codeless says whether a line has text in the place of a code.
func codeless(line []byte) bool {
	line = bytes.TrimRight(line, "\r\n")
	digits := 0
	for digits < min(3, len(line)) && line[digits] >= '0' && line[digits] <= '9' {
		digits++
	}
	return digits < 3 && !bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// strayText reads the lines that have arrived after a reply and have no code: they are the rest of
// its text.
func strayText(br *bufio.Reader) (text []string) {
	for len(text) < maxBlankLines {
		ahead, _ := br.Peek(br.Buffered())
		line, _, whole := bytes.Cut(ahead, []byte("\n"))
		switch {
		case blankLine(ahead):
			br.Discard(len(ahead)) //nolint:errcheck // they are buffered
			return text
		case !whole || !blankLine(line) && !codeless(line):
			return text
		case !blankLine(line):
			text = append(text, string(bytes.TrimRight(line, "\r")))
		}
		br.Discard(len(line) + 1) //nolint:errcheck // likewise
	}
	return text
}

// parseReplyLine takes a line with its end: three digits, then nothing, a space
// or, from some servers, a tab and text, or a hyphen and text if more lines follow.
func parseReplyLine(line []byte) (code int, text string, more bool, err error) {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) < 3 {
		return 0, "", false, fmt.Errorf("%w: %.80q", errGarbled, line)
	}
	for _, d := range line[:3] {
		if d < '0' || d > '9' {
			return 0, "", false, fmt.Errorf("%w: %.80q", errGarbled, line)
		}
		code = code*10 + int(d-'0')
	}
	if code < 100 {
		return 0, "", false, fmt.Errorf("%w: code %03d", errGarbled, code)
	}
	if len(line) == 3 {
		return code, "", false, nil
	}
	if line[3] != ' ' && line[3] != '-' && line[3] != '\t' {
		return 0, "", false, fmt.Errorf("%w: %.80q", errGarbled, line)
	}
	return code, string(line[4:]), line[3] == '-', nil
}

// Reply is r in the common vocabulary: the enhanced status (RFC 2034) is split off, the lines are
// joined, the text is escaped.
func (r WireReply) Reply(stage relay.Stage) relay.Reply {
	out := relay.Reply{Code: r.Code, Stage: stage}
	parts := make([]string, 0, len(r.Lines))
	for _, line := range r.Lines {
		word, rest, _ := strings.Cut(line, " ")
		if s, ok := relay.ParseStatus(word); ok && s.Class == r.Class() {
			if out.Status.IsZero() {
				out.Status = s
			}
			if s == out.Status { // repeated on each line
				line = rest
			}
		}
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	out.Text = relay.Sanitize(strings.Join(parts, " "))
	return out
}
