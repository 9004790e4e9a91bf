package main_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// terminalCommand runs a program that asks a person: its standard input,
// output and errors are a pseudo-terminal. INPUT has a line for each question.
func terminalCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: [!] terminal INPUT OUTPUT PROG ARG…")
	}
	answers := strings.SplitAfter(strings.TrimSuffix(ts.ReadFile(args[0]), "\n")+"\n", "\n")
	master, slave := openTerminal(ts)
	defer master.Close()
	cmd := exec.Command(args[2], args[3:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), slave, slave, slave
	cmd.WaitDelay = time.Second
	ts.Check(cmd.Start())
	slave.Close()

	var shown bytes.Buffer
	buf := make([]byte, 1024)
	asked := 0 // where the last question ended
	for {
		// The program leaves: reading ends with EIO.
		n, err := master.Read(buf)
		shown.Write(buf[:n])
		if strings.HasSuffix(shown.String()[asked:], ": ") && answers[0] != "" { // it asks
			asked = shown.Len()
			_, werr := io.WriteString(master, answers[0])
			ts.Check(werr)
			answers = answers[1:]
		}
		if err != nil {
			break
		}
	}
	err := cmd.Wait()
	fmt.Fprint(ts.Stdout(), shown.String())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), shown.Bytes(), 0o600))
	if (err != nil) != neg {
		ts.Fatalf("%s: %v", args[2], err)
	}
}

func openTerminal(ts *testscript.TestScript) (master, slave *os.File) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	ts.Check(err)
	ts.Check(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	ts.Check(err)
	ts.Check(unix.SetNonblock(fd, true)) // for the deadline
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	ts.Check(master.SetDeadline(time.Now().Add(patience)))
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	ts.Check(err)
	return master, slave
}

// troubleCommand looks in the three places where an administrator looks.
func troubleCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: trouble REGEXP")
	}
	want := regexp.MustCompile(args[0])
	w := worldOf(ts)
	w.config()
	for _, command := range []string{"oauth test office", "check"} {
		var out bytes.Buffer
		cmd := exec.Command("dawk", append(strings.Fields(command), "-c", ts.Getenv("CONF"))...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), &out, &out
		if err := cmd.Run(); err == nil || !inOne(want, out.String()) {
			ts.Fatalf("dawk %s: %v, and it does not say %q:\n%s", command, err, want, out.String())
		}
	}
	w.startRelay(false)
	sendCommand(ts, false, []string{"scanner@example.org", "reader@example.com", "message"})
	line := regexp.MustCompile(`(?m)^.*(route held|msg=delayed).*`)
	if !w.relay.log.wait(line, w.relay.exited) || !inOne(want, strings.NewReplacer(`\"`, `"`, `" remedy="`, " → ").Replace(line.FindString(w.relay.log.text()))) {
		ts.Fatalf("the log does not say %q:\n%s", want, w.relay.log.text())
	}
	if strings.Contains(w.relay.log.text(), "msg=failed") {
		ts.Fatalf("mail bounced:\n%s", w.relay.log.text())
	}
	ts.Check(w.relay.end(15))
	ts.Check(os.RemoveAll(ts.MkAbs("data")))
}

// inOne says whether one finding matches: its advice may stand on the next line.
func inOne(want *regexp.Regexp, text string) bool {
	joined := regexp.MustCompile(`\n\s+→`).ReplaceAllString(text, " →")
	for line := range strings.Lines(joined) {
		if want.MatchString(line) {
			return true
		}
	}
	return false
}
