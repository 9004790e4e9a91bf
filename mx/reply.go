package mx

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
)

// errGarbled is what a server says that is not SMTP: nothing that follows on
// the same connection can be trusted.
var errGarbled = errors.New("the server's reply is not SMTP")

// wireReply is one reply as read: the code and the text of each line.
type wireReply struct {
	code  int
	lines []string
}

func (r wireReply) class() int { return r.code / 100 }

// readReply reads one whole reply (RFC 5321 §4.2.1), bounded. br must hold at
// least maxReplyLine octets.
func readReply(br *bufio.Reader) (wireReply, error) {
	var r wireReply
	size := 0
	for {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || err == nil && len(line) > maxReplyLine {
			return wireReply{}, fmt.Errorf("%w: a line of over %d octets", errGarbled, maxReplyLine)
		}
		if err != nil {
			return wireReply{}, err
		}
		if size += len(line); size > maxReplySize || len(r.lines) == maxReplyLines {
			return wireReply{}, fmt.Errorf("%w: a reply without end", errGarbled)
		}
		code, text, more, err := parseReplyLine(line)
		if err != nil {
			return wireReply{}, err
		}
		// RFC 5321 §4.2.1: the codes of all lines are the same. Where they
		// disagree on success or failure we don't guess.
		if len(r.lines) > 0 && code/100 != r.code/100 {
			return wireReply{}, fmt.Errorf("%w: one reply with codes %d and %d", errGarbled, r.code, code)
		}
		r.code = code
		r.lines = append(r.lines, text)
		if !more {
			return r, nil
		}
	}
}

// parseReplyLine takes a line with its end: three digits, then nothing, a
// space and text, or a hyphen and text if more lines follow.
func parseReplyLine(line []byte) (code int, text string, more bool, err error) {
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
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
	if line[3] != ' ' && line[3] != '-' {
		return 0, "", false, fmt.Errorf("%w: %.80q", errGarbled, line)
	}
	return code, string(line[4:]), line[3] == '-', nil
}

// reply is r in the common vocabulary: the enhanced status (RFC 2034) is
// split off, the lines are joined, the text is made harmless.
func (r wireReply) reply(stage relay.Stage) relay.Reply {
	out := relay.Reply{Code: r.code, Stage: stage}
	parts := make([]string, 0, len(r.lines))
	for _, line := range r.lines {
		word, rest, _ := strings.Cut(line, " ")
		if s, ok := relay.ParseStatus(word); ok && s.Class == r.class() {
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
