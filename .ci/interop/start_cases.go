package main

import (
	"dawk/.ci/interop/lab"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// startCases: what cannot work is refused at the start, in words that say what
// and where.
func startCases() []lab.TestCase {
	return []lab.TestCase{
		{Name: "listener port already taken", Run: func(t *lab.T, w *lab.World) {
			r := w.Faulty(t, "port-taken", nil)
			r.Ports[lab.Trusted] = w.House.Ports[lab.Trusted]
			t.Must("config", r.Write(strings.ReplaceAll(r.Text(t), w.FaultyAddr(r), w.House.Addr(lab.Trusted))))
			r.Refuses(t, regexp.QuoteMeta(w.House.Addr(lab.Trusted)), "already in use")
		}},
		{Name: "data directory in use by another dawk", Run: func(t *lab.T, w *lab.World) {
			r := w.Faulty(t, "dir-in-use", nil)
			t.Must("config", r.Write(strings.Replace(r.Text(t), `data_dir = "data"`,
				fmt.Sprintf("data_dir = %q", w.House.Data()), 1)))
			r.Refuses(t, regexp.QuoteMeta(w.House.Data()), "another dawk")
		}},
		{Name: "data directory not writable", Run: func(t *lab.T, w *lab.World) {
			r := w.Faulty(t, "dir-unwritable", &syscall.Credential{Uid: lab.Nobody, Gid: lab.Nobody})
			t.Must("mkdir", os.Mkdir(r.Data(), 0o755)) // root's
			r.Refuses(t, regexp.QuoteMeta(r.Data()), "permission denied|not writable|cannot write")
		}},
		{Name: "data directory is a file", Run: func(t *lab.T, w *lab.World) {
			r := w.Faulty(t, "dir-is-file", nil)
			t.Must("write", os.WriteFile(r.Data(), []byte("x"), 0o600))
			r.Refuses(t, regexp.QuoteMeta(r.Data()), "not a directory")
		}},
		{Name: "configuration file missing", Run: func(t *lab.T, w *lab.World) {
			r := w.Faulty(t, "no-config", nil)
			t.Must("remove", os.Remove(r.Config()))
			r.Refuses(t, regexp.QuoteMeta(r.Config()), "no such file|does not exist")
		}},
		{Name: "open relay", Run: func(t *lab.T, w *lab.World) {
			r := w.Faulty(t, "open-relay", nil)
			t.Must("config", r.Write(strings.Replace(r.Text(t), "127.0.0.0/8", "0.0.0.0/0", 1)))
			r.Refuses(t, "open relay", `dawk\.toml:\d+:\d+`)
		}},
		{Name: "syntax error, alone, with its place", Run: func(t *lab.T, w *lab.World) {
			r := w.Faulty(t, "syntax", nil)
			t.Must("config", r.Write("hostname = \"relay.test\nfrobnicate = 1\n"))
			r.Refuses(t, `dawk\.toml:1:\d+`)
		}},
		{Name: "five mistakes, all with line and column", Run: fiveMistakes},
	}
}

// fiveMistakes: unknown key, wrong type, bad duration, impossible word,
// impossible combination.
func fiveMistakes(t *lab.T, w *lab.World) {
	r := w.Faulty(t, "five-mistakes", nil)
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
	t.Must("config", r.Write(config))
	out := r.Refuses(t)
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
