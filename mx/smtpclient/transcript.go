package smtpclient

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dawk/mx/dial"
	"dawk/relay"
)

// Bounds of what is kept of an attempt's sessions. What was said last tells most.
const (
	maxSpoken     = 64      // commands, replies and notes
	maxTranscript = 4 << 10 // octets of text
	maxSpokenLine = 300     // characters of a line
)

// Script notes what is said in the sessions of one attempt, for the case that it fails. Nothing is
// formatted before Transcript is asked for: nearly all attempts succeed. A nil one notes nothing.
type Script struct {
	began time.Time
	said  []spoken // the last maxSpoken, as a ring once there are more
	n     int      // that were noted
}

// spoken is a command, a reply or a note.
type spoken struct {
	after  time.Duration
	by     relay.Speaker
	words  [4]string // of a command or a note
	line   []byte    // a command, instead of words; it does not change any more
	octets int64     // of the content, instead of words
	reply  WireReply // of the host
}

var scripts sync.Pool // of *Script

// NewScript is for an attempt that begins now. Its user calls Close.
func NewScript(began time.Time) *Script {
	s, ok := scripts.Get().(*Script)
	if !ok {
		s = &Script{said: make([]spoken, 0, 16)}
	}
	s.began = began
	return s
}

// Close gives the memory back.
func (s *Script) Close() {
	clear(s.said)
	s.said, s.n = s.said[:0], 0
	scripts.Put(s)
}

// next is where the next line is noted; it says when.
func (s *Script) next(by relay.Speaker) *spoken {
	at := s.n % maxSpoken
	if s.n++; at == len(s.said) {
		s.said = append(s.said, spoken{})
	}
	s.said[at] = spoken{after: time.Since(s.began), by: by}
	return &s.said[at]
}

// did notes what is neither a command nor a reply.
func (s *Script) did(words ...string) {
	if s != nil {
		copy(s.next(relay.SpokenNote).words[:], words)
	}
}

// connected notes whom the attempt turns to now.
func (s *Script) connected(c *Conn) {
	how := "connected to "
	if c.greeted {
		how = "on an open connection to "
	}
	s.did(how, c.Peer.Host, " at ", c.Addr)
}

// content notes that so many octets are sent.
func (s *Script) content(octets int64) {
	if s != nil {
		s.next(relay.SpokenNote).octets = octets
	}
}

// asked notes a command.
func (s *Script) asked(command string) {
	if s != nil {
		s.next(relay.SpokenByUs).words[0] = command
	}
}

// sent notes a command of a batch.
func (s *Script) sent(line []byte) {
	if s != nil {
		s.next(relay.SpokenByUs).line = line
	}
}

func (s *Script) heard(r WireReply, err error) {
	if err != nil {
		s.did("no reply: ", dial.Cause(err))
	} else if s != nil {
		s.next(relay.SpokenByHost).reply = r
	}
}

// Transcript is what was noted, the end of it.
func (s *Script) Transcript() relay.Transcript {
	t := relay.Transcript{At: s.began, Omitted: max(0, s.n-maxSpoken)}
	size := 0
	for i := s.n - 1; i >= t.Omitted && i >= 0; i-- {
		one := &s.said[i%maxSpoken]
		lines := one.lines()
		for j := len(lines) - 1; j >= 0; j-- {
			text := relay.ClipTo(relay.Sanitize(lines[j]), maxSpokenLine)
			if size += len(text); size > maxTranscript {
				t.Omitted = i + 1
				slices.Reverse(t.Lines)
				return t
			}
			t.Lines = append(t.Lines, relay.Spoken{After: relay.Millis(one.after), By: one.by, Text: text})
		}
	}
	slices.Reverse(t.Lines)
	return t
}

// lines are those of a reply as they were on the wire, else the one line.
func (s *spoken) lines() []string {
	switch {
	case s.line != nil:
		return []string{strings.TrimRight(string(s.line), "\r\n")}
	case s.octets > 0:
		return []string{fmt.Sprintf("the content, %d octets", s.octets)}
	case s.by != relay.SpokenByHost:
		return []string{strings.Join(s.words[:], "")}
	case s.reply.Code == 334: // RFC 4954 §4: what follows is part of a login
		return []string{"334 (a challenge, not kept)"}
	}
	lines := make([]string, len(s.reply.Lines))
	for i, text := range s.reply.Lines {
		after := "-"
		if i+1 == len(lines) {
			after = " "
		}
		lines[i] = strconv.Itoa(s.reply.Code) + after + text
	}
	return lines
}
