package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

func newSinkCommand() *cobra.Command {
	var w work
	var addr string
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "sink",
		Short: "Take mail from a relay on this machine and count it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var whole, damaged, foreign int
			cfg := w.sink(addr)
			arrivals := make(chan load.Arrival, 1024)
			cfg.Observe = func(a load.Arrival) { arrivals <- a }
			s, err := load.NewSink(cfg)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "listening on", s.Addr(), "until interrupted")
			ctx, cancel := context.WithTimeout(cmd.Context(), min(limit, maxTime))
			defer cancel()
			for ctx.Err() == nil {
				select {
				case a := <-arrivals:
					switch {
					case a.Foreign:
						foreign++
					case a.Whole:
						whole++
					case !a.Refused:
						damaged++
					}
				case <-ctx.Done():
				}
			}
			go func() { // those in transfer
				for range arrivals {
				}
			}()
			err = s.Close()
			close(arrivals)
			fmt.Fprintf(cmd.OutOrStdout(), "%d connections, %d messages: %d copies whole, %d damaged, %d of others\n",
				s.Connections.Load(), s.Messages.Load(), whole, damaged, foreign)
			return err
		},
	}
	w.sinkFlags(cmd.Flags())
	cmd.Flags().StringVar(&addr, "listen", "127.0.0.1:2626", "loopback address to listen on")
	cmd.Flags().DurationVar(&limit, "limit", 10*time.Minute, "end after this time")
	return cmd
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func rate(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
