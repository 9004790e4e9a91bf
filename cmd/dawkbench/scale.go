package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// row is one line of a table of scale: what differs from 4 KiB, one recipient,
// one smart host and 20 connections.
type row struct {
	label   string
	clients int
	work    work
}

// tables are the directions in which a relay is made to grow. The numbers of
// messages give each row some seconds on two CPUs.
var tables = map[string][]row{
	"connections": {
		{"1", 1, work{Messages: 3000}}, {"20", 20, work{Messages: 10_000}}, {"100", 100, work{Messages: 10_000}},
		{"500", 500, work{Messages: 15_000}}, {"2,000", 2000, work{Messages: 20_000}},
	},
	"size": {
		{"1 KiB", 20, work{Messages: 8000, Size: "1KiB"}}, {"64 KiB", 20, work{Messages: 3000, Size: "64KiB"}},
		{"256 KiB", 20, work{Messages: 800, Size: "256KiB"}}, {"1 MiB", 20, work{Messages: 300, Size: "1MiB"}},
		{"25 MiB", 20, work{Messages: 20, Size: "25MiB"}},
	},
	"recipients": {
		{"10", 20, work{Messages: 2000, Recipients: 10}}, {"100", 20, work{Messages: 300, Recipients: 100}},
		{"1,000", 20, work{Messages: 40, Recipients: 1000}},
	},
	"domains": {
		{"1", 20, work{Messages: 4000, ByMX: true}}, {"100", 20, work{Messages: 4000, ByMX: true, Domains: 100}},
		{"10,000", 20, work{Messages: 10_000, ByMX: true, Domains: 10_000}},
	},
	"latency": {
		{"50 ms, 1 domain", 20, work{Messages: 600, ByMX: true, Delay: 50 * time.Millisecond}},
		{"50 ms, 1 domain, 100 connections allowed", 100, work{Messages: 3000, ByMX: true, Delay: 50 * time.Millisecond, Connections: 100}},
		{"50 ms, 100 domains", 100, work{Messages: 6000, ByMX: true, Domains: 100, Delay: 50 * time.Millisecond}},
		{"500 ms, 1 domain", 20, work{Messages: 60, ByMX: true, Delay: 500 * time.Millisecond}},
		{"500 ms, 100 domains", 100, work{Messages: 3000, ByMX: true, Domains: 100, Delay: 500 * time.Millisecond}},
	},
	"depth": {
		{"0", 20, work{Messages: 8000}}, {"100,000", 20, work{Messages: 8000, Depth: 100_000}},
	},
	"million": {
		{"1,000,000", 20, work{Messages: 8000, Depth: 1_000_000}},
	},
}

func newScaleCommand() *cobra.Command {
	c := comparison{warm: 500, limit: 9 * time.Minute}
	program := "dawk"
	names := make([]string, 0, len(tables))
	for name := range tables {
		names = append(names, name)
	}
	slices.Sort(names)
	cmd := &cobra.Command{
		Use:   "scale TABLE...",
		Short: "Show where the cost of dawk grows: " + strings.Join(names, ", "),
		Long: `Measure dawk along one dimension after the other and print the rows of a table.
Where nothing else is said: 4 KiB, one recipient, one smart host, 20
connections. Each row starts a relay of its own.`,
		Args:      cobra.MatchAll(cobra.MinimumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := lookPath(program)
			if err != nil {
				return fmt.Errorf("--dawk: %w", err)
			}
			return c.scale(cmd.Context(), path, args, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&program, "dawk", program, "PROGRAM of dawk")
	f.StringVar(&c.dir, "dir", os.TempDir(), "where queues are kept: a real disk")
	f.IntVar(&c.rounds, "rounds", 1, "runs of each row; medians are printed")
	return cmd
}

func (c *comparison) scale(ctx context.Context, program string, names []string, out io.Writer) error {
	if c.rounds < 1 || c.rounds > 100 {
		return errors.New("between 1 and 100 rounds")
	}
	if err := realDisk(c.dir); err != nil {
		return err
	}
	dns, err := newNameServer()
	if err != nil {
		return err
	}
	defer dns.close()
	dir, err := os.MkdirTemp(c.dir, "dawkbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	fmt.Fprintln(out, "| what | | accepted/s | end to end/s | CPU s/1000 | PSS MB | anonymous | p50 ms | p99 ms | flushes a message | out | others |")
	fmt.Fprintln(out, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, name := range names {
		for _, r := range tables[name] {
			m, err := c.row(ctx, program, r, dir, dns.addr)
			if err != nil {
				return fmt.Errorf("%s %s: %w", name, r.label, err)
			}
			mark := ""
			if m.Others > noisy {
				mark = " ~"
			}
			fmt.Fprintf(out, "| %s | %s | %.0f%s | %.0f%s | %s | %s | %s | %.1f | %.1f | %.2f | %d | %.0f %% |\n", name, r.label,
				m.AcceptRate, mark, m.EndRate, mark, digits(m.CPU), mb(m.PSS), mb(m.Anonymous), m.P50, m.P99, m.Flushes, m.Outgoing, 100*m.Others)
		}
	}
	return nil
}

// row measures one line, each time with a fresh relay.
func (c *comparison) row(ctx context.Context, program string, r row, dir, names string) (*result, error) {
	w := r.work
	w.Recipients, w.Domains, w.names = max(w.Recipients, 1), max(w.Domains, 1), names
	if w.Size == "" {
		w.Size = "4KiB"
	}
	if err := w.parse(); err != nil {
		return nil, err
	}
	warm := min(c.warm, w.Messages/5)
	var runs []*result
	for round := range c.rounds {
		res, err := measure(ctx, dawk("dawk", program, &w), &w, dir, plan{clients: r.clients, round: round, warm: warm, limit: c.limit})
		if err != nil {
			return nil, err
		}
		runs = append(runs, res)
	}
	return medianOf(runs, "dawk", r.clients), nil
}

// digits are two that count.
func digits(v float64) string { return strconv.FormatFloat(v, 'g', 2, 64) }
