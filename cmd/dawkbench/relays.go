package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dawk/cmd/dawkbench/load"
)

// contender is a relay that can be started for a run.
type contender struct {
	name  string
	start func(ctx context.Context, dir string, listen int, sink string) (*running, error)
	relay bool // false: the source speaks to the sink, to show the limit of the tool
}

// running is a relay that takes mail.
type running struct {
	name  string
	dir   string
	addr  string
	roots []int  // of its processes
	group string // control group that has them all; "": the tree below the roots is all
	stop  func() error

	implicit bool // it speaks TLS from the first byte
}

// cpu is what all processes of a relay have used, in seconds.
func (r *running) cpu() (float64, error) {
	if r.group != "" {
		return groupCPU(r.group)
	}
	return usageOf(r.roots, false).cpu, nil
}

const (
	startTime = 20 * time.Second
	stopTime  = 20 * time.Second
)

// direct is no relay.
func direct() contender {
	return contender{name: "direct", start: func(_ context.Context, dir string, _ int, sink string) (*running, error) {
		return &running{name: "direct", dir: dir, addr: sink, stop: func() error { return nil }}, nil
	}}
}

// dawkConfig is the shipped defaults but for what the work needs: clients that
// are trusted because they are local, all from one address, and a smart host.
const dawkConfig = `hostname = "dawk.bench.test"
data_dir = "data"

[[listener]]
address = "127.0.0.1:%d"
tls = "%s"
auth = "%s"
trusted_networks = ["127.0.0.0/8"]

[limits]
max_connections = %d
max_connections_per_ip = 0
max_message_size = "100MiB"

[queue]
retry = ["1s"]

[http]
address = "%s"

[[route]]
to = ["dead.bench.test"]
via = ["127.0.0.1:9"]
`

// Where the mail goes: to one smart host, or to each domain's MX host.
const (
	dawkSmartHost = `
[[route]]
to = ["*"]
via = ["%s"]
`
	dawkByMX = `
[dns]
servers = ["%s"]

[delivery]
port = %s
allow_networks = ["127.0.0.0/8"]
tls = "off"
`
)

func dawk(name, program string, w *work) contender {
	return contender{name: name, relay: true, start: func(ctx context.Context, dir string, listen int, sink string) (*running, error) {
		security, auth := "off", "off"
		if w.TLS != "" {
			security = w.TLS
		}
		if w.user != "" {
			auth = "optional"
		}
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		config := fmt.Sprintf(dawkConfig, listen, security, auth, load.MaxClients, "127.0.0.1:"+strconv.Itoa(port))
		if _, sinkPort, err := net.SplitHostPort(sink); w.ByMX && err == nil {
			config += fmt.Sprintf(dawkByMX, w.names, sinkPort)
			if w.Connections > 0 {
				config += fmt.Sprintf("connections_per_provider = %d\n", w.Connections)
			}
		} else {
			config += fmt.Sprintf(dawkSmartHost, sink)
		}
		file := filepath.Join(dir, "dawk.toml")
		if w.user != "" {
			config += "\n[users]\nfile = \"users.toml\"\n"
		}
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			return nil, err
		}
		if w.user != "" {
			add := exec.CommandContext(ctx, program, "user", "add", w.user, "-c", file)
			add.Stdin = strings.NewReader(w.password + "\n")
			if out, err := add.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("dawk user add: %w: %s", err, out)
			}
		}
		return startProgram(ctx, launch{name, dir, listen, w.TLS == "implicit", nil}, program, "serve", "-c", file)
	}}
}

// other is a relay that we know nothing about: a program that runs in the
// foreground until SIGTERM and obeys three variables.
func other(name, path string) contender {
	c := program(name, path)
	c.relay = true
	return c
}

// program is a contender that is started so, and not compared.
func program(name string, argv ...string) contender {
	return contender{name: name, start: func(ctx context.Context, dir string, listen int, sink string) (*running, error) {
		env := []string{"DAWKBENCH_DIR=" + dir, "DAWKBENCH_LISTEN=127.0.0.1:" + strconv.Itoa(listen), "DAWKBENCH_SINK=" + sink}
		return startProgram(ctx, launch{name, dir, listen, false, env}, argv...)
	}}
}

// launch is what a program is started with.
type launch struct {
	name     string
	dir      string
	port     int
	implicit bool // it speaks TLS from the first byte
	env      []string
}

func startProgram(ctx context.Context, p launch, argv ...string) (*running, error) {
	log, err := os.Create(filepath.Join(p.dir, "output"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.Env = append(os.Environ(), p.env...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	r := &running{name: p.name, dir: p.dir, addr: "127.0.0.1:" + strconv.Itoa(p.port), implicit: p.implicit, roots: []int{cmd.Process.Pid}}
	r.stop = func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		select {
		case <-done:
			return nil
		case <-time.After(stopTime):
			return errors.Join(fmt.Errorf("%s did not stop in %v", p.name, stopTime), cmd.Process.Kill())
		}
	}
	return r, r.greeted(ctx)
}

// greeted waits for the relay's greeting; it stops a relay that gives none.
func (r *running) greeted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for ctx.Err() == nil {
		if greets(r.addr, r.implicit) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(r.dir, "output")) // best effort: it is for the report
	return errors.Join(fmt.Errorf("%s does not greet on %s: %s", r.name, r.addr, lastLines(log, 5)), r.stop())
}

func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

func greets(addr string, implicit bool) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	if implicit {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // loopback: nobody stands between
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second)) // a failure shows at the read
	b := make([]byte, 4)
	n, _ := c.Read(b)
	return n >= 3 && string(b[:3]) == "220"
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Postfix as its authors ship it, but for the work: a smart host on loopback,
// no address lookups there, clients all from one address. in_flow_delay = 0
// takes off its brake on acceptance. Without a syslog daemon it writes no log,
// which spares it what the others pay for theirs.
const postfixMain = `compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
myhostname = postfix.bench.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
relayhost = [127.0.0.1]:SINK
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_recipient_limit = 1000
message_size_limit = 104857600
mailbox_size_limit = 0
in_flow_delay = 0
minimal_backoff_time = 1s
queue_run_delay = 1s
`

const postfixMaster = `127.0.0.1:PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
`

func postfix(program string, extra []string, w *work) contender {
	return contender{name: "postfix", relay: true, start: func(ctx context.Context, dir string, listen int, sink string) (*running, error) {
		if err := configurePostfix(dir, listen, sink, extra); err != nil {
			return nil, fmt.Errorf("postfix: %w", err)
		}
		endLogins, err := securePostfix(dir, w)
		if err != nil {
			return nil, fmt.Errorf("postfix: %w", err)
		}
		conf := filepath.Join(dir, "conf")
		if out, err := exec.CommandContext(ctx, program, "-c", conf, "start").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("postfix start: %w: %s", err, out)
		}
		r := &running{name: "postfix", dir: dir, addr: "127.0.0.1:" + strconv.Itoa(listen), implicit: w.TLS == "implicit"}
		r.stop = func() error {
			endLogins()
			if out, err := exec.Command(program, "-c", conf, "stop").CombinedOutput(); err != nil {
				return fmt.Errorf("postfix stop: %w: %s", err, out)
			}
			return nil
		}
		if err := r.greeted(ctx); err != nil {
			return nil, err
		}
		b, err := os.ReadFile(filepath.Join(dir, "queue/pid/master.pid"))
		if err != nil {
			return nil, errors.Join(err, r.stop())
		}
		master, err := strconv.Atoi(string(bytes.TrimSpace(b)))
		r.roots = []int{master}
		return r, err
	}}
}

func configurePostfix(dir string, listen int, sink string, extra []string) error {
	for _, d := range []string{"conf", "queue", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	if err := os.Chown(filepath.Join(dir, "data"), uid, -1); err != nil {
		return err
	}
	_, sinkPort, err := net.SplitHostPort(sink)
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("DIR", dir, "PORT", strconv.Itoa(listen), "SINK", sinkPort)
	text := fill.Replace(postfixMain) + strings.Join(extra, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "conf/main.cf"), []byte(text), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "conf/master.cf"), []byte(fill.Replace(postfixMaster)), 0o644)
}
