package main_test

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dawk/mx/mxtest"
	"dawk/relay/identity"
)

// neighbours is the real program with the users eve and alice, and a receiver
// for b.test. Listeners: 0 for logins.
type neighbours struct {
	*testing.T
	*process
	smtp, http string
	port       int
	mx         *mxtest.Server
}

func withNeighbours(t *testing.T, slots int) *neighbours {
	t.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 4000 {
		t.Skipf("only %d open files are allowed here", files.Cur)
	}
	password, err := identity.HashPassword("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	dns, err := mxtest.NewDNS("b.test. MX 10 mx.test.\nmx.test. A 127.0.0.1\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	n := &neighbours{T: t}
	if n.mx, err = mxtest.NewServer(mxtest.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.mx.Close() })
	_, port, _ := net.SplitHostPort(n.mx.Addr())
	var users strings.Builder
	for _, name := range []string{"eve", "alice"} {
		fmt.Fprintf(&users, "[[user]]\nname = %q\npassword = %q\n", name, password)
	}
	p, addrs := running(t, fmt.Sprintf(`hostname = "relay.test"
data_dir = "data"
[dns]
servers = [%q]
[queue]
min_free = "1MiB"
[users]
file = "users.toml"
[limits]
max_connections_per_ip = 50
[[listener]]
address = "127.0.0.1:0"
tls = "off"
[delivery]
port = %s
allow_networks = ["127.0.0.0/8"]
max_connections = %d
[http]
address = "127.0.0.1:0"
`, dns.Addr(), port, slots), users.String())
	n.process, n.smtp, n.http = p, addrs[0], addrs[1]
	if _, err := fmt.Sscan(port, &n.port); err != nil {
		t.Fatal(err)
	}
	return n
}

// sends hands in a message as a user.
func (n *neighbours) sends(user string, to ...string) {
	n.Helper()
	reply, err := submit(n.smtp, "", user, "correct horse battery", user+"@a.test", to, "Subject: x\r\n\r\nx\r\n")
	if err != nil || !queuedAs.MatchString(reply) {
		n.Fatalf("%s: %q, %v", user, reply, err)
	}
}

// delivered waits until the receiver of b.test has that many messages.
func (n *neighbours) delivered(count int) {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), patience)
	defer cancel()
	if got, err := n.mx.Wait(ctx, count); err != nil {
		n.Fatalf("%d messages of alice arrived, not %d: %v", len(got), count, err)
	}
}

// silentHosts accept connections and say nothing. Each is in a /24 of its own,
// which makes each a provider of its own.
func (n *neighbours) silentHosts(count int) (to []string) {
	n.Helper()
	var all sync.WaitGroup
	for i := range count {
		ip := fmt.Sprintf("127.%d.%d.7", 1+i/250, 1+i%250)
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, n.port))
		if err != nil {
			n.Fatal(err)
		}
		all.Go(func() {
			var held []net.Conn
			for {
				c, err := l.Accept()
				if err != nil {
					break
				}
				held = append(held, c)
			}
			for _, c := range held {
				c.Close()
			}
		})
		n.Cleanup(func() { l.Close() })
		to = append(to, fmt.Sprintf("x@[%s]", ip))
	}
	n.Cleanup(func() { n.end(syscall.SIGKILL) })
	return to
}

// One message for 600 hosts that say nothing stops nobody: others' mail goes out
// before the first of those attempts ends, or gives its slot up after 30 s, with
// few slots as with many.
func TestSilentHostsStopNobody(t *testing.T) {
	for _, slots := range []int{8, 500} {
		t.Run(fmt.Sprintf("%d slots", slots), func(t *testing.T) {
			n := withNeighbours(t, slots)
			n.sends("eve", n.silentHosts(600)...)
			deadline := time.Now().Add(patience)
			busy := regexp.MustCompile(fmt.Sprintf(`(?m)^dawk_delivery_slots\{state="used"\} %d$`, min(7, slots-1)))
			if slots > 8 {
				busy = regexp.MustCompile(`(?m)^dawk_delivery_slots\{state="used"\} [2-4]\d\d$`)
			}
			for !busy.MatchString(n.metrics()) {
				if time.Now().After(deadline) {
					t.Fatalf("the attempts at the silent hosts did not begin:\n%s", slotLines(n.metrics()))
				}
				time.Sleep(10 * time.Millisecond)
			}
			for i := range 10 {
				n.sends("alice", "y@b.test")
				n.delivered(i + 1)
			}
			page := n.metrics()
			if !strings.Contains(page, `dawk_delivery_slots{state="given_up"} 0`) || strings.Contains(n.log.text(), "msg=delayed") {
				t.Errorf("alice's mail had to wait for the silent hosts:\n%s", slotLines(page))
			}
		})
	}
}

func slotLines(page string) string {
	return strings.Join(regexp.MustCompile(`(?m)^dawk_delivery_slots.*$`).FindAllString(page, -1), "\n")
}

func (n *neighbours) metrics() string {
	n.Helper()
	return (&httpTarget{T: n.T, scheme: "http", addr: n.http}).get("/metrics")
}

// A program of this machine guesses at passwords and holds idle connections, more
// than one address may have: another program logs in and sends as before.
func TestLocalProgramLocksOutNobody(t *testing.T) {
	n := withNeighbours(t, 500)
	for range 100 {
		c, err := net.Dial("tcp", n.smtp)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	var guesses sync.WaitGroup
	for range 30 {
		guesses.Go(func() {
			if _, err := submit(n.smtp, "", "eve", "wrong", "eve@a.test", []string{"y@b.test"}, "\r\n"); err == nil {
				t.Error("a wrong password was taken")
			}
		})
	}
	n.log.wait(regexp.MustCompile(`msg="login failed"`), n.exited)
	for i := range 10 {
		n.sends("alice", "y@b.test")
		n.delivered(i + 1)
	}
	n.end(syscall.SIGKILL) // the guesses wait for their answers
	guesses.Wait()
}
