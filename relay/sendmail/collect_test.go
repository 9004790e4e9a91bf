package sendmail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/sendmail"
)

// What the rules say.
var (
	refused   = accept.Refuse(accept.ReasonHeader, 554, "5.6.0", "no")
	overQuota = accept.Refuse(accept.ReasonQuota, 452, "4.7.28", "quota")
)

// collector takes mail from dir and answers with err.
func collector(dir string, err error) (*sendmail.Collector, *[]string) {
	var got []string
	return &sendmail.Collector{Dir: dir, Log: slog.New(slog.DiscardHandler),
		Accept: func(_ context.Context, s accept.Submission) (relay.QueueID, error) {
			var b bytes.Buffer
			if _, werr := s.Content.WriteTo(&b); werr != nil {
				return relay.QueueID{}, werr
			}
			if err == nil {
				got = append(got, s.Identity+" "+s.From.Wire()+" "+s.Recipients[0].Path.Wire()+" "+b.String())
			}
			return relay.QueueID{Key: 1}, err
		}}, &got
}

func count(t *testing.T, pattern string) int {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestDrop(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drop")
	if err := sendmail.MakeDrop(dir); err != nil {
		t.Fatal(err)
	}
	m, content := read(t, "Subject: s\n\nbody\n", &sendmail.Args{Recipients: []string{"a@b.test"}})
	if err := sendmail.Drop(dir, m); err != nil {
		t.Fatal(err)
	}
	// While the relay takes nothing the file stays.
	c, _ := collector(dir, fmt.Errorf("later: %w", relay.ErrNoSpace))
	if _, err := c.Collect(t.Context()); err == nil || count(t, dir+"/*.mail") != 1 {
		t.Fatalf("after temporary trouble: %v, %d files", err, count(t, dir+"/*.mail"))
	}
	c, got := collector(dir, nil)
	if _, err := c.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{sendmail.Identity(uint32(os.Getuid())) + " <www-data@office.test> <a@b.test> " + content}
	if diff := cmp.Diff(want, *got); diff != "" || count(t, dir+"/*.mail") != 0 {
		t.Errorf("%s; %d files", diff, count(t, dir+"/*"))
	}
	// What is refused for good is set aside.
	if err := sendmail.Drop(dir, m); err != nil {
		t.Fatal(err)
	}
	c, _ = collector(dir, refused)
	if _, err := c.Collect(t.Context()); err != nil || count(t, dir+"/*.mail") != 0 || count(t, dir+"/aside/*.mail") != 1 {
		t.Errorf("%v, %d files, %d aside", err, count(t, dir+"/*.mail"), count(t, dir+"/aside/*"))
	}
}

// What others can put into the folder is set aside, and leads nowhere else.
func TestDropHostile(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "drop")
	if err := sendmail.MakeDrop(dir); err != nil {
		t.Fatal(err)
	}
	secret, other := filepath.Join(root, "secret"), filepath.Join(root, "other")
	good := `{"dawk_drop":1,"size":3,"envelope":{"from":"a@b.test","recipients":[{"path":"c@d.test"}]}}` + "\nx\r\n"
	for name, content := range map[string]string{
		secret:                             good,
		other:                              good,
		filepath.Join(dir, "short.mail"):   good[:len(good)-1],
		filepath.Join(dir, "long.mail"):    good + "y",
		filepath.Join(dir, "nobody.mail"):  `{"dawk_drop":1,"size":0,"envelope":{"from":"","recipients":[]}}` + "\n",
		filepath.Join(dir, "inject.mail"):  `{"dawk_drop":1,"size":0,"envelope":{"from":"","envid":"a\nb","recipients":[{"path":"c@d.test"}]}}` + "\n",
		filepath.Join(dir, "path.mail"):    `{"dawk_drop":1,"size":0,"envelope":{"from":"","recipients":[{"path":"c@d.test> BODY=x\r\nDATA"}]}}` + "\n",
		filepath.Join(dir, "unknown.mail"): strings.Replace(good, `"size"`, `"sise"`, 1),
		filepath.Join(dir, "empty.mail"):   "",
		filepath.Join(dir, "other.txt"):    "x",
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(other, filepath.Join(dir, "soft.mail")), os.Link(secret, filepath.Join(dir, "hard.mail")),
		os.Mkdir(filepath.Join(dir, "dir.mail"), 0o755)); err != nil {
		t.Fatal(err)
	}
	c, got := collector(dir, nil)
	if _, err := c.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(*got) != 0 || count(t, dir+"/*") != 2 || count(t, dir+"/aside/*") != 11 {
		t.Errorf("%d sent, %d left, %d aside", len(*got), count(t, dir+"/*"), count(t, dir+"/aside/*"))
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != good {
		t.Errorf("the file outside: %v", err)
	}
}

// Whoever waits for a file that cannot be sent is told before it is moved; one
// sender's trouble keeps nobody else's mail back.
func TestDropTells(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drop")
	if err := sendmail.MakeDrop(dir); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"over@b.test", "refused@b.test", "good@b.test"} {
		m, _ := read(t, "Subject: s\n\nbody\n", &sendmail.Args{Recipients: []string{to}})
		if err := sendmail.Drop(dir, m); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "junk.mail"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, _ := collector(dir, nil)
	var tried, told []string
	c.Accept = func(_ context.Context, s accept.Submission) (relay.QueueID, error) {
		to := s.Recipients[0].Path.Local()
		tried = append(tried, to)
		if to == "good" {
			return relay.QueueID{Key: 1}, nil
		}
		return relay.QueueID{}, map[string]error{"over": overQuota, "refused": refused}[to]
	}
	answer := errors.New("no space for a notice")
	c.Tell = func(_ context.Context, l *sendmail.Lost) error {
		what := "junk"
		if l.Submission != nil {
			b, err := io.ReadAll(io.NewSectionReader(l.Message, 0, l.Message.Size()))
			if err != nil || !strings.Contains(string(b), "Subject: s\r\n") {
				t.Errorf("the message: %q, %v", b, err)
			}
			what = l.Recipients[0].Path.Local()
		}
		if l.Owner != sendmail.Identity(uint32(os.Getuid())) {
			t.Errorf("left by %q", l.Owner)
		}
		told = append(told, what)
		return answer
	}
	if _, err := c.Collect(t.Context()); err == nil || count(t, dir+"/*.mail") != 4 {
		t.Fatalf("a notice that could not be queued: %v, %d files", err, count(t, dir+"/*.mail"))
	}
	answer = sendmail.ErrLater
	if _, err := c.Collect(t.Context()); err != nil || count(t, dir+"/*.mail") != 3 {
		t.Fatalf("notices that have to wait: %v, %d files", err, count(t, dir+"/*.mail"))
	}
	tried, told = nil, nil
	if _, err := c.Collect(t.Context()); err != nil || len(tried)+len(told) != 0 {
		t.Errorf("what waits was looked at again: %v %v %v", tried, told, err)
	}
	answer = nil
	fresh, _ := collector(dir, nil)
	fresh.Accept, fresh.Tell = c.Accept, c.Tell
	if _, err := fresh.Collect(t.Context()); err != nil || count(t, dir+"/*.mail") != 1 || count(t, dir+"/aside/*") != 2 {
		t.Errorf("%v, %d files, %d aside", err, count(t, dir+"/*.mail"), count(t, dir+"/aside/*"))
	}
	slices.Sort(told)
	if diff := cmp.Diff([]string{"junk", "refused"}, told); diff != "" {
		t.Error(diff)
	}
}

// A message with more recipients than one may have goes as several, each
// recipient once; one that the relay cannot take keeps no other back.
func TestDropParts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drop")
	if err := sendmail.MakeDrop(dir); err != nil {
		t.Fatal(err)
	}
	for _, to := range [][]string{{"broken@b.test"}, {"1@b.test", "2@b.test", "3@b.test", "4@b.test", "5@b.test"}, {"other@b.test"}} {
		m, _ := read(t, "Subject: s\n\nbody\n", &sendmail.Args{Recipients: to})
		if err := sendmail.Drop(dir, m); err != nil {
			t.Fatal(err)
		}
	}
	c, _ := collector(dir, nil)
	var got []string
	trouble := errors.New("not now")
	c.Most = 2
	c.Accept = func(_ context.Context, s accept.Submission) (relay.QueueID, error) {
		var to []string
		for _, r := range s.Recipients {
			to = append(to, r.Path.Local())
		}
		if trouble != nil && (to[0] == "broken" || to[0] == "3") {
			return relay.QueueID{}, trouble
		}
		got = append(got, strings.Join(to, " "))
		return relay.QueueID{Key: 1}, nil
	}
	if _, err := c.Collect(t.Context()); err != nil || count(t, dir+"/*.mail") != 2 {
		t.Fatalf("%v, %d files, %q", err, count(t, dir+"/*.mail"), got)
	}
	trouble = nil
	c.LookAtAll()
	if _, err := c.Collect(t.Context()); err != nil || count(t, dir+"/*.mail") != 0 {
		t.Fatalf("%v, %d files", err, count(t, dir+"/*.mail"))
	}
	if diff := cmp.Diff([]string{"1 2", "other", "broken", "3 4", "5"}, got); diff != "" {
		t.Error(diff)
	}
	// What is refused for good is told of with the recipients that are left.
	m, _ := read(t, "Subject: s\n\nbody\n", &sendmail.Args{Recipients: []string{"1@b.test", "2@b.test", "3@b.test"}})
	if err := sendmail.Drop(dir, m); err != nil {
		t.Fatal(err)
	}
	c.Accept = func(_ context.Context, s accept.Submission) (relay.QueueID, error) {
		if s.Recipients[0].Path.Local() == "3" {
			return relay.QueueID{}, refused
		}
		return relay.QueueID{Key: 1}, nil
	}
	var lost []relay.Recipient
	c.Tell = func(_ context.Context, l *sendmail.Lost) error { lost = l.Recipients; return nil }
	if _, err := c.Collect(t.Context()); err != nil || len(lost) != 1 || lost[0].Path.Local() != "3" {
		t.Errorf("%v, lost %v", err, lost)
	}
	// One after the other: then it is the relay, and the look ends.
	for range 20 {
		if err := sendmail.Drop(dir, m); err != nil {
			t.Fatal(err)
		}
	}
	tried := 0
	c.Accept = func(context.Context, accept.Submission) (relay.QueueID, error) {
		tried++
		return relay.QueueID{}, errors.New("not now")
	}
	if _, err := c.Collect(t.Context()); err == nil || tried == 1 || tried == 20 {
		t.Errorf("%v after %d", err, tried)
	}
}

// Files that somebody has begun, however many, hide nobody's mail.
func TestDropBegun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drop")
	if err := sendmail.MakeDrop(dir); err != nil {
		t.Fatal(err)
	}
	for i := range 1500 { // more than a look takes of one user
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf(".new-%d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		m, _ := read(t, "Subject: s\n\nbody\n", &sendmail.Args{Recipients: []string{"a@b.test"}})
		if err := sendmail.Drop(dir, m); err != nil {
			t.Fatal(err)
		}
	}
	c, got := collector(dir, nil)
	for range 2 {
		if _, err := c.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(*got) != 20 {
		t.Errorf("%d of 20 messages were taken", len(*got))
	}
}

// An envelope that could not be read again is not left.
func TestDropTooLargeAnEnvelope(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drop")
	if err := sendmail.MakeDrop(dir); err != nil {
		t.Fatal(err)
	}
	m, _ := read(t, "Subject: s\n\nbody\n", &sendmail.Args{Recipients: []string{"a@b.test"}})
	for i := range 40_000 {
		p, err := relay.ParsePath(fmt.Sprintf("recipient%d@b.test", i))
		if err != nil {
			t.Fatal(err)
		}
		m.Envelope.Recipients = append(m.Envelope.Recipients, relay.Recipient{Path: p})
	}
	if err := sendmail.Drop(dir, m); err == nil || count(t, dir+"/*.mail")+count(t, dir+"/.new-*") != 0 {
		t.Errorf("%v, %d files", err, count(t, dir+"/*"))
	}
}
