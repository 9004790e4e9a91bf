package sendmail_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"dawk/relay/sendmail"
)

func TestCopyDialogue(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"EHLO x\nDATA\na\n.\nQUIT\n":    "EHLO x\r\nDATA\r\na\r\n.\r\nQUIT\r\n",
		"QUIT":                          "QUIT\r\n",
		"EHLO x\nQUIT":                  "EHLO x\r\nQUIT\r\n",
		"EHLO x\nDATA\na\r\n.\r\n":      "EHLO x\r\nDATA\r\na\r\n.\r\n",
		"EHLO x\r\nDATA\r\na\n.\nb\r\n": "EHLO x\r\nDATA\r\na\n.\nb\r\n",
		"EHLO x\r\nQUIT":                "EHLO x\r\nQUIT",
		"EHLO x\n" + strings.Repeat("y", 100_000) + "\nz\n": "EHLO x\r\n" + strings.Repeat("y", 100_000) + "\r\nz\r\n",
	} {
		for _, r := range []*bytes.Buffer{bytes.NewBufferString(in)} {
			var out bytes.Buffer
			if err := sendmail.CopyDialogue(&out, iotest.OneByteReader(r)); err != nil || out.String() != want {
				t.Errorf("%.80q became %.80q, %v", in, out.String(), err)
			}
		}
	}
}

// The exit status tells what became of the messages.
func TestDialogue(t *testing.T) {
	const hello, done = "EHLO x\r\n", "220 x\r\n250-x\r\n250 y\r\n"
	for _, c := range []struct {
		commands, replies string
		exit              int
	}{
		{"", "220 x\r\n", 0},
		{hello + "QUIT\r\n", done + "221 bye\r\n", 0},
		{hello + "MAIL x\r\nDATA\r\n", done + "250 x\r\n354 go\r\n", sendmail.ExitData},
		{hello + "MAIL x\r\nDATA\r\n.\r\n", done + "250 x\r\n354 go\r\n250 2.0.0 ok\r\n", 0},
		{hello + "MAIL x\r\nDATA\r\n.\r\nQUIT\r\n", done + "250 x\r\n354 go\r\n554-a\r\n554 b\r\n221 bye\r\n", sendmail.ExitUnavailable},
		{hello + "mail x\nDATA\n.\nQUIT\n", done + "500 closing\r\n", sendmail.ExitUnavailable},
		{hello + "MAIL x\r\nQUIT\r\n", done + "550 no\r\n221 bye\r\n", sendmail.ExitUnavailable},
		{"EHLO x\nMAIL x\nRCPT y\nQUIT\n", done + "250 x\r\n451 later\r\n221 bye\r\n", sendmail.ExitTemporary},
		{hello + "MAIL x\r\nRCPT y\r\n", done + "250 x\r\n250 y\r\n", sendmail.ExitTemporary},
		{hello + "MAIL x\r\nRSET\r\nQUIT\r\n", done + "250 x\r\n250 y\r\n221 bye\r\n", 0},
		{hello + "MAIL x\r\nRCPT y\r\nRSET\r\nQUIT\r\n", done + "250 x\r\n550 no\r\n250 z\r\n221 bye\r\n", sendmail.ExitUnavailable},
		{hello + "MAIL x\r\nRSET\r\nMAIL x\r\nQUIT\r\n", done + "250 x\r\n250 y\r\n250 x\r\n221 bye\r\n", sendmail.ExitTemporary},
		{hello + "MAIL x\r\nDATA\r\nRSET\r\n.\r\nQUIT\r\n", done + "250 x\r\n354 go\r\n554 no\r\n221 bye\r\n", sendmail.ExitUnavailable},
		{hello, done + "421 down\r\n", sendmail.ExitTemporary},
	} {
		var in, out bytes.Buffer
		d := &sendmail.Dialogue{Replies: &out}
		if err := d.Commands(&in, strings.NewReader(c.commands)); err != nil {
			t.Fatal(err)
		}
		for i := range len(c.replies) {
			if _, err := d.Write([]byte{c.replies[i]}); err != nil {
				t.Fatal(err)
			}
		}
		var e *sendmail.Error
		errors.As(d.Err(), &e)
		if out.String() != c.replies || c.exit == 0 != (e == nil) || e != nil && e.Exit != c.exit {
			t.Errorf("%q, %q: %v", c.commands, c.replies, d.Err())
		}
	}
	gone := &sendmail.Dialogue{Replies: &bytes.Buffer{}} // while the client still speaks
	if _, err := gone.Write([]byte(done)); err != nil || gone.Err() == nil {
		t.Errorf("%v, and no error when the relay goes away", err)
	}
}
