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

func TestLastReply(t *testing.T) {
	for said, exit := range map[string]int{
		"220 x\r\n354 go\r\n":                   sendmail.ExitData,
		"220 x\r\n354 go\r\n250 2.0.0 ok\r\n":   0,
		"220 x\r\n354 go\r\n554-a\r\n554 b\r\n": 0,
		"":                                      0,
	} {
		var out bytes.Buffer
		l := &sendmail.LastReply{Writer: &out}
		for i := range len(said) {
			if _, err := l.Write([]byte{said[i]}); err != nil {
				t.Fatal(err)
			}
		}
		var e *sendmail.Error
		if errors.As(l.Err(), &e); out.String() != said || exit == 0 != (e == nil) || e != nil && e.Exit != exit {
			t.Errorf("%q: %v", said, l.Err())
		}
	}
}
