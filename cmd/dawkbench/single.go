package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawkbench/load"
)

// maxTime bounds every run.
const maxTime = time.Hour

func newSourceCommand() *cobra.Command {
	var w work
	var clients int
	var limit time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "source ADDRESS",
		Short: "Send messages to a relay on this machine",
		Long: `Send messages to a relay on a loopback address, each client as fast as it is
served, and print what was acknowledged and how long that took. It can't tell
what arrives: dawkbench compare has both ends.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.parse(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), min(limit, maxTime))
			defer cancel()
			sent, err := load.Send(ctx, w.source(args[0], 0, w.Messages, clients))
			if sent == nil {
				return err
			}
			if sent.Acked < w.Messages {
				err = errors.Join(err, notTaken(sent, w.Messages))
			}
			return errors.Join(err, printSent(cmd.OutOrStdout(), sent, asJSON))
		},
	}
	w.sourceFlags(cmd.Flags())
	cmd.Flags().IntVarP(&clients, "clients", "C", 20, "connections at once")
	cmd.Flags().DurationVar(&limit, "limit", 2*time.Minute, "give up after this time")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printSent(out io.Writer, s *load.Sent, asJSON bool) error {
	report := struct {
		Acknowledged int            `json:"acknowledged"`
		PerSecond    float64        `json:"per_second"`
		P50          float64        `json:"p50_ms"`
		P99          float64        `json:"p99_ms"`
		Refused      map[string]int `json:"refused"`
		Errors       map[string]int `json:"errors"`
	}{s.Acked, rate(s.Acked, s.LastAck.Sub(s.Began)), ms(s.Percentile(50)), ms(s.Percentile(99)), s.Refused, s.Errors}
	if asJSON {
		return json.NewEncoder(out).Encode(report)
	}
	_, err := fmt.Fprintf(out, "%d acknowledged, %.0f a second, latency p50 %.1f ms, p99 %.1f ms\nrefused: %v\nerrors: %v\n",
		report.Acknowledged, report.PerSecond, report.P50, report.P99, report.Refused, report.Errors)
	return err
}

// notTaken says why fewer messages than these were acknowledged.
func notTaken(s *load.Sent, messages int) error {
	return fmt.Errorf("%d of %d messages were not acknowledged; refused %v, errors %v", messages-s.Acked, messages, s.Refused, s.Errors)
}

func newSinkCommand() *cobra.Command {
	var w work
	var addr string
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "sink",
		Short: "Take mail from a relay on this machine and count it",
		Long: `Take mail from a relay on a loopback address until interrupted, and count the
copies by the numbers that dawkbench source gives them: which came damaged,
which twice, and, where -n says how many there are, which never. Any of them
makes it fail.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if w.Messages < 0 || w.Messages > load.MaxMessages || w.Recipients < 1 || w.Recipients > load.MaxDeliveries/max(1, w.Messages) {
				return fmt.Errorf("up to %d messages, and %d copies in all", load.MaxMessages, load.MaxDeliveries)
			}
			t := soleCount{seen: map[[2]int]bool{}}
			cfg, err := w.sink(addr)
			if err != nil {
				return err
			}
			cfg.Observe = t.observe
			s, err := load.NewSink(cfg)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "listening on", s.Addr(), "until interrupted")
			ctx, cancel := context.WithTimeout(cmd.Context(), min(limit, maxTime))
			defer cancel()
			<-ctx.Done()
			err = s.Close() // nobody observes after this
			fmt.Fprintf(cmd.OutOrStdout(), "%d connections, %d messages: ", s.Connections.Load(), s.Messages.Load())
			return errors.Join(err, t.print(cmd.OutOrStdout(), w.Messages*w.Recipients))
		},
	}
	w.sinkFlags(cmd.Flags())
	cmd.Flags().IntVarP(&w.Messages, "messages", "n", 0, "messages that are to come; 0: not known, so that none is missing")
	cmd.Flags().IntVar(&w.Recipients, "recipients", 1, "recipients of each message")
	cmd.Flags().StringVar(&addr, "listen", "127.0.0.1:2626", "loopback address to listen on")
	cmd.Flags().DurationVar(&limit, "limit", 10*time.Minute, "end after this time")
	return cmd
}

// soleCount is what a sink without a source was given.
type soleCount struct {
	mu                               sync.Mutex
	seen                             map[[2]int]bool // message and recipient; taken or refused for good
	whole, damaged, twice, elsewhere int
}

func (t *soleCount) observe(a load.Arrival) {
	t.mu.Lock()
	defer t.mu.Unlock()
	copied := [2]int{a.ID, a.Recipient}
	if a.Foreign || len(t.seen) >= load.MaxDeliveries && !t.seen[copied] {
		t.elsewhere++
		return
	}
	switch {
	case a.Refused:
	case !a.Whole:
		t.damaged++
	case t.seen[copied]:
		t.twice++
	default:
		t.whole++
	}
	t.seen[copied] = true
}

// print says what came; expected is how many copies were to come, 0 if nobody knows.
func (t *soleCount) print(out io.Writer, expected int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	missing := max(0, expected-len(t.seen))
	fmt.Fprintf(out, "%d copies whole, %d damaged, %d twice, %d missing, %d of others\n", t.whole, t.damaged, t.twice, missing, t.elsewhere)
	if t.damaged+t.twice+missing > 0 {
		return fmt.Errorf("%d copies damaged, %d too many, %d missing", t.damaged, t.twice, missing)
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func rate(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
