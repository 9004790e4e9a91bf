package main_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestLoad keeps 1,000 clients idle and lets 200 send 1 MiB each at the same
// time, to the real program: it takes every message, and its anonymous memory
// stays under 300 MiB, since no body is held in memory above a small threshold.
// Nobody answers DNS, so that all of it is what accepting costs.
func TestLoad(t *testing.T) {
	const idle, active, size, limit = 1000, 200, 1 << 20, 300 << 20
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < idle+active+200 {
		t.Skipf("only %d open files are allowed here", files.Cur)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "dawk.toml")
	err := os.WriteFile(conf, []byte(`hostname = "relay.test"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.1/32"]
[dns]
servers = ["127.0.0.1:9"]
[queue]
min_free = "1MiB"
[limits]
max_connections = 2000
max_connections_per_ip = 0
[http]
address = ""
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProgram(dir, "serve", "-c", conf)
	if err != nil {
		t.Fatal(err)
	}
	defer p.end(syscall.SIGKILL)
	if !p.log.wait(regexp.MustCompile(`msg=ready`), p.exited) {
		t.Fatalf("it never got ready:\n%s", p.log.text())
	}
	addr := listening.FindStringSubmatch(p.log.text())[1]
	before := anonymous(t, p.cmd.Process.Pid)
	for range idle {
		c, r := greeted(t, addr)
		defer c.Close()
		talk(t, c, r, "EHLO idle\r\n", "250 ")
	}
	idling := anonymous(t, p.cmd.Process.Pid)

	body := []byte("Subject: load\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", size/64))
	half := len(body) / 2
	var begun, all sync.WaitGroup
	goOn := make(chan struct{})
	begun.Add(active)
	for range active {
		all.Go(func() {
			c, r := greeted(t, addr)
			defer c.Close()
			talk(t, c, r, "EHLO active\r\nMAIL FROM:<a@office.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n", "354 ")
			_, err := c.Write(body[:half])
			begun.Done()
			<-goOn // all of them are half-way at the same time
			if err == nil {
				_, err = c.Write(body[half:])
			}
			if err != nil {
				t.Error(err)
				return
			}
			talk(t, c, r, ".\r\n", "250 2.0.0 queued")
		})
	}
	begun.Wait()
	middle := anonymous(t, p.cmd.Process.Pid)
	close(goOn)
	all.Wait()
	after := anonymous(t, p.cmd.Process.Pid)
	peak := max(idling, middle, after)
	t.Logf("anonymous memory: %d MiB at the start, %d MiB with %d idle clients, %d MiB with %d half-way through %d MiB, %d MiB after",
		before>>20, idling>>20, idle, middle>>20, active, size>>20, after>>20)
	if peak > limit && !underRace() {
		t.Errorf("%d MiB of anonymous memory, over %d MiB", peak>>20, limit>>20)
	}
}

// underRace says whether the race detector, which takes several times the
// memory, is in the program.
func underRace() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// greeted is a connection that was greeted.
func greeted(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReaderSize(c, 1024)
	talk(t, c, r, "", "220 ")
	return c, r
}

// talk sends and reads replies until one line begins with want.
func talk(t *testing.T, c net.Conn, r *bufio.Reader, send, want string) {
	_, err := fmt.Fprint(c, send)
	for err == nil {
		var line string
		if line, err = r.ReadString('\n'); strings.HasPrefix(line, want) {
			return
		}
		if strings.HasPrefix(line, "4") || strings.HasPrefix(line, "5") {
			err = fmt.Errorf("it said %q", line)
		}
	}
	t.Errorf("waiting for %q: %v", want, err)
}
