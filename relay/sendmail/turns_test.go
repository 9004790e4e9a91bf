package sendmail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dawk/relay"
	"dawk/relay/sendmail"
)

// Whoever leaves many files holds up his own mail and nobody else's.
func TestDropTurns(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("files of several users need root")
	}
	dir := filepath.Join(t.TempDir(), "drop")
	if err := sendmail.MakeDrop(dir); err != nil {
		t.Fatal(err)
	}
	left := func(uid, n int) {
		for i := range n {
			name := filepath.Join(dir, fmt.Sprintf("2026-%d-%05d.mail", uid, i))
			head := fmt.Sprintf(`{"dawk_drop":1,"size":0,"envelope":{"from":"","recipients":[{"path":"%d@u%d.test"}]}}`+"\n", i, uid)
			if err := errors.Join(os.WriteFile(name, []byte(head), 0o644), os.Chown(name, uid, uid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	left(1001, 700)
	left(1002, 3)
	left(1003, 2)
	c, got := collector(dir, nil)
	more, err := c.Collect(t.Context())
	if err != nil || !more || len(*got) != 205 {
		t.Fatalf("%d files, more: %v, %v", len(*got), more, err)
	}
	var turns []string
	for _, line := range (*got)[:9] {
		turns = append(turns, strings.Fields(line)[2])
	}
	want := []string{"<0@u1001.test>", "<0@u1002.test>", "<0@u1003.test>", "<1@u1001.test>", "<1@u1002.test>", "<1@u1003.test>", "<2@u1001.test>", "<2@u1002.test>", "<3@u1001.test>"}
	if diff := cmp.Diff(want, turns); diff != "" {
		t.Error(diff)
	}
	left(1004, 1)
	before := len(*got)
	for more = true; more; {
		if more, err = c.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(*got) != 706 || !strings.Contains(strings.Join((*got)[before:before+2], " "), "u1004") {
		t.Errorf("%d files; the new user's was not among the first: %q", len(*got), (*got)[before:before+2])
	}
}

// A file with the longest name there is is set aside; one that cannot be moved
// is told of once, also after a restart.
func TestDropToldOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drop")
	if err := sendmail.MakeDrop(dir); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 250)+".mail")
	if err := os.WriteFile(long, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	told := 0
	look := func(c *sendmail.Collector) {
		c.Tell = func(context.Context, *sendmail.Lost) error { told++; return nil }
		for range 3 {
			if _, err := c.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, _ := collector(dir, nil)
	look(c)
	if told != 1 || count(t, dir+"/aside/*") != 1 {
		t.Errorf("told %d times, %d aside", told, count(t, dir+"/aside/*"))
	}
	aside := filepath.Join(dir, "aside") // no folder any more: nothing can be moved there
	if err := errors.Join(os.RemoveAll(aside), os.WriteFile(aside, nil, 0o600), os.WriteFile(long, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	look(c)
	again, _ := collector(dir, nil)
	look(again)
	if told != 2 || count(t, long) != 1 {
		t.Errorf("told %d times, %d files left", told, count(t, long))
	}
}

// Recipients that get nothing are told of, and the file is then no more needed.
func TestGiveBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drop")
	if err := sendmail.MakeDrop(dir); err != nil {
		t.Fatal(err)
	}
	m, _ := read(t, "To: good@b.test, jim@\nBcc: secret@b.test\nSubject: s\n\nbody\n", &sendmail.Args{Extract: true, From: str("boss@office.test")})
	if err := errors.Join(sendmail.Drop(dir, m), sendmail.GiveBack(dir, m)); err != nil || count(t, dir+"/*.mail") != 2 {
		t.Fatal(err)
	}
	c, got := collector(dir, nil)
	var lost []*sendmail.Lost
	var content []byte
	answer := sendmail.ErrLater
	c.Tell = func(_ context.Context, l *sendmail.Lost) (err error) {
		lost = append(lost, l)
		content, err = io.ReadAll(io.NewSectionReader(l.Message, 0, l.Message.Size()))
		return errors.Join(err, answer)
	}
	if _, err := c.Collect(t.Context()); err != nil || len(*got) != 1 || count(t, dir+"/*.mail") != 1 {
		t.Fatalf("%v, %q, %d files", err, *got, count(t, dir+"/*.mail"))
	}
	answer = nil
	c.LookAtAll()
	if _, err := c.Collect(t.Context()); err != nil || len(*got) != 1 || count(t, dir+"/*.mail")+count(t, dir+"/aside/*") != 0 {
		t.Fatalf("%v, %q, %d files", err, *got, count(t, dir+"/*.mail"))
	}
	last := lost[len(lost)-1]
	if len(last.Unserved) != 1 || last.Unserved[0].Text != "jim@" || last.From.String() != "boss@office.test" || len(last.Recipients) != 0 {
		t.Errorf("%+v", last)
	}
	if text := string(content); !strings.Contains(text, "Subject: s\r\n") || strings.Contains(text, "secret") || strings.Contains(text, "body") {
		t.Errorf("%q", text)
	}
	m, _ = read(t, "To: good@b.test, jim@\n\n", &sendmail.Args{Extract: true, Notify: relay.NotifyNever})
	if err := sendmail.GiveBack(dir, m); err == nil {
		t.Error("a notice that nobody wants")
	}
}
