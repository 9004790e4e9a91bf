package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dawk/mx/mxtest"
)

// Commands of the end-to-end scripts that need a running relay and the world
// around it. A script has one relay, one DNS server and any number of
// receivers, which listen on the same port of different loopback addresses, as
// MX hosts do.
//
//	dns start FILE | add FILE | remove NAME TYPE          sets $DNS
//	dns fault NAME TYPE FAULT | authentic on|off
//	mx start NAME [IP] | stop NAME                        sets $MXPORT
//	mx lmtp NAME SOCKET                                   an LMTP server on a unix socket
//	mx script NAME MATCH ACTION TIMES                     see mxtest.Server.Script
//	mx clear NAME                                         ends its scripts
//	mx offer NAME EXTENSION…                              what its EHLO offers from now on
//	mx commands NAME                                      what it was told, to stdout
//	mx wait NAME N | count NAME N | message NAME I FILE | envelope NAME I | client NAME I
//	[!] relay start | stop | ended | kill | hangup | wait REGEXP | log FILE
//	config                                                sets $CONF, see below
//	idle open | expect REPLY                              a client that says nothing
//	cmpcrlf WANT GOT                                      GOT ends with WANT's lines, with CRLF
//	fetch URL FILE
//	json COMMAND | all but COMMAND                                    see script_json_test.go
//	[!] dkimverify FILE                                   see script_dkim_test.go
//	tls ca|mx|tlsa|policy …                               see script_tls_test.go
//	smtp FILE [ADDR]                                      a dialogue, see script_smtp_test.go
//	postgres start                                        writes dsn; skip without [postgres]
//	hidden                                                sets $TURN, $STEER and $HIDDEN
//	send [flags] FROM TO FILE [ADDR]                      sets $ID; see script_smtp_test.go
//
// relay start reads dawk.toml, replaces $DNS, $MXPORT and the like in it, and
// leaves the result in $CONF. It sets $SMTP1, $SMTP2 … to the listeners'
// addresses in their order, $SMTP to the first, and $HTTP.
func relayCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"dns": func(ts *testscript.TestScript, neg bool, args []string) { worldOf(ts).dnsCommand(neg, args) },
		"mx":  func(ts *testscript.TestScript, neg bool, args []string) { worldOf(ts).mxCommand(neg, args) },
		"relay": func(ts *testscript.TestScript, neg bool, args []string) {
			worldOf(ts).relayCommand(neg, args)
		},
		"config":  func(ts *testscript.TestScript, _ bool, _ []string) { worldOf(ts).config() },
		"idle":    func(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).idleCommand(args) },
		"cmpcrlf": cmpcrlfCommand,
		"fetch":   fetchCommand,
		"json":    jsonCommand,

		"dkimverify": dkimVerifyCommand,
		"tls":        tlsCommand,
		"smtp":       smtpCommand,
		"hidden":     hiddenCommand,
		"postgres":   postgresCommand,
		"send":       sendCommand,
		"hook":       hookCommand,
		"sm":         smCommand,
		"api":        apiCommand,
		"usertoken":  userTokenCommand,
		"admintoken": adminTokenCommand,
	}
}

// patience is how long a script waits for what must happen. It bounds a hang;
// nothing is measured by it, and a slow machine may need most of it.
const patience = 2 * time.Minute

// world is what one script has running.
type world struct {
	hook  *hookWorld // nil: no receiver of webhooks
	ts    *testscript.TestScript
	dns   *mxtest.DNS
	mx    map[string]*mxtest.Server
	port  int
	relay *process
	idle  net.Conn
	page  *jsonPage
}

var worlds sync.Map // *testscript.TestScript → *world

func worldOf(ts *testscript.TestScript) *world {
	w := &world{ts: ts, mx: map[string]*mxtest.Server{}}
	if old, ok := worlds.LoadOrStore(ts, w); ok {
		return old.(*world)
	}
	ts.Defer(func() {
		worlds.Delete(ts)
		if w.relay != nil {
			w.relay.end(syscall.SIGKILL)
		}
		for _, s := range w.mx {
			s.Close()
		}
		if w.dns != nil {
			w.dns.Close()
		}
	})
	return w
}

func (w *world) need(args []string, n int, usage string) {
	if len(args) < n {
		w.ts.Fatalf("usage: %s", usage)
	}
}

func (w *world) dnsCommand(_ bool, args []string) {
	w.need(args, 2, "dns start|add FILE | remove NAME TYPE | fault NAME TYPE FAULT | authentic on|off")
	var err error
	switch args[0] {
	case "start":
		if w.dns, err = mxtest.NewDNS(w.ts.ReadFile(args[1])); err == nil {
			w.ts.Setenv("DNS", w.dns.Addr())
		}
	case "add":
		err = w.dns.Add(w.ts.ReadFile(args[1]))
	case "remove":
		w.need(args, 3, "dns remove NAME TYPE")
		w.dns.Remove(args[1], args[2])
	case "fault":
		w.need(args, 4, "dns fault NAME TYPE FAULT")
		w.dns.Fault(args[1], args[2], mxtest.Fault(args[3]))
	case "authentic":
		w.dns.Authentic(args[1] == "on")
	default:
		w.ts.Fatalf("dns %s: no such command", args[0])
	}
	w.ts.Check(err)
}

func (w *world) mxCommand(_ bool, args []string) {
	w.need(args, 2, "mx start|stop|script|wait|count|most|message|envelope NAME …")
	switch args[0] {
	case "start":
		w.startMX(args[1:])
		return
	case "lmtp":
		w.need(args, 3, "mx lmtp NAME SOCKET")
		s, err := mxtest.NewServer(mxtest.Config{Addr: "unix:" + w.ts.MkAbs(args[2]), Hostname: args[1] + ".test", LMTP: true})
		w.ts.Check(err)
		w.mx[args[1]] = s
		return
	}
	s := w.mx[args[1]]
	if s == nil {
		w.ts.Fatalf("there is no receiver %q", args[1])
	}
	n, rest := 0, args[2:]
	number := func() int {
		w.need(rest, 1, "mx "+args[0]+" NAME N")
		if _, err := fmt.Sscan(rest[0], &n); err != nil {
			w.ts.Fatalf("%q is not a number", rest[0])
		}
		return n
	}
	switch args[0] {
	case "stop":
		w.ts.Check(s.Close())
	case "clear":
		s.ClearScript()
	case "offer":
		s.SetExtensions(rest...)
	case "commands":
		fmt.Fprintln(w.ts.Stdout(), strings.Join(s.Commands(), "\n"))
	case "script":
		w.need(rest, 3, "mx script NAME MATCH ACTION TIMES")
		match, act := rest[0], rest[1]
		rest = rest[2:]
		w.ts.Check(s.Script(match, act, number()))
	case "wait":
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if got, err := s.Wait(ctx, number()); err != nil {
			w.ts.Fatalf("receiver %s got %d messages, not %d: %v\n%s", args[1], len(got), n, err, strings.Join(s.Commands(), "\n"))
		}
	case "heard": // a command, so many times in all
		verb := rest[0]
		rest = rest[1:]
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.WaitCommand(ctx, verb, number()); err != nil {
			w.ts.Fatalf("receiver %s did not hear %s: %v\n%s", args[1], verb, err, strings.Join(s.Commands(), "\n"))
		}
	case "count":
		if got := len(s.Messages()); got != number() {
			w.ts.Fatalf("receiver %s got %d messages, not %d", args[1], got, n)
		}
	case "most": // connections at once, so far
		if got := s.MostAtOnce(); got > number() {
			w.ts.Fatalf("receiver %s had %d connections at once, more than %d", args[1], got, n)
		}
	case "message":
		m := w.received(s, number())
		w.need(rest, 2, "mx message NAME I FILE")
		w.ts.Check(os.WriteFile(w.ts.MkAbs(rest[1]), m.Data, 0o600))
	case "envelope":
		m := w.received(s, number())
		fmt.Fprintf(w.ts.Stdout(), "MAIL FROM:<%s> %s\n", m.From, m.MailParams)
		for _, r := range m.Recipients {
			fmt.Fprintf(w.ts.Stdout(), "RCPT TO:<%s> %s\n", r.Path, r.Params)
		}
	case "client":
		m := w.received(s, number())
		fmt.Fprintf(w.ts.Stdout(), "%s EHLO %s\n", m.Client, m.HELO)
	default:
		w.ts.Fatalf("mx %s: no such command", args[0])
	}
}

func (w *world) received(s *mxtest.Server, i int) mxtest.Message {
	all := s.Messages()
	if i < 1 || i > len(all) {
		w.ts.Fatalf("there is no message %d: the receiver has %d", i, len(all))
	}
	return all[i-1]
}

func (w *world) startMX(args []string) {
	ip := "127.0.0.1"
	if len(args) > 1 {
		ip = args[1]
	}
	s, err := mxtest.NewServer(mxtest.Config{Addr: net.JoinHostPort(ip, fmt.Sprint(w.port)), Hostname: args[0] + ".test"})
	w.ts.Check(err)
	w.mx[args[0]], w.port = s, s.Port()
	w.ts.Setenv("MXPORT", fmt.Sprint(w.port))
}

func (w *world) relayCommand(neg bool, args []string) {
	w.need(args, 1, "relay start|stop|kill|wait|log")
	if args[0] != "start" && w.relay == nil {
		w.ts.Fatalf("no relay was started")
	}
	switch args[0] {
	case "start":
		w.startRelay(neg)
	case "stop":
		if err := w.relay.end(syscall.SIGTERM); err != nil {
			w.ts.Fatalf("the relay did not stop well: %v\n%s", err, w.relay.log.text())
		}
	case "ended": // by itself
		<-w.relay.exited
		if w.relay.err != nil {
			w.ts.Fatalf("the relay ended badly: %v\n%s", w.relay.err, w.relay.log.text())
		}
	case "kill":
		_ = w.relay.end(syscall.SIGKILL)
	case "hangup":
		w.ts.Check(w.relay.cmd.Process.Signal(syscall.SIGHUP))
	case "wait":
		w.need(args, 2, "relay wait REGEXP")
		if !w.relay.log.wait(regexp.MustCompile(args[1]), w.relay.exited) {
			w.ts.Fatalf("the log never said %q:\n%s", args[1], w.relay.log.text())
		}
	case "log":
		w.need(args, 2, "relay log FILE")
		w.ts.Check(os.WriteFile(w.ts.MkAbs(args[1]), []byte(w.relay.log.text()), 0o600))
	default:
		w.ts.Fatalf("relay %s: no such command", args[0])
	}
}

var listening = regexp.MustCompile(`msg=listening address=(\S+) (for=)?`)

func (w *world) config() string {
	text := os.Expand(w.ts.ReadFile("dawk.toml"), w.ts.Getenv)
	conf := w.ts.MkAbs("relay.toml")
	w.ts.Check(os.WriteFile(conf, []byte(text), 0o600))
	w.ts.Setenv("CONF", conf)
	return conf
}

func (w *world) startRelay(neg bool) {
	conf := w.config()
	p, err := startProcess(w.ts.MkAbs("."), "dawk", "serve", "-c", conf)
	w.ts.Check(err)
	w.relay = p
	ready := p.log.wait(regexp.MustCompile(`msg"?[=:]"?ready`), p.exited)
	if ready == neg {
		w.ts.Fatalf("relay start: ready is %v:\n%s", ready, p.log.text())
	}
	fmt.Fprint(w.ts.Stderr(), p.log.text())
	n := 0
	for _, m := range listening.FindAllStringSubmatch(p.log.text(), -1) {
		if m[2] != "" {
			w.ts.Setenv("HTTP", m[1])
			continue
		}
		if n++; n == 1 {
			w.ts.Setenv("SMTP", m[1])
		}
		w.ts.Setenv(fmt.Sprintf("SMTP%d", n), m[1])
	}
}

// idleCommand is a client that connects, and hears what the server has to say.
func (w *world) idleCommand(args []string) {
	w.need(args, 1, "idle open | expect REPLY")
	var err error
	if args[0] == "open" {
		w.idle, err = net.Dial("tcp", w.ts.Getenv("SMTP"))
		w.ts.Check(err)
		w.ts.Defer(func() { w.idle.Close() })
		// Until the greeting the server may not know of it.
		_ = w.idle.SetDeadline(time.Now().Add(patience))
		_, err = w.idle.Read(make([]byte, 512))
		w.ts.Check(err)
		return
	}
	_ = w.idle.SetDeadline(time.Now().Add(patience))
	said, err := io.ReadAll(w.idle)
	w.ts.Check(err)
	lines := strings.Split(strings.TrimSpace(string(said)), "\r\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, args[1]) {
		w.ts.Fatalf("the idle client heard %q last", last)
	}
}

// cmpcrlfCommand: what arrived is what was sent, behind the fields that the
// relay put before it.
func cmpcrlfCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: cmpcrlf WANT GOT")
	}
	want := strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n")
	if got := ts.ReadFile(args[1]); !strings.HasSuffix(got, "\r\n"+want) {
		ts.Fatalf("%s does not end with %s:\n%q\n%q", args[1], args[0], got, want)
	}
}

func fetchCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: fetch URL FILE")
	}
	r, err := http.Get(args[0])
	ts.Check(err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), r.Status)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), body, 0o600))
}

// process is a program that runs beside the script.
type process struct {
	cmd    *exec.Cmd
	log    *logBuffer
	exited chan struct{}
	err    error
}

// startProgram runs dawk outside of a script.
func startProgram(dir string, args ...string) (*process, error) {
	link, err := program(dir)
	if err != nil {
		return nil, err
	}
	return startProcess(dir, link, args...)
}

// program is dawk, in dir: TestMain takes the name for it.
func program(dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	link := filepath.Join(dir, "dawk")
	if err := os.Symlink(self, link); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return link, nil
}

func startProcess(dir, name string, args ...string) (*process, error) {
	log := &logBuffer{changed: make(chan struct{})}
	p, err := startWriting(log, dir, name, args...)
	if err == nil {
		p.log = log
	}
	return p, err
}

// startWriting starts a process that writes to out; it has no log.
func startWriting(out io.Writer, dir, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stderr, p.cmd.Stdout = dir, out, out
	p.cmd.Cancel = nil
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// end signals the process and waits until it has gone.
func (p *process) end(s syscall.Signal) error {
	_ = p.cmd.Process.Signal(s) // it may have ended already
	select {
	case <-p.exited:
		return p.err
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("it still ran %s after %v", patience, s)
	}
}

// logBuffer keeps what a process writes, and wakes who waits for a line.
type logBuffer struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.buf.Write(p)
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// wait says whether the log comes to match before the process ends.
func (l *logBuffer) wait(re *regexp.Regexp, exited <-chan struct{}) bool {
	return l.waitFor(re, exited, patience)
}

func (l *logBuffer) waitFor(re *regexp.Regexp, exited <-chan struct{}, patience time.Duration) bool {
	limit := time.After(patience)
	for ended := false; ; {
		l.mu.Lock()
		found, changed := re.Match(l.buf.Bytes()), l.changed
		l.mu.Unlock()
		if found || ended {
			return found
		}
		select {
		case <-changed:
		case <-exited:
			ended = true // one more look at what it wrote last
		case <-limit:
			return false
		}
	}
}
