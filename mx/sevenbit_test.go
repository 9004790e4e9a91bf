package mx_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/relay"
)

// closing counts how often converted content was given back.
type closing struct {
	relay.Content
	closed *int
}

func (c closing) Close() error { *c.closed++; return nil }

// TestSevenBit: 8-bit content is converted for hosts that take none, and for
// them alone, once an attempt; what cannot be converted is returned, and
// trouble with converting is ours.
func TestSevenBit(t *testing.T) {
	const body = letter + "caf\xc3\xa9\r\n"
	const converted = letter + "caf=C3=A9\r\n"
	for _, c := range []struct {
		name    string
		ext     []string
		err     error
		status  string
		arrives string
		made    int
	}{
		{"a host that takes it", []string{"8BITMIME"}, nil, "", body, 0},
		{"a host that does not", []string{"PIPELINING"}, nil, "", converted, 1},
		{"a signed part", []string{}, fmt.Errorf("%w: a part of type multipart/signed may not be changed", relay.ErrNotSevenBit), "5.6.3", "", 1},
		{"a full disk", []string{}, relay.ErrNoSpace, "4.3.0", "", 1},
		{"an error of any kind", []string{}, errors.New("odd"), "4.3.0", "", 1},
		{"too large by then", []string{fmt.Sprint("SIZE ", len(converted)-1)}, nil, "5.3.4", "", 1},
	} {
		made, closed := 0, 0
		w := newWorld(t, mxtest.Config{Extensions: c.ext}, func(cfg *mx.Config) {
			cfg.RecipientsPerMessage = 1
			cfg.SevenBit = func(*relay.Message, relay.Content) (relay.Content, error) {
				made++
				return closing{newContent(converted), &closed}, c.err
			}
		})
		task := task(t, body, "x@b.test", "y@b.test")
		task.Message.EightBit = true
		res := w.deliver(task)
		for _, r := range res.Replies {
			if c.status == "" && !r.Positive() || c.status != "" && (r.Status.String() != c.status || r.Permanent() != (c.status[0] == '5')) {
				t.Errorf("%s: %+v", c.name, r)
			}
			if c.status == "5.6.3" && !strings.Contains(r.Text, "multipart/signed") {
				t.Errorf("%s: %+v", c.name, r)
			}
		}
		if m := w.srv.Messages(); c.arrives != "" && (len(m) != 2 || string(m[0].Data) != c.arrives || string(m[1].Data) != c.arrives) || c.arrives == "" && len(m) > 0 {
			t.Errorf("%s: arrived %+v", c.name, m)
		}
		if want := c.made; made != want || c.err == nil && closed != want {
			t.Errorf("%s: made %d, closed %d", c.name, made, closed)
		}
	}
}
