package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// A fence of a page: "```sh" are commands, "```console" commands behind "$ "
// with what they print. What stands behind the language is for this test:
//
//	```sh exits 1              the last command ends so
//	```sh not run: needs apt   with the reason; each is in the list below
type fence struct {
	page, lang, text string
	line, exits      int
	unrun            string
	ran              bool
}

// unrun are the blocks that no test runs: whoever adds one sees the number grow.
var unrun = []string{
	"README.md: go run ./cmd/dawk demo (steps of their own in CI, which reads them here)",
	"docs/container.md: cd docs/examples/compose (needs Docker)",
	"docs/container.md: cd docs/examples/kubernetes (needs a cluster)",
	"docs/container.md: docker build -t dawk . (needs Docker; CI builds the image and runs what is in it)",
	"docs/install.md: .ci/package out (needs root; CI installs, upgrades and removes the package in a clean Debian)",
	"docs/install.md: CGO_ENABLED=0 go build -trimpath -o dawk ./cmd/dawk (CI builds the binary so for packages and image)",
	"docs/install.md: dnf install ./out/dawk-*.rpm (needs root; CI looks into the rpm and runs what is in it)",
	"docs/migrate-postfix.md: postconf -e master_service_disable=inet (needs Postfix and root)",
	"docs/security.md: git checkout COMMIT (builds the packages; CI builds them twice and compares)",
	"docs/security.md: go version -m /usr/bin/dawk (needs the installed package)",
}

var languages = []string{"sh", "console", "toml", "json", "yaml", "powershell", "text"}

// TestHandbook runs every command that README.md and docs/*.md show. The scripts in
// testdata/handbook make the world that a page speaks of, with the configuration
// of the page where it has one, and run its blocks in their order. There,
// /etc, /var, /run and /usr are directories of the script, ports are free ones,
// the queue ID of the pages is that of the last message, and systemctl and sudo are
// small stand-ins.
func TestHandbook(t *testing.T) {
	for _, program := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") == "" {
			t.Skipf("the pages' commands need %s: %v", program, err)
		}
	}
	h := &handbook{pages: fencesOf(t), worlds: map[*testscript.TestScript]*desk{}}
	t.Run("page", func(t *testing.T) {
		cmds := oauthCommands(relayCommands())
		cmds["page"], cmds["toml"], cmds["block"], cmds["blocks"] = h.page, h.toml, h.block, h.blocks
		testscript.Run(t, testscript.Params{Dir: "testdata/handbook", Cmds: cmds, Condition: condition, Setup: withRaceOptions})
	})
	var left []string
	commands := 0
	for _, page := range h.pages {
		for _, f := range page {
			switch {
			case f.lang != "sh" && f.lang != "console":
			case f.unrun != "":
				first, _, _ := strings.Cut(f.commands(), "\n")
				first, _, _ = strings.Cut(first, "  ")
				left = append(left, f.page+": "+first+" ("+f.unrun+")")
			case f.ran:
				commands += f.count()
			case !t.Failed():
				t.Errorf("%s:%d: no script in testdata/handbook runs this block (\"page %s\" and \"blocks\" in one would; \"```sh not run: WHY\" leaves it out):\n%s", f.page, f.line, f.page, f.text)
			}
		}
	}
	slices.Sort(left)
	if diff := cmp.Diff(unrun, left); diff != "" {
		t.Errorf("blocks that are not run, as listed here (-) and as in the pages (+):\n%s", diff)
	}
	t.Logf("%d commands run, %d blocks not run", commands, len(left))
}

// fencesOf are the blocks of all pages for who runs dawk, by page.
func fencesOf(t *testing.T) map[string][]*fence {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]*fence{}
	for _, file := range append(pages, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.ToSlash(strings.TrimPrefix(file, "../../"))
		var open *fence
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			info, fenced := strings.CutPrefix(line, "```")
			switch {
			case !fenced && open != nil:
				open.text += line
			case fenced && open != nil:
				open = nil
			case fenced:
				open = newFence(t, name, n, strings.TrimSpace(info))
				all[name] = append(all[name], open)
			case strings.HasPrefix(strings.TrimSpace(line), "```"):
				t.Errorf("%s:%d: a fence begins at the beginning of its line", name, n)
			}
		}
	}
	return all
}

func newFence(t *testing.T, page string, line int, info string) *fence {
	lang, rest, _ := strings.Cut(info, " ")
	f := &fence{page: page, lang: lang, line: line}
	if !slices.Contains(languages, lang) {
		t.Errorf("%s:%d: a fence names its language, one of %q", page, line, languages)
	}
	if reason, ok := strings.CutPrefix(rest, "not run: "); ok {
		f.unrun = reason
	} else if n, err := fmt.Sscanf(rest, "exits %d", &f.exits); rest != "" && (n != 1 || err != nil) {
		t.Errorf("%s:%d: %q is not understood", page, line, rest)
	}
	return f
}

// commands are those of the block, as the shell reads them.
func (f *fence) commands() string {
	if f.lang == "sh" {
		return f.text
	}
	var b strings.Builder
	for line := range strings.Lines(f.text) {
		if cmd, ok := strings.CutPrefix(line, "$ "); ok {
			b.WriteString(cmd)
		}
	}
	return b.String()
}

// count is how many commands there are: lines, without those that go on.
func (f *fence) count() (n int) {
	goes := false
	for line := range strings.Lines(f.commands()) {
		line = strings.TrimSpace(line)
		if !goes && line != "" && !strings.HasPrefix(line, "#") {
			n++
		}
		goes = strings.HasSuffix(line, `\`)
	}
	return n
}

type handbook struct {
	mu     sync.Mutex
	pages  map[string][]*fence
	worlds map[*testscript.TestScript]*desk
}

// desk is where one script is in its page.
type desk struct {
	page []*fence
	next int
}

func (h *handbook) desk(ts *testscript.TestScript) *desk {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.worlds[ts]
	if d == nil {
		d = &desk{}
		h.worlds[ts] = d
		h.furnish(ts)
	}
	return d
}

// page begins a page: "page docs/queue.md", or "page new docs/queue.md" where nothing of the
// page before is to be there.
func (h *handbook) page(ts *testscript.TestScript, _ bool, args []string) {
	d := h.desk(ts)
	if len(args) > 1 && args[0] == "new" {
		args = args[1:]
		for _, dir := range []string{"etc/dawk", "var/lib/dawk", "var/spool/dawk", "run/dawk"} {
			ts.Check(os.RemoveAll(ts.MkAbs(dir)))
			ts.Check(os.MkdirAll(ts.MkAbs(dir), 0o700))
		}
		ts.Setenv("CONF", ts.MkAbs("etc/dawk/dawk.toml"))
	}
	if len(args) != 1 || h.pages[args[0]] == nil {
		ts.Fatalf("usage: page PAGE, one with blocks")
	}
	d.page, d.next = h.pages[args[0]], 0
}

// furnish makes the directories and the stand-ins.
func (h *handbook) furnish(ts *testscript.TestScript) {
	work := ts.Getenv("WORK")
	for _, dir := range []string{"bin", "home", "etc/dawk", "var/lib/dawk", "var/spool/dawk", "run/dawk", "usr/sbin", "usr/local/bin"} {
		ts.Check(os.MkdirAll(ts.MkAbs(dir), 0o700))
	}
	dawk, err := exec.LookPath("dawk")
	ts.Check(err)
	curl, err := exec.LookPath("curl")
	ts.Check(err)
	ts.Setenv("CURL", curl)
	ts.Check(os.Symlink(ts.MkAbs("bin/dawk"), ts.MkAbs("usr/local/bin/dawk")))
	for name, text := range map[string]string{"dawk": wrapper, "sendmail": wrapper, "mailq": wrapper, "systemctl": systemctl, "sudo": "#!/bin/sh\nshift 2\nexec \"$@\"\n",
		"chown": "#!/bin/sh\n", "install": install, "docker": "#!/bin/sh\nshift 2\nexec \"$@\"\n", "curl": "#!/bin/sh\nexec " + curl + " --fail-with-body \"$@\"\n"} {
		ts.Check(os.WriteFile(ts.MkAbs("bin/"+name), []byte(text), 0o755))
	}
	ts.Setenv("DAWK", dawk)
	oauthWorldOf(ts) // ca.pem
	ts.Setenv("HOME", filepath.Join(work, "home"))
	ts.Setenv("CONF", filepath.Join(work, "etc/dawk/dawk.toml"))
	ts.Setenv("PATH", filepath.Join(work, "bin")+":"+filepath.Join(work, "usr/sbin")+":"+ts.Getenv("PATH"))
	ts.Defer(func() {
		if pid, err := os.ReadFile(ts.MkAbs("run/pid")); err == nil {
			var n int
			if _, err := fmt.Sscan(string(pid), &n); err == nil && n > 0 {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
	})
}

// wrapper is dawk with the configuration of the script, and with a password
// where a person would be asked for one.
const wrapper = `#!/bin/sh
case "${0##*/}" in
sendmail) exec "$DAWK" sendmail -C "$CONF" "$@" ;;
mailq) exec "$DAWK" sendmail -C "$CONF" -bp ;;
esac
case "$1 $2" in
"user add" | "user passwd" | "operator add" | "operator passwd" | "oauth login") echo 'correct horse battery' | "$DAWK" "$@" -c "$CONF"; exit ;;
"serve "*) exec systemctl once ;;
"migrate postfix") [ $# -gt 2 ] || set -- "$@" "$WORK/etc/postfix" ;;
esac
case " $* " in
*" -c "* | *" -C "* | " demo "* | " help "* | " version "* | " migrate "* | " sendmail "*) exec "$DAWK" "$@" ;;
esac
exec "$DAWK" "$@" -c "$CONF"
`

// systemctl starts, stops and reloads the relay of the script.
const systemctl = `#!/bin/bash
set -eu
pid=$WORK/run/pid
start() {
	"$DAWK" serve -c "$CONF" >>"$WORK/relay.log" 2>&1 </dev/null &
	echo $! >"$pid"
	until "$DAWK" health -c "$CONF" >/dev/null 2>&1; do
		kill -0 "$(cat "$pid")" 2>/dev/null || { cat "$WORK/relay.log" >&2; exit 1; }
		read -rt 0.1 <> <(:) || :
	done
}
stop() {
	kill "$(cat "$pid")"
	while kill -0 "$(cat "$pid")" 2>/dev/null; do read -rt 0.1 <> <(:) || :; done
	rm "$pid"
}
case "$1" in
start | enable) start ;;
stop) stop ;;
restart) stop; start ;;
once) start; stop ;;
reload) "$DAWK" reload -c "$CONF" ;;
*) echo "systemctl $1: no such stand-in" >&2; exit 1 ;;
esac
`

// install makes files and directories, of whoever runs the test.
const install = `#!/bin/bash
args=()
while [ $# -gt 0 ]; do
	case $1 in
	-o | -g) shift ;;
	*) args+=("$1") ;;
	esac
	shift
done
exec /usr/bin/install "${args[@]}"
`

var absolute = regexp.MustCompile(`(^|[\s"'=:(])(/(?:etc|var|run|usr)/)`)

// places are what the pages name, and the variables that hold the script's own.
var places = map[string]string{"127.0.0.1:8025": "HTTP", "1RK3ZC8Q9D4-7ABC": "ID", "127.0.0.1:25": "SMTP1",
	"relay.example.org:587": "SMTP1", "relay.example.org:465": "SMTP2", "relay.example.org:25": "SMTP3"}

var shown = regexp.MustCompile(`1RK3ZC8Q9D4-7ABC|(?:127\.0\.0\.1|relay\.example\.org):\d+`)

// here is a text of a page with the places of the script.
func here(ts *testscript.TestScript, text string) string {
	text = strings.ReplaceAll(text, "/etc/dawk/dawk.toml", ts.Getenv("CONF"))
	text = regexp.MustCompile(`(?m)`+absolute.String()).ReplaceAllString(text, "${1}"+ts.Getenv("WORK")+"$2")
	return shown.ReplaceAllStringFunc(text, func(s string) string {
		if v := ts.Getenv(places[s]); v != "" {
			return v
		}
		return s
	})
}

// block runs the next block of commands of the page.
func (h *handbook) block(ts *testscript.TestScript, neg bool, args []string) {
	d := h.desk(ts)
	for ; d.next < len(d.page); d.next++ {
		if f := d.page[d.next]; f.unrun == "" && (f.lang == "sh" || f.lang == "console") {
			d.next++
			h.run(ts, f)
			return
		}
	}
	ts.Fatalf("the page has no more blocks of commands")
}

// blocks runs those that are left.
func (h *handbook) blocks(ts *testscript.TestScript, neg bool, args []string) {
	for d := h.desk(ts); slices.ContainsFunc(d.page[d.next:], func(f *fence) bool { return f.unrun == "" && (f.lang == "sh" || f.lang == "console") }); {
		h.block(ts, neg, args)
	}
}

func (h *handbook) run(ts *testscript.TestScript, f *fence) {
	file := ts.MkAbs("block.sh")
	ts.Check(os.WriteFile(file, []byte(here(ts, f.commands())), 0o600))
	err := ts.Exec("bash", "-euo", "pipefail", file)
	status := 0
	if exit, ok := err.(*exec.ExitError); ok {
		status = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if status != f.exits {
		ts.Fatalf("%s:%d: exit status %d, not %d:\n%s", f.page, f.line, status, f.exits, f.commands())
	}
	for _, re := range []*regexp.Regexp{idInAnswer, queuedAs} {
		if m := re.FindStringSubmatch(ts.ReadFile("stdout")); m != nil {
			ts.Setenv("ID", m[1])
		}
	}
	h.mu.Lock()
	f.ran = true
	h.mu.Unlock()
}

// toml writes a configuration of the page as dawk.toml: "toml 2" is the second of
// its blocks. Listeners get free ports and smart hosts the receivers' port; names are
// looked up in the script's DNS.
func (h *handbook) toml(ts *testscript.TestScript, _ bool, args []string) {
	n := 1
	if len(args) > 0 {
		_, err := fmt.Sscan(args[0], &n)
		ts.Check(err)
	}
	for _, f := range h.desk(ts).page {
		if f.lang != "toml" {
			continue
		}
		if n--; n == 0 {
			ts.Check(os.WriteFile(ts.MkAbs("dawk.toml"), []byte(sandboxed(ts, f.text)), 0o600))
			return
		}
	}
	ts.Fatalf("the page has no such configuration")
}

func sandboxed(ts *testscript.TestScript, text string) string {
	text = regexp.MustCompile(`(?m)^(address +=) "[^u"][^"]*"`).ReplaceAllString(text, `$1 "127.0.0.1:0"`)
	text = regexp.MustCompile(`(?m)^group +=.*\n`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`(?m)^(via +=.*?)(?::\d+)?"\]`).ReplaceAllString(text, `${1}:$$MXPORT"]`)
	if !regexp.MustCompile(`(?m)^data_dir`).MatchString(text) {
		text = "data_dir = \"/var/lib/dawk\"\n" + text
	}
	if !regexp.MustCompile(`(?m)^hostname`).MatchString(text) {
		text = "hostname = \"relay.example.org\"\n" + text
	}
	if !strings.Contains(text, "[[listener]]") { // the default has a port of its own
		text += "\n[[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\n"
	}
	for section, keys := range map[string]string{
		"[dns]":      "servers = [\"$DNS\"]\n",
		"[delivery]": "port = $MXPORT\nallow_networks = [\"127.0.0.0/8\"]\nca_file = \"" + ts.MkAbs("ca.pem") + "\"\n",
		"[limits]":   "max_message_size = \"1MiB\"\n",
		"[queue]":    "min_free = \"1MiB\"\n",
		"[http]":     "address = \"127.0.0.1:0\"\n",
		"[sendmail]": "socket = \"/run/dawk/submit.sock\"\ndrop = \"/var/spool/dawk/drop\"\n",
	} {
		before, after, found := strings.Cut(text, section+"\n")
		switch {
		case !found && section == "[sendmail]":
			text += "\n" + section + "\n" + keys + "senders = [\"@example.org\"]\n"
		case !found:
			text += "\n" + section + "\n" + keys
		case section != "[http]":
			text = before + section + "\n" + keys + after
		}
	}
	return here(ts, text)
}
