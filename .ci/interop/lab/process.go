package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"dawk/mx/mxtest"
)

// process is a program we started and alone may end.
type process struct {
	Cmd  *exec.Cmd
	Out  *output
	done chan struct{} // closed when it has ended
	err  error         // of Wait; read after done
}

// output keeps what a program printed; safe while it still prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Tail is the last n lines, for a failure's report.
func (o *output) Tail(n int) string {
	lines := strings.Split(strings.TrimSpace(o.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func StartProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{Cmd: cmd, Out: &output{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.Out, p.Out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", cmd.Path, err)
	}
	go func() { p.err = cmd.Wait(); close(p.done) }()
	return p, nil
}

func (p *process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends sig and waits for the end, at most limit; it gives the exit
// code, -1 when a signal ended the process.
func (p *process) Signal(sig syscall.Signal, limit time.Duration) (int, error) {
	if err := p.Cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	return p.Wait(limit)
}

func (p *process) Wait(limit time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.Cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("%s (process %d) still runs after %s", p.Cmd.Path, p.Cmd.Process.Pid, limit)
	}
}

// Kill ends the process at once, however it is.
func (p *process) Kill() {
	_ = p.Cmd.Process.Kill() // fails only when it has ended already
	<-p.done
}

// RunTool runs a program to its end, at most limit; the output holds both
// streams.
func RunTool(ctx context.Context, limit time.Duration, stdin []byte, env []string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("still running after %s", limit)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", argv[0], err)
	}
	return string(out), err
}

// FreePort is a TCP port on loopback that stays this world's, whether or not
// somebody listens on it: relays are killed and started again, and meanwhile
// their clients try to connect.
func (w *World) FreePort() int {
	port, claim, err := mxtest.FreePort()
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.claims = append(w.claims, claim)
	return port
}

// Patience is how long a case waits for what must happen. It bounds a hang, and
// nothing is measured by it.
const Patience = 2 * time.Minute

// Eventually asks until ok or the limit; it gives false at the limit.
func Eventually(ctx context.Context, limit time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(limit)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return false
		}
		time.Sleep(pause)
	}
}

// Greets says whether an SMTP server greets on addr.
func Greets(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second)) // a failure shows at the read
	b := make([]byte, 4)
	n, _ := c.Read(b)
	return n >= 3 && string(b[:3]) == "220"
}
