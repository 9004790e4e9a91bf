package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// stage is a row of the table that says where the time of a message goes. A
// sample belongs to the stage of its innermost frame that any stage knows.
type stage struct {
	name   string
	frames []string // beginnings of functions' names
}

// In the order of a message's life.
var stages = []stage{
	{"take commands and content off the wire, answer", []string{"dawk/relay/submission/guard", "github.com/emersion/go-smtp", "dawk/relay/submission.(*conn)"}},
	{"rules of acceptance, Received, header scan", []string{"dawk/relay/accept", "dawk/relay/submission", "dawk/relay/identity", "dawk/relay/dkim", "dawk/relay/mailtext"}},
	{"commit, of the message and of its outcome", []string{"dawk/queue/boltstore", "dawk/queue/journal", "dawk/queue/record", "go.etcd.io/bbolt"}},
	{"schedule", []string{"dawk/relay/delivery"}},
	{"resolve: route, MX, policy", []string{"dawk/mx.(*Resolver)", "dawk/mx.(*Router)", "dawk/mx.(*plan)", "dawk/mx.(*Transport).plan", "dawk/mx.(*attempt).walk",
		"dawk/mx.(*attempt).plan", "dawk/mx.(*Transport).resolve", "dawk/mx.(*Transport).Destination", "dawk/mx.(*Transport).Route", "dawk/mx.(*cache)", "github.com/miekg/dns"}},
	{"dial: connect, greet, keep", []string{"net.(*Dialer)", "dawk/mx.(*Transport).dial", "dawk/mx.(*Transport).connect", "dawk/mx.(*attempt).connect", "dawk/mx.(*pool)", "dawk/mx.(*conn).hello"}},
	{"transact with the next host", []string{"dawk/mx"}},
	{"settle", []string{"dawk/relay/delivery.(*settler)", "dawk/relay/delivery.(*Dispatcher).settle", "dawk/relay/delivery.(*Dispatcher).commit",
		"dawk/queue/boltstore.(*Store).Settle", "dawk/queue/boltstore.(*txn).settle", "dawk/queue/boltstore.(*txn).remove", "dawk/queue/change.Check", "dawk/queue/change.Advance"}},
	{"log", []string{"log/slog", "dawk/relay/delivery.logObserver", "dawk/relay/delivery.(*logObserver)"}},
	{"metrics, history", []string{"dawk/metrics", "github.com/prometheus", "dawk/relay/history", "dawk/relay/admin"}},
	{"addresses, statuses, telling observers", []string{"dawk/relay.", "dawk/bounce"}},
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.gcStart", "runtime.bgsweep", "runtime.bgscavenge", "runtime.deductAssistCredit"}},
	{"goroutines: switching, waking, watching", []string{"runtime.mcall", "runtime.sysmon", "runtime.mstart", "runtime.schedule", "runtime.goexit"}},
}

// tally counts samples by stage, as perf script prints them: a line a frame,
// innermost first, and an empty line after each stack. The last count is of
// those that no stage knows.
func tally(script io.Reader) (counts []int, all int, err error) {
	counts = make([]int, len(stages)+1)
	at, open := len(stages), false
	lines := bufio.NewScanner(script)
	lines.Buffer(nil, 1<<20)
	end := func() {
		if open {
			counts[at]++
			all++
		}
		at, open = len(stages), false
	}
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) == 0 {
			end()
			continue
		}
		open = true
		if at == len(stages) && len(f) > 1 {
			at = stageOf(f[1])
		}
	}
	end()
	return counts, all, lines.Err()
}

// stageOf is the stage with the longest beginning of a function's name.
func stageOf(function string) int {
	best, longest := len(stages), 0
	for i, s := range stages {
		for _, f := range s.frames {
			if len(f) > longest && strings.HasPrefix(function, f) {
				best, longest = i, len(f)
			}
		}
	}
	return best
}

// printStages sorts a profile into stages. cpu is what a message costs, in
// seconds a thousand. The program must have its symbols.
func printStages(out io.Writer, file string, cpu float64) error {
	cmd := exec.Command("perf", "script", "-i", file, "-F", "ip,sym")
	script, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("perf script: %w", err)
	}
	counts, all, err := tally(script)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("perf script of %s: %w", file, err)
	}
	if all == 0 {
		return fmt.Errorf("%s has no sample of the relay: the run was too short, send more messages", file)
	}
	fmt.Fprintf(out, "\n%d samples; a share of few says little\n\n| step | share | µs of %.0f |\n|---|--:|--:|\n", all, cpu*1000)
	for i, n := range counts {
		name := "else"
		if i < len(stages) {
			name = stages[i].name
		}
		share := float64(n) / float64(all)
		fmt.Fprintf(out, "| %s | %.1f %% | %.0f |\n", name, 100*share, share*cpu*1000)
	}
	return nil
}
