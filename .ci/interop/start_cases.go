package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// startCases: what cannot work is refused at the start, in words that say what
// and where.
func startCases() []testCase {
	return []testCase{
		{"listener port already taken", func(t *T, w *world) {
			r := w.faulty(t, "port-taken", nil)
			r.ports[trusted] = w.house.ports[trusted]
			t.must("config", r.write(strings.ReplaceAll(r.text(t), w.faultyAddr(r), w.house.addr(trusted))))
			r.refuses(t, regexp.QuoteMeta(w.house.addr(trusted)), "already in use")
		}},
		{"data directory in use by another dawk", func(t *T, w *world) {
			r := w.faulty(t, "dir-in-use", nil)
			t.must("config", r.write(strings.Replace(r.text(t), `data_dir = "data"`,
				fmt.Sprintf("data_dir = %q", w.house.data()), 1)))
			r.refuses(t, regexp.QuoteMeta(w.house.data()), "another dawk")
		}},
		{"data directory not writable", func(t *T, w *world) {
			r := w.faulty(t, "dir-unwritable", &syscall.Credential{Uid: nobody, Gid: nobody})
			t.must("mkdir", os.Mkdir(r.data(), 0o755)) // root's
			r.refuses(t, regexp.QuoteMeta(r.data()), "permission denied|not writable|cannot write")
		}},
		{"data directory is a file", func(t *T, w *world) {
			r := w.faulty(t, "dir-is-file", nil)
			t.must("write", os.WriteFile(r.data(), []byte("x"), 0o600))
			r.refuses(t, regexp.QuoteMeta(r.data()), "not a directory")
		}},
		{"configuration file missing", func(t *T, w *world) {
			r := w.faulty(t, "no-config", nil)
			t.must("remove", os.Remove(r.config()))
			r.refuses(t, regexp.QuoteMeta(r.config()), "no such file|does not exist")
		}},
		{"open relay", func(t *T, w *world) {
			r := w.faulty(t, "open-relay", nil)
			t.must("config", r.write(strings.Replace(r.text(t), "127.0.0.0/8", "0.0.0.0/0", 1)))
			r.refuses(t, "open relay", `dawk\.toml:\d+:\d+`)
		}},
		{"syntax error, alone, with its place", func(t *T, w *world) {
			r := w.faulty(t, "syntax", nil)
			t.must("config", r.write("hostname = \"relay.test\nfrobnicate = 1\n"))
			r.refuses(t, `dawk\.toml:1:\d+`)
		}},
		{"five mistakes, all with line and column", fiveMistakes},
	}
}

// fiveMistakes: unknown key, wrong type, bad duration, impossible word,
// impossible combination.
func fiveMistakes(t *T, w *world) {
	r := w.faulty(t, "five-mistakes", nil)
	config := `hostname = "relay.test"
hostnam = "typing.test"

[[listener]]
address = "127.0.0.1:2525"
tls = "perhaps"

[limits]
max_recipients = "many"
command_timeout = "5 minutes"

[[listener]]
address = "127.0.0.1:2526"
tls = "off"
require_tls = true
`
	t.must("config", r.write(config))
	out := r.refuses(t)
	places := regexp.MustCompile(`dawk\.toml:(\d+):(\d+)`).FindAllStringSubmatch(out, -1)
	lines := map[string]bool{}
	for _, p := range places {
		lines[p[1]] = true
	}
	for _, want := range []string{"2", "6", "9", "10"} {
		if !lines[want] {
			t.Errorf("no word about line %s:\n%s", want, out)
		}
	}
	if len(lines) != 5 {
		t.Errorf("%d places named, want 5:\n%s", len(lines), out)
	}
	if strings.Contains(out, "goroutine ") {
		t.Errorf("a stack trace is no sentence:\n%s", out)
	}
}

// faulty makes a relay whose start is to fail.
func (w *world) faulty(t *T, name string, cred *syscall.Credential) *relay {
	r, err := w.newRelay(name, []string{trusted}, "")
	t.must("config", err)
	t.must("users", os.WriteFile(filepath.Join(r.dir, "users.toml"), nil, 0o644))
	r.cred = cred
	return r
}

func (w *world) faultyAddr(r *relay) string {
	b, err := os.ReadFile(r.config())
	if err != nil {
		return ""
	}
	return regexp.MustCompile(`address = "(127[^"]*)"`).FindStringSubmatch(string(b))[1]
}

func (r *relay) text(t *T) string {
	b, err := os.ReadFile(r.config())
	t.must("config", err)
	return string(b)
}

// refuses starts dawk and wants it to end by itself, soon, with a code other
// than 0 and words that match.
func (r *relay) refuses(t *T, patterns ...string) string {
	t.must("start", r.start())
	code, err := r.proc.wait(patience)
	out := r.proc.out.String()
	if err != nil {
		r.proc.kill()
		t.Fatalf("%v:\n%s", err, lastLines(out, 8))
	}
	if code <= 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(out) {
			t.Errorf("no word of %q in:\n%s", p, lastLines(out, 8))
		}
	}
	if strings.Contains(out, "goroutine ") {
		t.Errorf("a stack trace is no sentence:\n%s", lastLines(out, 30))
	}
	return out
}
