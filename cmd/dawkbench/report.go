package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// report is what compare prints.
type report struct {
	Machine string    `json:"machine"`
	CPUs    int       `json:"cpus"`
	Work    work      `json:"work"`
	Rounds  int       `json:"rounds"`
	Synced  bool      `json:"sync_before_250_checked"`
	Medians []*result `json:"medians"`
	Ratios  []ratios  `json:"ratios"`
	Runs    []*result `json:"runs"`
}

// ratios are those of the first contender over another: above 1 is better
// for rates, below 1 for all else.
type ratios struct {
	Of      string  `json:"of"`
	Over    string  `json:"over"`
	Clients int     `json:"clients"`
	Accept  float64 `json:"accept"`
	End     float64 `json:"end_to_end"`
	CPU     float64 `json:"cpu"`
	PSS     float64 `json:"memory"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
}

func newReport(c *comparison, contenders []contender, runs []*result) *report {
	r := &report{Machine: kernel(), CPUs: runtime.NumCPU(), Work: c.work, Rounds: c.rounds, Synced: !c.unsynced, Runs: runs}
	for _, clients := range c.clients {
		var first *result
		for i, who := range contenders {
			m := medianOf(runs, who.name, clients)
			if m == nil {
				continue
			}
			r.Medians = append(r.Medians, m)
			if i == 0 {
				first = m
			} else if first != nil && (who.relay || who.name == ceiling) {
				r.Ratios = append(r.Ratios, ratios{first.Name, m.Name, clients,
					over(first.AcceptRate, m.AcceptRate), over(first.EndRate, m.EndRate), over(first.CPU, m.CPU),
					over(float64(first.PSS), float64(m.PSS)), over(first.P50, m.P50), over(first.P99, m.P99)})
			}
		}
	}
	return r
}

func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// medianOf is the median of each figure by itself; nil without a run.
func medianOf(runs []*result, name string, clients int) *result {
	var mine []*result
	for _, r := range runs {
		if r.Name == name && r.Clients == clients {
			mine = append(mine, r)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	mid := func(get func(*result) float64) float64 {
		var v []float64
		for _, r := range mine {
			v = append(v, get(r))
		}
		slices.Sort(v)
		return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	m := *mine[0]
	m.AcceptRate = mid(func(r *result) float64 { return r.AcceptRate })
	m.EndRate = mid(func(r *result) float64 { return r.EndRate })
	m.CPU = mid(func(r *result) float64 { return r.CPU })
	m.RSS = int64(mid(func(r *result) float64 { return float64(r.RSS) }))
	m.PSS = int64(mid(func(r *result) float64 { return float64(r.PSS) }))
	m.Anonymous = int64(mid(func(r *result) float64 { return float64(r.Anonymous) }))
	m.P50, m.P99 = mid(func(r *result) float64 { return r.P50 }), mid(func(r *result) float64 { return r.P99 })
	m.Flushes = mid(func(r *result) float64 { return r.Flushes })
	m.Harness = mid(func(r *result) float64 { return r.Harness })
	m.Others = mid(func(r *result) float64 { return r.Others })
	return &m
}

func (r *report) print(out io.Writer) error {
	fmt.Fprintf(out, "%s, %d CPUs, %s\n%d messages of %s, %d recipients, %d domains, medians of %d rounds\n",
		r.Machine, r.CPUs, runtime.Version(), r.Work.Messages, r.Work.Size, r.Work.Recipients, r.Work.Domains, r.Rounds)
	if !r.Synced {
		fmt.Fprintln(out, "NOT CHECKED: whether each syncs before 250")
	}
	fmt.Fprintln(out, "~: something else took more than 15 % of the machine; such rates are too low")
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "relay\tC\taccept/s\tend to end/s\tCPU s/1000\tRSS MB\tPSS MB\tanon MB\tprocs\tp50 ms\tp99 ms\tsyncs/msg\tflushes/msg\tout\tothers\t")
	for _, m := range r.Medians {
		mark := ""
		if m.Others > noisy {
			mark = "~"
		}
		out := strconv.FormatInt(m.Outgoing, 10)
		if r.Work.SinkTLS {
			out += fmt.Sprintf(", %d resumed", m.Resumed)
		}
		fmt.Fprintf(t, "%s\t%d\t%.0f%s\t%.0f%s\t%.3f\t%s\t%s\t%s\t%d\t%.1f\t%.1f\t%s\t%.2f\t%s\t%.0f %%\t\n", m.Name, m.Clients, m.AcceptRate, mark,
			m.EndRate, mark, m.CPU, mb(m.RSS), mb(m.PSS), mb(m.Anonymous), m.Processes, m.P50, m.P99, optional(m.Syncs), m.Flushes, out, 100*m.Others)
	}
	if err := t.Flush(); err != nil || len(r.Ratios) == 0 {
		return err
	}
	fmt.Fprintf(out, "\n%s over each: rates higher is better, the rest lower\n", r.Ratios[0].Of)
	fmt.Fprintln(t, "over\tC\taccept\tend to end\tCPU\tmemory (PSS)\tp50\tp99\t")
	for _, q := range r.Ratios {
		fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%.3f\t%.3f\t%.3f\t%.3f\t\n", q.Over, q.Clients, q.Accept, q.End, q.CPU, q.PSS, q.P50, q.P99)
	}
	return t.Flush()
}

func mb(octets int64) string {
	if octets <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", float64(octets)/1e6)
}

func optional(v float64) string {
	if v < 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

// kernel is the machine's system and its version.
func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return runtime.GOOS + " " + strings.TrimSpace(string(b))
}
