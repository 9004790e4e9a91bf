package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dawk/mx/mxtest"
	"dawk/queue"
	"dawk/queue/postgres/postgrestest"
	"dawk/relay/admin"
)

// cluster is several relays that work on one database at the same time, with clients that
// send all the while and write down what was acknowledged.
type cluster struct {
	t        *testing.T
	dsn      string
	receiver *mxtest.Server
	nodes    []*clusterNode

	next    atomic.Int64
	stop    context.CancelFunc
	clients sync.WaitGroup
}

type clusterNode struct {
	dir, smtp string
	relay     *process
	gone      bool // it is meant to have ended
	mu        sync.Mutex
	taken     []string // subjects of what it has acknowledged
}

func newCluster(t *testing.T, nodes int) *cluster {
	t.Helper()
	postgrestest.Need(t)
	c := &cluster{t: t, dsn: postgrestest.Start(t).DSN()}
	var err error
	if c.receiver, err = mxtest.NewServer(mxtest.Config{Hostname: "smart.test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.receiver.Close() })
	for range nodes {
		n := &clusterNode{dir: t.TempDir(), smtp: free(t)}
		c.nodes = append(c.nodes, n)
		c.configure(n)
		c.start(n)
		t.Cleanup(func() {
			n.relay.end(syscall.SIGTERM)
			if t.Failed() {
				t.Logf("%s:\n%s", n.dir, n.relay.log.text())
			}
		})
	}
	return c
}

func (c *cluster) configure(n *clusterNode) {
	c.t.Helper()
	text := fmt.Sprintf(`hostname = "relay.office.test"
data_dir = "data"
[http]
address = ""
[queue]
store = "postgres"
dsn_file = "dsn"
allow_async = true
retry = ["1s"]
[cluster]
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
connections = 4
`, n.smtp, c.receiver.Addr())
	for name, text := range map[string]string{"dawk.toml": text, "dsn": c.dsn + "\n"} {
		if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

// start starts a node, and waits until it takes mail.
func (c *cluster) start(n *clusterNode) {
	c.t.Helper()
	c.run(n)
	n.gone = false
	c.wait("a node that takes mail", func() bool { return c.send(n) == nil })
}

// wait waits for what happens sooner or later. As a service manager does, it starts a node again
// that the others thought dead, which a busy machine brings about.
func (c *cluster) wait(what string, f func() bool) {
	c.t.Helper()
	for late := time.Now().Add(patience); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			c.t.Fatalf("waited in vain for %s", what)
		}
		for _, n := range c.nodes {
			if n.relay == nil || n.gone {
				continue
			}
			select {
			case <-n.relay.exited:
				if code := n.relay.cmd.ProcessState.ExitCode(); code != replacedStatus {
					c.t.Fatalf("a node ended with %d:\n%s", code, n.relay.log.text())
				}
				c.run(n)
			default:
			}
		}
	}
}

// replacedStatus is how a node ends whose work others have taken.
const replacedStatus = 75

// command runs dawk for a node.
func (c *cluster) command(n *clusterNode, args ...string) (out []byte, code int) {
	c.t.Helper()
	link, err := program(n.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(link, append(args, "-c", filepath.Join(n.dir, "dawk.toml"))...)
	cmd.Dir = n.dir
	out, err = cmd.Output()
	if bad := (*exec.ExitError)(nil); err != nil && !errors.As(err, &bad) {
		c.t.Fatal(err)
	}
	return out, cmd.ProcessState.ExitCode()
}

// status is what a node says of all, with its exit status.
func (c *cluster) status(n *clusterNode) (s admin.Status, code int) {
	c.t.Helper()
	out, code := c.command(n, "status", "--json")
	if err := json.Unmarshal(out, &s); err != nil || s.Cluster == nil {
		c.t.Fatalf("%s: %v", out, err)
	}
	return s, code
}

func (c *cluster) run(n *clusterNode) {
	c.t.Helper()
	var err error
	if n.relay, err = startProgram(n.dir, "serve", "-c", filepath.Join(n.dir, "dawk.toml")); err != nil {
		c.t.Fatal(err)
	}
}

// send sends one message to a node. nil: it was acknowledged, and is written down.
func (c *cluster) send(n *clusterNode) error {
	nc, err := net.DialTimeout("tcp", n.smtp, time.Second)
	if err != nil {
		return err
	}
	nc.SetDeadline(time.Now().Add(patience))
	conn := textproto.NewConn(nc)
	defer conn.Close()
	subject := fmt.Sprintf("message-%d", c.next.Add(1))
	if _, _, err := conn.ReadResponse(220); err != nil {
		return err
	}
	for _, step := range []struct {
		code int
		line string
	}{{250, "HELO client.test"}, {250, "MAIL FROM:<a@office.test>"}, {250, "RCPT TO:<b@example.test>"}, {354, "DATA"}, {250, "Subject: " + subject + "\r\n\r\ntext\r\n."}} {
		if err := ask(conn, step.code, step.line); err != nil {
			return err
		}
	}
	n.mu.Lock()
	n.taken = append(n.taken, subject)
	n.mu.Unlock()
	return nil
}

// begin lets clients send to every node until end. Who is refused tries again.
func (c *cluster) begin() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for _, n := range c.nodes {
		for range 2 {
			c.clients.Go(func() {
				for ctx.Err() == nil {
					pause := 5 * time.Millisecond
					if c.send(n) != nil {
						pause = 100 * time.Millisecond
					}
					select {
					case <-ctx.Done():
					case <-time.After(pause):
					}
				}
			})
		}
	}
}

var subjectLine = regexp.MustCompile(`Subject: (message-\d+)`)

// arrived are the subjects that the receiver has, with how often.
func (c *cluster) arrived() map[string]int {
	all := make(map[string]int)
	for _, m := range c.receiver.Messages() {
		if s := subjectLine.FindSubmatch(m.Data); s != nil {
			all[string(s[1])]++
		}
	}
	return all
}

// missing is how many of what a node has acknowledged have not arrived.
func (c *cluster) missing(n *clusterNode) int {
	got, k := c.arrived(), 0
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.taken {
		if got[s] == 0 {
			k++
		}
	}
	return k
}

// end stops the clients, and waits until all that was acknowledged has arrived.
func (c *cluster) end() {
	c.t.Helper()
	c.stop()
	c.clients.Wait()
	taken := 0
	for i, n := range c.nodes {
		c.wait(fmt.Sprintf("what node %d has acknowledged", i+1), func() bool { return c.missing(n) == 0 })
		taken += len(n.taken)
	}
	repeats := 0
	for _, times := range c.arrived() {
		repeats += times - 1
	}
	c.t.Logf("%d acknowledged, none lost, %d repeated", taken, repeats)
	if taken == 0 {
		c.t.Error("nothing was sent")
	}
}

// operate: what an operator asks of one node reaches the one message that another has.
func (c *cluster) operate(asked, has *clusterNode) {
	c.t.Helper()
	for _, n := range c.nodes {
		c.wait("an empty queue", func() bool { return c.missing(n) == 0 })
	}
	if err := c.receiver.Script("mail", "451 4.3.0 not now", 0); err != nil {
		c.t.Fatal(err)
	}
	c.wait("a message", func() bool { return c.send(has) == nil })
	do := func(n *clusterNode, verb ...string) {
		c.t.Helper()
		if out, code := c.command(n, append([]string{"queue"}, verb...)...); code != 0 {
			c.t.Errorf("%v: %d\n%s", verb, code, out)
		}
	}
	listed := func(n *clusterNode, state string) func() bool {
		return func() bool {
			out, _ := c.command(n, "queue", "list", "--json")
			return state == "" && !bytes.Contains(out, []byte(`"state"`)) || state != "" && bytes.Contains(out, []byte(`"state":"`+state+`"`))
		}
	}
	const which = "to=b@example.test"
	do(asked, "hold", which)
	c.wait("the hold, where the message is", listed(has, "held"))
	c.wait("the hold, where it was asked for", listed(asked, "held"))
	do(asked, "release", which)
	c.wait("its release", func() bool { return listed(has, "deferred")() || listed(has, "ready")() })
	do(asked, "hold", which)
	c.receiver.ClearScript()
	do(asked, "delete", which)
	for _, n := range c.nodes {
		c.wait("its deletion", listed(n, ""))
	}
	do(asked, "undo")
	c.wait("that it is back", listed(has, "held"))
	do(has, "release", which) // the one that was asked has it now
	c.wait("the message", func() bool { return c.missing(has) == 0 })
}

// TestCluster: three nodes work at the same time. One is killed while mail waits in it, another
// stands still for so long that it is thought dead, and wakes. Nothing that was acknowledged
// is lost, and the mail of who is gone is delivered by the others. Together they never have more
// connections than the receiver takes. Then two of them are drained and started again, one after
// the other, while mail comes.
func TestCluster(t *testing.T) {
	c := newCluster(t, 3)
	c.wait("a third each, as each of them says", func() bool {
		for _, n := range c.nodes {
			s, code := c.status(n)
			nodes, parts := s.Cluster.Working()
			if nodes != 3 || parts < queue.Partitions/3 || code != 0 || !s.Cluster.Database.AllowAsync {
				return false
			}
		}
		return true
	})
	c.operate(c.nodes[2], c.nodes[0])
	c.begin()
	defer func() { c.stop(); c.clients.Wait() }()
	dead, still := c.nodes[0], c.nodes[1]

	if err := c.receiver.Script("mail", "451 4.3.0 not now", 0); err != nil {
		t.Fatal(err)
	}
	c.wait("mail that waits", func() bool { return c.missing(dead) > 20 })
	killed := time.Now()
	dead.gone = true
	if err := dead.relay.end(syscall.SIGKILL); err == nil {
		t.Error("it was not killed")
	}
	c.receiver.ClearScript()
	c.wait("the mail of the node that was killed", func() bool { return c.missing(dead) == 0 })
	t.Logf("the mail of the node that was killed has arrived after %v", time.Since(killed).Round(100*time.Millisecond))
	c.start(dead)
	// The connections of one that stands still stay open, and are not counted by the others.
	if n := c.receiver.MostAtOnce(); n > 4 {
		t.Errorf("%d connections at once to a host that takes 4", n)
	}

	if err := c.receiver.Script("mail", "451 4.3.0 not now", 0); err != nil {
		t.Fatal(err)
	}
	c.wait("mail that waits", func() bool { return c.missing(still) > 20 })
	if err := still.relay.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	still.gone = true
	c.receiver.ClearScript()
	// What a client was just told, and what is half way to the receiver, waits for the one that stands still.
	c.wait("the mail of the node that stands still", func() bool { return c.missing(still) == 0 })
	t.Logf("the mail of the node that stands still has arrived after %v", time.Since(stopped).Round(100*time.Millisecond))
	if err := still.relay.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-still.relay.exited // it may change nothing any more, and the service manager starts it again
	if code := still.relay.cmd.ProcessState.ExitCode(); code != replacedStatus {
		t.Errorf("it ended with %d", code)
	}
	c.start(still)

	for _, n := range c.nodes[:2] { // an upgrade, one after the other
		began := time.Now()
		n.gone = true
		if out, code := c.command(n, "drain"); code != 0 || !bytes.HasSuffix(out, []byte("0 deliveries are due, 0 stay for later\nthe relay has ended\n")) {
			t.Errorf("drain: %d\n%s", code, out)
		}
		<-n.relay.exited
		if code := n.relay.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("it was drained, and ended with %d", code)
		}
		t.Logf("a node was drained in %v", time.Since(began).Round(100*time.Millisecond))
		c.start(n)
	}
	c.end()
}
