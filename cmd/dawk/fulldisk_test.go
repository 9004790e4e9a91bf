package main_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dawk/mx/mxtest"
	"dawk/queue/queuetest"
)

// TestFullDiskHeals runs the program on small file systems until they are full,
// of mail or of somebody's file, and again from a start on a full one. Once there
// is room, or the receiver takes its mail, all that was acknowledged is delivered,
// and mail is taken again, without a restart. It prints how long that takes. On a machine
// that does nothing else, which DAWK_TIMED says, it is at most 60 and 30 seconds.
// DAWK_FULL_DISKS=all also fills the larger ones, which takes minutes.
func TestFullDiskHeals(t *testing.T) {
	if testing.Short() {
		t.Skip("fills disks")
	}
	for _, fs := range []struct {
		kind string
		size int64 // MiB
	}{{"tmpfs", 40}, {"tmpfs", 200}, {"ext4", 300}, {"xfs", 300}, {"btrfs", 300}} {
		for name, scenario := range map[string]func(*smallDisk){
			"mail": (*smallDisk).fullOfMail, "others": (*smallDisk).fullOfOthers, "start": (*smallDisk).startWhenFull,
			"file size": (*smallDisk).overFileSize, "quota": (*smallDisk).overQuota,
		} {
			if (name == "quota") != (fs.kind == "btrfs") { // the one whose quota kernels have, and binds root
				continue
			}
			if fs.size > 40 && (name == "mail" || name == "file size") && os.Getenv("DAWK_FULL_DISKS") != "all" {
				continue
			}
			t.Run(fmt.Sprintf("%s of %d MiB/%s", fs.kind, fs.size, name), func(t *testing.T) {
				scenario(newSmallDisk(t, fs.kind, fs.size))
			})
		}
	}
}

const (
	healing   = 10 * time.Minute       // at most, on the busiest machine
	roomAgain = "there is room again:" // what the log says
)

// smallDisk is a relay whose data directory is a file system of its own.
type smallDisk struct {
	*testing.T
	dir, hog string
	receiver *mxtest.Server
	relay    *process
	addr     string
	taken    map[string]bool // the messages that were acknowledged
	sent     int
}

func newSmallDisk(t *testing.T, kind string, size int64) *smallDisk {
	disk := queuetest.Disk(t, kind, size)
	receiver, err := mxtest.NewServer(mxtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { receiver.Close() })
	d := &smallDisk{T: t, dir: t.TempDir(), hog: filepath.Join(disk, "hog"), receiver: receiver, taken: make(map[string]bool)}
	text := fmt.Sprintf(`hostname = "relay.test"
data_dir = %q
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.0/8"]
[queue]
min_free = "4MiB"
retry = ["2s", "3s", "4s"]
[limits]
max_message_size = "4MiB"
[http]
address = ""
[[route]]
to = ["*"]
via = [%q]
tls = "off"
`, filepath.Join(disk, "data"), receiver.Addr())
	if err := os.WriteFile(filepath.Join(d.dir, "dawk.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
	return d
}

func (d *smallDisk) start() {
	d.Helper()
	var err error
	if d.relay, err = startProgram(d.dir, "serve", "-c", "dawk.toml"); err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { d.relay.end(syscall.SIGKILL) })
	if !d.relay.log.wait(regexp.MustCompile(`msg=ready`), d.relay.exited) {
		d.Fatalf("it never got ready:\n%s", d.relay.log.text())
	}
	d.addr = listening.FindStringSubmatch(d.relay.log.text())[1]
}

// submit hands over one message of 200 kB, and says whether it was taken.
func (d *smallDisk) submit() bool {
	d.Helper()
	// From one address after the other: no sender fills a disk alone.
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(d.sent/250), byte(1+d.sent%250))}}
	c, err := from.Dial("tcp", d.addr)
	if err != nil {
		d.Fatalf("%v\n%s", err, d.relay.log.text())
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	r, reply := bufio.NewReader(c), ""
	say := func(text string) bool {
		if _, err := c.Write([]byte(text)); err != nil {
			d.Fatalf("%v\n%s", err, d.relay.log.text())
		}
		for reply = "----"; reply[3] != ' '; {
			if reply, err = r.ReadString('\n'); err != nil || len(reply) < 4 {
				d.Fatalf("%q %v\n%s", reply, err, d.relay.log.text())
			}
		}
		return reply[0] < '4'
	}
	d.sent++
	id := fmt.Sprintf("<%d@client.test>", d.sent)
	content := "Message-ID: " + id + "\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 200_000/72) + ".\r\n"
	say("")
	ok := say("EHLO client.test\r\n") && say("MAIL FROM:<a@office.test>\r\n") && say("RCPT TO:<b@example.test>\r\n") && say("DATA\r\n") && say(content)
	switch {
	case ok:
		d.taken[id] = true
	case !strings.HasPrefix(reply, "452 4.3.1 "):
		d.Fatalf("%q\n%s", reply, d.relay.log.text())
	}
	return ok
}

// untilRefused submits until ten messages in a row were refused.
func (d *smallDisk) untilRefused() {
	for refused := 0; refused < 10; refused++ {
		if d.submit() {
			refused = -1
		}
	}
}

func (d *smallDisk) holdBack() { d.receiver.Script("mail", "451 4.2.1 not now", 0) }

// heals lets the receiver take its mail.
func (d *smallDisk) heals() {
	d.Helper()
	d.receiver.ClearScript()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), healing)
	defer cancel()
	seen := make(map[string]bool)
	missing := func() (n int) {
		for _, m := range d.receiver.Messages() {
			if _, id, ok := bytes.Cut(m.Data, []byte("Message-ID: ")); ok {
				seen[string(id[:bytes.IndexByte(id, '\r')])] = true
			}
		}
		for id := range d.taken {
			if !seen[id] {
				n++
			}
		}
		return n
	}
	for known := len(d.receiver.Messages()); missing() > 0; known = len(d.receiver.Messages()) {
		if _, err := d.receiver.Wait(ctx, known+1); err != nil {
			d.Fatalf("%d of %d messages were not delivered\n%s", missing(), len(d.taken), d.tail())
		}
	}
	delivered := time.Now()
	for !d.submit() {
		if ctx.Err() != nil {
			d.Fatalf("no mail is taken again\n%s", d.tail())
		}
		// The log says when, unless the room had only been too short for this sender.
		seen := strings.Count(d.relay.log.text(), roomAgain)
		d.relay.log.waitFor(regexp.MustCompile(fmt.Sprintf("(?s)(%s.*){%d}", roomAgain, seen+1)), d.relay.exited, time.Second)
	}
	took, again := delivered.Sub(began), time.Since(delivered)
	if timed() && (took > time.Minute || again > 30*time.Second) {
		d.Errorf("all were delivered after %v, want 1m; mail was taken again %v later, want 30s\n%s", took, again, d.tail())
	}
	d.Logf("%d messages were taken; all were delivered after %v, and mail was taken again %v later", len(d.taken),
		took.Round(100*time.Millisecond), again.Round(100*time.Millisecond))
}

func (d *smallDisk) tail() string {
	lines := strings.Split(d.relay.log.text(), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// TestReadOnlyDisk lets the kernel make a real ext4 read-only under a running relay, as
// it does when it finds a fault (a plain remount is refused while files are open for
// writing). A sentence says so, of a write that was refused or of a sync that failed;
// once the file system was mounted anew, all that was acknowledged is delivered.
func TestReadOnlyDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("mounts disks")
	}
	d := newSmallDisk(t, "ext4", 80)
	d.holdBack()
	for range 20 {
		d.submit()
	}
	disk := filepath.Dir(d.hog)
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != syscall.EBUSY {
		t.Errorf("a plain remount: %v", err)
	}
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, "abort"); err != nil {
		t.Skipf("ext4 cannot be aborted here: %v", err)
	}
	said := regexp.MustCompile(`the file system of the queue is read-only: new mail is refused|the queue's disk failed: nothing more is accepted`)
	if !d.relay.log.wait(said, d.relay.exited) {
		t.Errorf("it does not say why:\n%s", d.tail())
	}
	d.relay.end(syscall.SIGKILL) // such an ext4 cannot be written to again while it is mounted
	if err := syscall.Unmount(disk, 0); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", filepath.Join(filepath.Dir(disk), "image"), disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d.start()
	d.heals()
}

func (d *smallDisk) fill() {
	d.Helper()
	if _, err := queuetest.Fill(d.hog); err != nil {
		d.Fatal(err)
	}
}

func (d *smallDisk) fullOfMail() {
	d.holdBack()
	d.untilRefused()
	d.heals()
}

func (d *smallDisk) fullOfOthers() {
	d.holdBack()
	for range 20 {
		d.submit()
	}
	d.fill()
	d.untilRefused()
	os.Remove(d.hog)
	d.heals()
}

// overQuota gives the relay no more blocks for a while: there is room on the disk, and no
// write finds it.
func (d *smallDisk) overQuota() {
	d.holdBack()
	for range 20 {
		d.submit()
	}
	lift := queuetest.Quota(d.T, filepath.Dir(d.hog))
	d.untilRefused()
	if !strings.Contains(d.relay.log.text(), syscall.EDQUOT.Error()) {
		d.Errorf("the log does not tell of the quota:\n%s", d.tail())
	}
	lift()
	d.heals()
}

// overFileSize lets no file of the relay grow for a while.
func (d *smallDisk) overFileSize() {
	d.holdBack()
	for range 20 {
		d.submit()
	}
	info, err := os.Stat(filepath.Join(filepath.Dir(d.hog), "data", "queue.db"))
	if err != nil {
		d.Fatal(err)
	}
	var was unix.Rlimit
	limit := func(octets uint64) {
		if err := unix.Prlimit(d.relay.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: octets, Max: was.Max}, nil); err != nil {
			d.Fatal(err)
		}
	}
	if err := unix.Prlimit(d.relay.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &was); err != nil {
		d.Fatal(err)
	}
	limit(uint64(info.Size()))
	d.untilRefused()
	limit(was.Cur)
	d.heals()
}

func (d *smallDisk) startWhenFull() {
	d.holdBack()
	for range 20 {
		d.submit()
	}
	d.fill()
	d.untilRefused()
	d.relay.end(syscall.SIGKILL)
	d.fill()
	d.start()
	os.Remove(d.hog)
	d.heals()
}
