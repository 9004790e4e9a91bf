package main_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dawk/mx/mxtest"
	"dawk/queue/boltstore"
	"dawk/relay"
)

// TestDepth starts the real program on a queue full of deferred mail, after a
// clean stop and after a kill, and sends a message through it. It asserts that
// everything is there and what memory it takes; it prints the times. The depth
// is DAWK_DEPTH, by default small enough for every run of the tests.
func TestDepth(t *testing.T) {
	depth, _ := strconv.Atoi(os.Getenv("DAWK_DEPTH"))
	if depth == 0 {
		depth = 5000
	}
	dir := t.TempDir()
	began := time.Now()
	fillDeferred(t, filepath.Join(dir, "data"), depth)
	t.Logf("%d deferred messages of 1 KiB written in %v", depth, time.Since(began).Round(time.Millisecond))

	mx, err := mxtest.NewServer(mxtest.Config{Hostname: "mx.fresh.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer mx.Close()
	dns, err := mxtest.NewDNS("fresh.test. MX 10 mx.fresh.test.\nmx.fresh.test. A 127.0.0.1\n")
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	conf := filepath.Join(dir, "dawk.toml")
	text := fmt.Sprintf(`hostname = "relay.test"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.1/32"]
[dns]
servers = [%q]
[delivery]
port = %d
allow_networks = ["127.0.0.0/8"]
[queue]
min_free = "1MiB"
[limits]
max_message_size = "1MiB"
[http]
address = "127.0.0.1:0"
`, dns.Addr(), mx.Port())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, how := range []struct {
		before string
		end    syscall.Signal
	}{{"a clean stop", syscall.SIGKILL}, {"a kill", syscall.SIGTERM}} {
		first, anon := firstDelivery(t, dir, conf, mx, depth, i+1, how.end)
		t.Logf("start after %s: first delivery after %v, %d MiB anonymous memory (%d octets a delivery)",
			how.before, first.Round(time.Millisecond), anon>>20, anon/int64(depth))
		// 250 MiB at a million, of which 40 MiB are the program itself.
		if limit := int64(40<<20) + int64(depth)*220; anon > limit && !underRaceDetector() {
			t.Errorf("%d octets of anonymous memory at a depth of %d; at most %d", anon, depth, limit)
		}
	}
}

// underRaceDetector says whether this is a build with shadow memory, whose
// needs are not the program's.
func underRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// fillDeferred makes a queue of depth messages for 20,000 domains, all tried
// once and due tomorrow.
func fillDeferred(t *testing.T, dir string, depth int) {
	q, err := boltstore.Open(boltstore.Options{Dir: dir, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	from, _ := relay.ParsePath("sender@office.test")
	body := []byte("Subject: deep\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 16))
	refusal := relay.Reply{Code: 450, Status: relay.Status{Class: 4, Subject: 2}, Text: "not now", Stage: relay.StageRcpt, MTA: "mx.dead.test"}
	var next atomic.Int64
	var wg, settled sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(depth); i = next.Add(1) {
				to, _ := relay.ParsePath(fmt.Sprintf("reader@d%d.test", i%20_000))
				d, err := q.NewDraft()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = d.Write(body)
				now := time.Now()
				m := &relay.Message{ID: d.ID(), Arrival: now, Identity: "scanner",
					Envelope: relay.Envelope{From: from, Recipients: []relay.Recipient{{Path: to}}}}
				if err := q.Enqueue(context.Background(), d, m); err != nil {
					t.Error(err)
					return
				}
				out := []relay.Outcome{{Action: relay.ActionDelayed, Reply: refusal}}
				settled.Add(1)
				q.Settle(relay.Settlement{ID: m.ID, Outcomes: out, Next: relay.State{Due: now.Add(24 * time.Hour), Attempts: 1},
					Attempt: &relay.Attempt{N: 1, At: now, Route: "mx", Outcomes: out}}, func(err error) {
					if err != nil {
						t.Error(err)
					}
					settled.Done()
				})
			}
		})
	}
	wg.Wait()
	settled.Wait()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

// firstDelivery starts the program, sends a message as soon as it listens and
// waits for it to arrive. It gives the time from the start, and the anonymous
// memory then.
func firstDelivery(t *testing.T, dir, conf string, mx *mxtest.Server, depth, n int, end syscall.Signal) (first time.Duration, anon int64) {
	t.Helper()
	began := time.Now()
	p, err := startProgram(dir, "serve", "-c", conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.end(syscall.SIGKILL)
	if !p.log.waitFor(regexp.MustCompile(`msg=ready deliveries=(\d+)`), p.exited, 5*patience) {
		t.Fatalf("it never got ready:\n%s", p.log.text())
	}
	loaded := regexp.MustCompile(`msg=ready deliveries=(\d+)`).FindStringSubmatch(p.log.text())[1]
	if loaded != strconv.Itoa(depth) {
		t.Fatalf("%s deliveries were loaded, not %d", loaded, depth)
	}
	addr := listening.FindStringSubmatch(p.log.text())[1]
	if _, err := net.ResolveTCPAddr("tcp", addr); err != nil {
		t.Fatal(err)
	}
	if _, err := submit(addr, "", "", "", "sender@office.test", []string{"reader@fresh.test"}, "Subject: fresh\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := mx.Wait(ctx, n); err != nil {
		t.Fatalf("the fresh message did not arrive: %v", err)
	}
	first = time.Since(began)
	if !p.log.wait(regexp.MustCompile(`msg=relayed `), p.exited) {
		t.Fatalf("it was not settled:\n%s", p.log.text())
	}
	anon = anonymous(t, p.cmd.Process.Pid)
	if err := p.end(end); end == syscall.SIGTERM && err != nil {
		t.Errorf("it did not stop well: %v\n%s", err, p.log.text())
	}
	return first, anon
}

// anonymous is the memory of a process that is not a file's, in octets.
func anonymous(t *testing.T, pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	m := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Skip("this kernel does not tell anonymous memory")
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}
