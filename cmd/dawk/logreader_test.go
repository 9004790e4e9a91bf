package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dawk/mx/mxtest"
)

// timed says that the machine does nothing else, so that limits of real time can be held: see
// .ci/run, whose step for it sets DAWK_TIMED.
func timed() bool { return os.Getenv("DAWK_TIMED") != "" }

// TestLogReader runs the program with a pipe for its log. Who reads it goes away, as when
// journald is restarted, or stands still: all mail is taken and delivered, lines that were
// lost are counted, and SIGTERM ends the relay, in ten seconds at most on an idle machine.
func TestLogReader(t *testing.T) {
	for _, name := range []string{"gone", "still"} {
		t.Run(name, func(t *testing.T) {
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			defer write.Close()
			if _, err := unix.FcntlInt(write.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil { // filled by a few messages
				t.Fatal(err)
			}
			l := startLogged(t, read, write)
			if name == "gone" {
				read.Close()
			}
			l.mail(t)
			lost := l.linesLost(t)
			if name == "gone" && lost == 0 {
				t.Error("no lost line is counted")
			}
			began := time.Now()
			if err := l.end(syscall.SIGTERM); err != nil {
				t.Errorf("after SIGTERM: %v", err)
			}
			took := time.Since(began)
			if timed() && took > 10*time.Second {
				t.Errorf("it ended %v after SIGTERM", took)
			}
			t.Logf("%d lines were lost; it ended %v after SIGTERM", lost, took.Round(100*time.Millisecond))
		})
	}
}

type logged struct {
	*process
	addr, http string
	receiver   *mxtest.Server
}

// startLogged starts a relay whose log goes to write, and reads it until it is ready.
func startLogged(t *testing.T, read io.Reader, write *os.File) *logged {
	t.Helper()
	l := &logged{http: free(t)}
	var err error
	if l.receiver, err = mxtest.NewServer(mxtest.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.receiver.Close() })
	dir := t.TempDir()
	text := fmt.Sprintf(`hostname = "relay.test"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.0/8"]
[http]
address = %q
[log]
level = "debug"
[[route]]
to = ["*"]
via = [%q]
tls = "off"
`, l.http, l.receiver.Addr())
	if err := os.WriteFile(filepath.Join(dir, "dawk.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	name, err := program(dir)
	if err == nil {
		l.process, err = startWriting(write, dir, name, "serve", "-c", "dawk.toml")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.end(syscall.SIGKILL) })
	write.Close() // it has its own
	var log strings.Builder
	for lines := bufio.NewScanner(read); !strings.Contains(log.String(), "msg=ready"); {
		if !lines.Scan() {
			t.Fatalf("it never got ready: %v\n%s", lines.Err(), &log)
		}
		log.WriteString(lines.Text() + "\n")
	}
	l.addr = listening.FindStringSubmatch(log.String())[1]
	return l
}

// mail submits messages, and waits until they are delivered.
func (l *logged) mail(t *testing.T) {
	t.Helper()
	const messages = 50
	for i := range messages {
		body := fmt.Sprintf("Message-ID: <%d@client.test>\r\n\r\nhello\r\n", i)
		if _, err := submit(l.addr, "plain", "", "", "a@office.test", []string{"b@example.test"}, body); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := l.receiver.Wait(ctx, messages); err != nil {
		t.Fatalf("%d messages were delivered of %d", len(l.receiver.Messages()), messages)
	}
}

var linesLost = regexp.MustCompile(`(?m)^dawk_log_lines_lost_total (\d+)`)

func (l *logged) linesLost(t *testing.T) int {
	t.Helper()
	r, err := http.Get("http://" + l.http + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	m := linesLost.FindSubmatch(page)
	if err != nil || m == nil {
		t.Fatalf("%v: no dawk_log_lines_lost_total in %d octets", err, len(page))
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}
