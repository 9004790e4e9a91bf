package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestSyncsOfAMessage watches the real program's system calls: between the
// last octet of a message and its 250 lies exactly one sync, of the journal.
// None would be a lie, more would be slow, and nothing else may be synced on the
// way. The reserve, which is written a second after the start, is on nobody's
// way; a checkpoint, which syncs the queue file, comes now and then.
func TestSyncsOfAMessage(t *testing.T) {
	if out, err := exec.Command("strace", "-e", "trace=none", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot be used here: %v %s", err, out)
	}
	const messages = 10
	dir := t.TempDir()
	err := os.WriteFile(filepath.Join(dir, "dawk.toml"), []byte(`hostname = "relay.test"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.1/32"]
[queue]
min_free = "1MiB"
[limits]
max_message_size = "1MiB"
[http]
address = ""
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link, trace := filepath.Join(dir, "dawk"), filepath.Join(dir, "trace")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	// -D: the process is the relay; its output ends when the trace is written.
	p, err := startProcess(dir, "strace", "-D", "-f", "-y", "-qq", "-o", trace, "-e", "signal=none",
		"-e", "trace=fsync,fdatasync,msync,sync_file_range,sync,syncfs,write", link, "serve", "-c", "dawk.toml")
	if err != nil {
		t.Fatal(err)
	}
	defer p.end(syscall.SIGKILL)
	if !p.log.wait(regexp.MustCompile(`msg=ready`), p.exited) {
		t.Fatalf("it never got ready:\n%s", p.log.text())
	}
	c, r := greeted(t, listening.FindStringSubmatch(p.log.text())[1])
	defer c.Close()
	talk(t, c, r, "EHLO client.test\r\n", "250 ")
	for range messages { // HOLDFOR: no attempt, so that nothing but acceptance is written
		talk(t, c, r, "MAIL FROM:<a@office.test> HOLDFOR=3600\r\nRCPT TO:<b@example.test>\r\nDATA\r\n", "354 ")
		talk(t, c, r, "Subject: one\r\n\r\nx\r\n.\r\n", "250 2.0.0 queued")
	}
	talk(t, c, r, "QUIT\r\n", "221 ")
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Fatalf("it did not stop well: %v\n%s", err, p.log.text())
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	var each []int // syncs between the replies to MAIL, RCPT and DATA, which are one write, and that to the content
	syncs := 0
	for line := range strings.SplitSeq(string(b), "\n") {
		switch call := strings.TrimLeft(line, "0123456789 "); {
		case strings.Contains(call, `, "250 2.1.0 `):
			syncs = 0
		case strings.Contains(call, `, "250 2.0.0 queued`):
			each = append(each, syncs)
		case !strings.HasPrefix(call, "write(") && !strings.HasPrefix(call, "<... ") && !strings.Contains(call, "/data/reserve>") && !strings.Contains(call, "/data/queue.db>"):
			syncs++
		}
	}
	if len(each) != messages {
		t.Fatalf("%d messages in the trace, want %d:\n%s", len(each), messages, b)
	}
	for i, n := range each {
		if n != 1 {
			t.Errorf("message %d: %d syncs before 250, want that of the journal", i+1, n)
		}
	}
}
