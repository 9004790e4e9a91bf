package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// comparison is what compare was asked to do.
type comparison struct {
	work     work
	clients  []int
	rounds   int
	warm     int
	limit    time.Duration
	dir      string
	dawks    []string // NAME=PROGRAM, or PROGRAM
	peers    []string // NAME=PROGRAM
	unpacked string   // directory
	postfix  string
	tune     []string
	limits   bool
	syncs    int
	unsynced bool
	asJSON   bool
	profile  string
}

func newCompareCommand() *cobra.Command {
	var c comparison
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Give the same work to several relays in turn and print ratios",
		Long: `Start each relay afresh with a configuration, a queue and a port of its own
below a temporary directory, check that it syncs before it says 250, warm it
up, send, and wait until everything has arrived once and whole; then the next.
Rounds are interleaved, so that what disturbs the machine disturbs everybody.

Needs root for Postfix, strace and --unpacked, which takes Exim and OpenSMTPD
from a directory, since their packages conflict with Postfix's:

  apt-get download exim4-daemon-light exim4-base opensmtpd
  for deb in *.deb; do dpkg -x "$deb" DIRECTORY; done

--peer runs any other relay: PROGRAM is
started with DAWKBENCH_DIR, DAWKBENCH_LISTEN and DAWKBENCH_SINK (host:port) in
its environment, runs in the foreground, and ends at SIGTERM. The CPU time of
its processes whose parent ends before them is not seen.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	c.work.sourceFlags(f)
	c.work.sinkFlags(f)
	f.IntSliceVarP(&c.clients, "clients", "C", []int{1, 20, 100}, "connections at once, one series each")
	f.IntVar(&c.rounds, "rounds", 3, "runs of each; the medians are compared")
	f.IntVar(&c.warm, "warm", 300, "messages before each run that are not counted")
	f.DurationVar(&c.limit, "limit", 3*time.Minute, "give up on a run after this time")
	f.StringVar(&c.dir, "dir", os.TempDir(), "where queues are kept: a real disk")
	f.StringArrayVar(&c.dawks, "dawk", nil, "[NAME=]PROGRAM of dawk; several compare builds (default: dawk in PATH)")
	f.StringArrayVar(&c.peers, "peer", nil, "NAME=PROGRAM of another relay")
	f.StringVar(&c.unpacked, "unpacked", "", "DIRECTORY into which the packages of Exim or OpenSMTPD were unpacked")
	f.StringVar(&c.postfix, "postfix", "", "PROGRAM of Postfix, \"none\" to leave it out (default: postfix in PATH or /usr/sbin)")
	f.StringArrayVar(&c.tune, "postfix-set", nil, "a line for Postfix's main.cf")
	f.BoolVar(&c.work.ByMX, "by-mx", false, "each domain has an MX host of its own, of one sink; dawk only")
	f.IntVar(&c.work.Depth, "depth", 0, "messages that wait for a dead host all the while; dawk only")
	f.BoolVar(&c.limits, "limits", false, "also run what does less than a relay: source to sink, the SMTP library without and with a sync, and the ceiling: a program of a few lines with a sync")
	f.IntVar(&c.syncs, "syncs", 0, "also count sync calls under strace, with this many messages each")
	f.BoolVar(&c.unsynced, "skip-sync-check", false, "don't check; the table says so")
	f.BoolVar(&c.asJSON, "json", false, "print JSON: every run")
	f.StringVar(&c.profile, "profile", "", "sample the last round of the first contender with perf into this file, and print where its time goes")
	return cmd
}

func (c *comparison) run(ctx context.Context, out, progress io.Writer) error {
	if err := c.work.parse(); err != nil {
		return err
	}
	if c.rounds < 1 || c.rounds > 100 || c.warm < 0 || c.warm > 100_000 {
		return errors.New("between 1 and 100 rounds, with at most 100000 messages of warm-up")
	}
	contenders, err := c.contenders()
	if err != nil {
		return err
	}
	if err := realDisk(c.dir); err != nil {
		return err
	}
	if c.work.ByMX {
		names, err := newNameServer()
		if err != nil {
			return err
		}
		defer names.close()
		c.work.names = names.addr
	}
	dir, err := os.MkdirTemp(c.dir, "dawkbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil { // relays run there
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix's user must get through
		return err
	}
	runs, err := c.series(ctx, contenders, dir, progress)
	if len(runs) == 0 {
		return err
	}
	report := newReport(c, contenders, runs)
	if c.asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return errors.Join(err, enc.Encode(report))
	}
	err = errors.Join(err, report.print(out))
	if m := medianOf(runs, contenders[0].name, c.clients[len(c.clients)-1]); c.profile != "" && m != nil {
		err = errors.Join(err, printStages(out, c.profile, m.CPU))
	}
	return err
}

// series runs everybody in turn. A contender that fails is left out of what
// follows and named in the error.
func (c *comparison) series(ctx context.Context, contenders []contender, dir string, progress io.Writer) (runs []*result, failed error) {
	out := map[string]bool{}
	for round := range c.rounds {
		for _, clients := range c.clients {
			for i := range contenders {
				who := contenders[(i+round)%len(contenders)] // nobody is always first
				if out[who.name] || ctx.Err() != nil {
					continue
				}
				p := plan{clients: clients, round: round, warm: c.warm, limit: min(c.limit, maxTime), check: round == 0 && clients == c.clients[0] && !c.unsynced}
				if round == c.rounds-1 && who.name == contenders[0].name {
					p.profile = c.profile
				}
				res, err := measure(ctx, who, &c.work, dir, p)
				if err != nil {
					failed = errors.Join(failed, err)
					out[who.name] = true
					fmt.Fprintln(progress, "left out:", err)
					continue
				}
				fmt.Fprintf(progress, "round %d  %-10s C=%-4d %7.0f accepted/s %7.0f end to end/s %6.3f CPU s/1000  others %2.0f %%\n",
					round+1, who.name, clients, res.AcceptRate, res.EndRate, res.CPU, 100*res.Others)
				runs = append(runs, res)
			}
		}
	}
	for _, r := range runs {
		if c.syncs == 0 || r.Round > 0 || out[r.Name] || r.Name == "direct" {
			continue
		}
		var err error
		if r.Syncs, err = countSyncs(ctx, contenderNamed(contenders, r.Name), &c.work, dir, r.Clients, c.syncs); err != nil {
			failed = errors.Join(failed, fmt.Errorf("count sync calls of %s: %w", r.Name, err))
		}
	}
	return runs, errors.Join(failed, ctx.Err())
}

func contenderNamed(all []contender, name string) contender {
	for _, c := range all {
		if c.name == name {
			return c
		}
	}
	return contender{}
}

// contenders are dawk first, to which the others are compared.
func (c *comparison) contenders() ([]contender, error) {
	var all []contender
	if len(c.dawks) == 0 {
		c.dawks = []string{"dawk"}
	}
	for _, d := range c.dawks {
		name, program, named := strings.Cut(d, "=")
		if !named {
			name, program = "dawk", d
		}
		path, err := lookPath(program)
		if err != nil {
			return nil, fmt.Errorf("--dawk: %w", err)
		}
		all = append(all, dawk(name, path, &c.work))
	}
	dawkOnly := c.work.ByMX || c.work.Depth > 0
	if dawkOnly || c.work.TLS != "" || c.work.SinkTLS || c.work.user != "" {
		if len(c.peers) > 0 || c.unpacked != "" || c.limits || dawkOnly && c.postfix != "" && c.postfix != "none" {
			return nil, errors.New("--by-mx and --depth are for dawk only, --tls, --sink-tls and --user for dawk and Postfix: the others are not configured for that")
		}
	}
	if dawkOnly {
		c.postfix = "none"
	}
	if c.postfix == "" {
		for _, p := range []string{"postfix", "/usr/sbin/postfix"} {
			if path, err := exec.LookPath(p); err == nil && c.postfix == "" {
				c.postfix = path
			}
		}
	}
	if c.postfix != "" && c.postfix != "none" {
		all = append(all, postfix(c.postfix, c.tune, &c.work))
	}
	if c.unpacked != "" {
		more, err := unpacked(c.unpacked)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	for _, p := range c.peers {
		name, program, ok := strings.Cut(p, "=")
		if !ok {
			return nil, fmt.Errorf("--peer %q: it takes NAME=PROGRAM", p)
		}
		path, err := lookPath(program)
		if err != nil {
			return nil, fmt.Errorf("--peer: %w", err)
		}
		all = append(all, other(name, path))
	}
	if c.limits {
		less, err := limits()
		if err != nil {
			return nil, err
		}
		all = append(append(all, direct()), less...)
	}
	return all, unique(all)
}

// lookPath is exec.LookPath; the path stays right in another directory.
func lookPath(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

func unique(all []contender) error {
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c.name] || strings.ContainsAny(c.name, "/ ") || c.name == "" {
			return fmt.Errorf("the name %q is taken, or none", c.name)
		}
		seen[c.name] = true
	}
	return nil
}

// realDisk refuses file systems in memory, where a sync costs nothing.
func realDisk(dir string) error {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if t := uint32(st.Type); t == tmpfs || t == ramfs {
		return fmt.Errorf("%s is in memory, where a sync costs nothing: name a directory on a disk with --dir", dir)
	}
	return nil
}
