package main_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dawk/mx/mxtest"
)

// lively is a relay with clients that send all the while: some connect for each
// message, some keep a connection.
type lively struct {
	t         *testing.T
	dir, conf string
	smtp      string         // where clients connect
	listens   string         // in the configuration
	one, two  *mxtest.Server // smart hosts
	relay     *process
	sent      atomic.Int64
	stops     bool // the relay may say 421 in the middle of a transaction
	moves     bool // a connection may be reset before the greeting
	stop      context.CancelFunc
	clients   sync.WaitGroup
}

func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newLively(t *testing.T) *lively {
	t.Helper()
	l := &lively{t: t, dir: t.TempDir(), smtp: free(t)}
	l.listens = l.smtp
	l.conf = filepath.Join(l.dir, "dawk.toml")
	for _, s := range []**mxtest.Server{&l.one, &l.two} {
		var err error
		if *s, err = mxtest.NewServer(mxtest.Config{Addr: "127.0.0.1:0", Hostname: "smart.test"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*s).Close() })
	}
	l.configure(l.one, "")
	var err error
	if l.relay, err = startProgram(l.dir, "serve", "-c", l.conf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.relay.end(syscall.SIGTERM); err != nil {
			t.Errorf("the relay ended: %v", err)
		}
		if t.Failed() {
			lines := strings.Split(l.relay.log.text(), "\n")
			t.Log(strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	l.wait("msg=ready")
	return l
}

func (l *lively) wait(what string) {
	l.t.Helper()
	if !l.relay.log.wait(literal(what), l.relay.exited) {
		l.t.Fatalf("the log never said %q:\n%s", what, l.relay.log.text())
	}
}

// configure writes a configuration whose mail goes to a smart host.
func (l *lively) configure(via *mxtest.Server, more string) {
	l.t.Helper()
	text := fmt.Sprintf(`hostname = "relay.office.test"
data_dir = "data"
[http]
address = ""
[queue]
min_free = "1MiB"
[sendmail]
socket = ""
drop = ""
[[listener]]
address = %q
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.0/8"]
[[route]]
name = "smart"
to = ["*"]
via = [%q]
tls = "off"
%s`, l.listens, via.Addr(), more)
	if err := os.WriteFile(l.conf, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// dawk runs a command.
func (l *lively) dawk(args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(l.dir, "dawk"), append([]string{"-c", l.conf}, args...)...).CombinedOutput()
	return string(out), err
}

// begin lets clients send until end.
func (l *lively) begin() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	for i := range 4 {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				if err := l.client(ctx, i%2 == 0); err != nil {
					l.t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
	}
}

// client sends one message, or many on its connection, until the server says 421
// between them.
func (l *lively) client(ctx context.Context, many bool) error {
	nc, err := net.Dial("tcp", l.smtp)
	if err != nil {
		return err
	}
	c := textproto.NewConn(nc)
	defer c.Close()
	if _, _, err = c.ReadResponse(220); l.moves && errors.Is(err, syscall.ECONNRESET) {
		return nil
	} else if err != nil {
		return fmt.Errorf("the greeting: %w", err)
	}
	if err := ask(c, 250, "HELO client.test"); err != nil {
		return closing(err)
	}
	for {
		if err := ask(c, 250, "MAIL FROM:<a@office.test>"); err != nil {
			return closing(err)
		}
		for _, step := range []struct {
			code int
			line string
		}{{250, "RCPT TO:<b@example.test>"}, {354, "DATA"}, {250, "Subject: x\r\n\r\ntext\r\n."}} {
			switch err := ask(c, step.code, step.line); {
			case err != nil && l.stops && closing(err) == nil:
				return nil // not answered with 250, and so sent again
			case err != nil:
				return fmt.Errorf("%s: %w", step.line, err)
			}
		}
		l.sent.Add(1)
		if !many || ctx.Err() != nil {
			return nil
		}
	}
}

func ask(c *textproto.Conn, code int, line string) error {
	if err := c.PrintfLine("%s", line); err != nil {
		return err
	}
	_, _, err := c.ReadResponse(code)
	return err
}

// closing is nil for a 421 between messages, which takes nothing back.
func closing(err error) error {
	var said *textproto.Error
	if errors.As(err, &said) && said.Code == 421 {
		return nil
	}
	return err
}

// end stops the clients, and waits until all they have sent has arrived, once.
func (l *lively) end() {
	l.t.Helper()
	l.stop()
	l.clients.Wait()
	want := int(l.sent.Load())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got := func() int { return len(l.one.Messages()) + len(l.two.Messages()) }
	for got() < want {
		if err := l.two.WaitUntil(ctx, func() bool { return true }); err != nil || ctx.Err() != nil {
			break
		}
		if _, err := l.dawk("queue", "retry", "--all"); err != nil {
			l.t.Fatal(err)
		}
	}
	if n := got(); n != want || want == 0 {
		l.t.Errorf("%d messages were accepted, %d arrived", want, n)
	}
}

// TestReloadWithClients changes nearly everything while clients send: nobody is
// refused, nothing is lost or sent twice, and no attempt is cut.
func TestReloadWithClients(t *testing.T) {
	l := newLively(t)
	l.begin()
	second := free(t)
	listener := "[[listener]]\naddress = \"" + second + "\"\ntls = \"off\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\n"
	// The attempts under way end at the host that they began with.
	if err := l.one.Script("dot", "delay 1500ms accept", 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := l.one.Wait(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		via, more := l.two, listener+fmt.Sprintf("[limits]\nmax_recipients = %d\n", 100+i)
		if i%2 == 1 {
			via, more = l.one, ""
		}
		l.configure(via, more)
		if out, err := l.dawk("reload"); err != nil {
			t.Fatalf("reload %d: %v\n%s", i, err, out)
		}
		_, err := net.Dial("tcp", second)
		if open := err == nil; open != (i%2 == 0) {
			t.Errorf("after reload %d the second listener: %v", i, err)
		}
	}
	l.takenPort(second)
	l.end()
	if len(l.two.Messages()) == 0 {
		t.Error("no mail went to the new smart host")
	}
}

// takenPort shows that a port which somebody else has refuses the whole reload.
func (l *lively) takenPort(address string) {
	l.t.Helper()
	other, err := net.Listen("tcp", address)
	if err != nil {
		l.t.Fatal(err)
	}
	defer other.Close()
	l.configure(l.two, "[[listener]]\naddress = \""+address+"\"\ntls = \"off\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\n[limits]\nmax_message_size = \"70KiB\"\n")
	out, err := l.dawk("reload")
	if err == nil || !strings.Contains(out, "address already in use") {
		l.t.Errorf("a port that is taken: %v\n%s", err, out)
	}
	nc, err := net.Dial("tcp", l.smtp)
	if err != nil {
		l.t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprint(nc, "EHLO client.test\r\nQUIT\r\n")
	var said strings.Builder
	for s := bufio.NewScanner(nc); s.Scan(); {
		said.WriteString(s.Text() + "\n")
	}
	if !strings.Contains(said.String(), "SIZE 52428800") {
		l.t.Errorf("after a refused reload:\n%s", said.String())
	}
}

// TestWidenListener puts a listener from one address on all and back while clients send: the old
// socket of ours is in the way of nothing. The new one is opened before the old one is closed, so
// nobody is refused; who was in line at the old one is reset before the greeting. A session goes on
// under the listener that has its address now.
func TestWidenListener(t *testing.T) {
	l := newLively(t)
	l.moves = true
	nc, err := net.Dial("tcp", l.smtp)
	if err != nil {
		t.Fatal(err)
	}
	session := textproto.NewConn(nc)
	defer session.Close()
	if _, _, err := session.ReadResponse(220); err != nil {
		t.Fatal(err)
	}
	if err := ask(session, 250, "HELO client.test"); err != nil {
		t.Fatal(err)
	}
	l.begin()
	_, port, _ := net.SplitHostPort(l.smtp)
	for i, host := range []string{"0.0.0.0", "127.0.0.1", "", "127.0.0.1"} {
		l.listens = host + ":" + port
		l.configure(l.one, "")
		if out, err := l.dawk("reload"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, address := range []string{"127.0.0.1:", "127.0.0.2:"} {
			nc, err := net.Dial("tcp", address+port)
			if err == nil {
				nc.Close()
			}
			if open := address == "127.0.0.1:" || i%2 == 0; (err == nil) != open {
				t.Errorf("on %s, at %s: %v", l.listens, address, err)
			}
		}
		for _, line := range []string{"MAIL FROM:<a@office.test>", "RSET"} {
			if err := ask(session, 250, line); err != nil {
				t.Fatalf("on %s, %s: %v", l.listens, line, err)
			}
		}
	}
	l.end()
}

func literal(s string) *regexp.Regexp { return regexp.MustCompile(regexp.QuoteMeta(s)) }

// TestHandOver runs the program anew in its process while clients send: the sockets
// stay open, and nobody is refused. A program that would not start changes nothing.
func TestHandOver(t *testing.T) {
	l := newLively(t)
	l.stops = true
	l.begin()
	for i := range 3 {
		if err := l.relay.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		l.waitTimes("msg=ready", i+2)
	}
	good, err := os.ReadFile(l.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.conf, []byte("hostname = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.relay.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	l.wait("nothing was handed over")
	if err := os.WriteFile(l.conf, good, 0o600); err != nil {
		t.Fatal(err)
	}
	l.end()
}

// waitTimes waits until the log has said something so many times.
func (l *lively) waitTimes(what string, times int) {
	l.t.Helper()
	re := regexp.MustCompile("(?s)" + strings.Repeat(regexp.QuoteMeta(what)+".*", times))
	if !l.relay.log.wait(re, l.relay.exited) {
		l.t.Fatalf("the log did not say %q %d times", what, times)
	}
}

// TestServiceManager plays systemd: the states come in order, and the watchdog is fed.
func TestServiceManager(t *testing.T) {
	at := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", at)
	t.Setenv("WATCHDOG_USEC", "200000")
	l := newLively(t)
	heard := make(chan string, 10_000)
	go func() { // always, as a service manager does
		defer close(heard)
		for b := make([]byte, 4096); ; {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			heard <- "\n" + string(b[:n]) + "\n"
		}
	}()
	expect := func(what string) {
		t.Helper()
		for limit := time.After(patience); ; {
			select {
			case state := <-heard:
				if strings.Contains(state, "\n"+what) {
					return
				}
				if strings.Contains(state, "\nSTOPPING=1\n") {
					t.Fatalf("it says that it stops, in place of %s", what)
				}
			case <-limit:
				t.Fatalf("no %s", what)
			}
		}
	}
	expect("READY=1\n")
	expect("WATCHDOG=1\n")
	expect("WATCHDOG=1\nSTATUS=0 deliveries wait")
	for _, hours := range []string{"1h", "x"} { // taken, then refused
		l.configure(l.one, "[bounce]\nheld_notice = \""+hours+"\"\n")
		if _, err := l.dawk("reload"); (err == nil) != (hours == "1h") {
			t.Errorf("reload with %s: %v", hours, err)
		}
		expect("RELOADING=1\nMONOTONIC_USEC=")
		expect("READY=1\n")
	}
	l.configure(l.one, "")
	if err := l.relay.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	expect("RELOADING=1\nMONOTONIC_USEC=") // after STOPPING=1 systemd would kill the new program
	expect("READY=1\n")
	if err := l.relay.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	expect("STOPPING=1\n")
}
