package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/admin/traffic"
	"dawk/relay/webhook"
)

// Exit statuses of `dawk status`, besides 0 for a relay that is well.
const (
	statusTrouble    = 1
	statusNotRunning = 2
)

func newStatusCommand(a *app.App) *cobra.Command {
	var asJSON, watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether mail flows, and what an administrator should see to",
		Long: "Say on one screen whether mail flows, what waits and for whom, what is being attempted, how the disk,\n" +
			"the configuration and the certificates are, and what to do next.\n" +
			"Exit status 0: all is well; 1: there is trouble, which it names first; 2: the relay does not run.\n" +
			"An idle relay and a slow receiver are no trouble.",
		Args: app.NoArguments,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON; with --watch one object a line")
	cmd.Flags().BoolVar(&watch, "watch", false, "show it anew until Ctrl-C")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "how often, with --watch")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.Client()
		if err != nil {
			return err
		}
		if !watch {
			return showStatus(cmd.Context(), a.Stdout, c, asJSON)
		}
		return watchStatus(cmd.Context(), a, c, asJSON, max(every, 100*time.Millisecond))
	}
	return cmd
}

// showStatus asks once. Its error has the exit status.
func showStatus(ctx context.Context, w io.Writer, c *app.Client, asJSON bool) error {
	s := admin.Status{Troubles: []admin.Trouble{}, Providers: []admin.StatusProvider{}, Connections: []admin.StatusAttempt{}, Ends: []admin.Ending{}}
	s.Events.Webhooks = []webhook.Status{}
	ctx, cancel := context.WithTimeout(app.OrBackground(ctx), 30*time.Second)
	defer cancel()
	err := c.Get(ctx, "/v1/status", nil, &s)
	result := err
	switch {
	case errors.Is(err, app.ErrNotRunning):
		s.Now, s.Flow.State = time.Now(), traffic.Stopped
		s.Troubles = append(s.Troubles, admin.Trouble{About: "relay", Text: err.Error()})
		result = &app.Exit{Status: statusNotRunning, Err: app.ErrReported}
	case err != nil:
		return err
	case !s.OK:
		result = &app.Exit{Status: statusTrouble, Err: app.ErrReported}
	}
	if asJSON {
		err = json.NewEncoder(w).Encode(s)
	} else {
		err = printStatus(w, &s)
	}
	return errors.Join(err, result)
}

// watchStatus shows it again and again, and leaves the last answer on the screen.
func watchStatus(ctx context.Context, a *app.App, c *app.Client, asJSON bool, every time.Duration) error {
	ctx, stop := signal.NotifyContext(app.OrBackground(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	screen := show.IsTerminal(a.Raw) && !asJSON
	for {
		if screen {
			fmt.Fprint(a.Raw, "\x1b[H\x1b[2J") // top left, and an empty screen (ECMA-48 §8.3.21, §8.3.39)
		}
		err := showStatus(context.WithoutCancel(ctx), a.Stdout, c, asJSON)
		if err != nil && !errors.Is(err, app.ErrReported) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
		if !screen && !asJSON {
			fmt.Fprintln(a.Stdout)
		}
	}
}

// printStatus is the screen: what is wrong first, then what waits and for whom.
func printStatus(w io.Writer, s *admin.Status) error {
	p := show.NewPrinter(w, s.Now)
	p.Line("%s", p.Verdict(s.OK, flowWords(p, s)))
	for _, t := range s.Troubles {
		p.Line("%s %s", p.Paint(show.Red, "!"), relay.Sanitize(t.Text))
		if t.Remedy != "" {
			p.Line("  → %s", relay.Sanitize(t.Remedy))
		}
	}
	if !s.Running || p.Err != nil {
		return p.Err
	}
	p.Line("")
	printBacklog(p, &s.Backlog)
	if err := printStatusProviders(w, s); err != nil {
		return err
	}
	if err := printUnderway(w, s); err != nil {
		return err
	}
	p.Line("")
	printCluster(p, s.Cluster)
	p.Line("Disk           %s free, room for %s of new mail, queue file %s", show.Size(s.Disk.FreeBytes), show.Size(s.Disk.RoomBytes), show.Size(s.Disk.FileBytes))
	printEvents(p, s)
	p.Line("Configuration  %s, %s; loaded %s", cmp.Or(relay.Sanitize(s.Configuration.File), "built in"), s.Configuration.State, p.When(s.Configuration.Loaded))
	for _, e := range s.Ends {
		ends := e.What + " " + relay.Sanitize(e.Name) + ", " + p.When(e.At)
		if e.At.Sub(s.Now) < admin.EndsSoon {
			ends = p.Paint(show.Yellow, ends)
		}
		p.Line("Ends           %s", ends)
	}
	p.Line("dawk %s, running since %s", s.Version, p.When(s.Started))
	return p.Err
}

// flowWords is the first line: does mail flow, and since when?
func flowWords(p *show.Printer, s *admin.Status) string {
	f := &s.Flow
	words := "dawk does not run"
	switch f.State {
	case traffic.Starting:
		words = "the relay starts: its queue is being loaded"
	case traffic.Draining:
		words = "the relay is draining: it takes no mail, and ends when what is due has been attempted"
		if d := s.Draining; d != nil {
			words += fmt.Sprintf(" (%d due; %d stay for later)", d.Due, d.Stays)
		}
	case traffic.Idle:
		words = "nothing waits"
	case traffic.Held:
		words = fmt.Sprintf("nothing goes out: all %s on hold", show.Plural(s.Backlog.Held, "delivery"))
	case traffic.Waiting:
		words = "no delivery has succeeded since " + p.When(f.Since)
	case traffic.Flowing:
		words = "mail flows"
		if !s.OK {
			words = "other mail flows"
		}
		if !f.Since.IsZero() {
			words += " since " + p.When(f.Since)
		}
	}
	if s.Running && !s.OK && f.State != traffic.Draining && f.State != traffic.Starting {
		words = "not all is well, see below; " + words
	}
	if s.Running {
		words += "; last delivery " + lately(p, f.LastSuccess) + ", last message taken " + lately(p, f.LastAccepted)
	}
	return words
}

// lately is a moment since the start of the relay, which may not have come.
func lately(p *show.Printer, t time.Time) string {
	if t.IsZero() {
		return "none since the start"
	}
	return show.Age(p.Now.Sub(t)) + " ago"
}

func printBacklog(p *show.Printer, b *relay.Backlog) {
	if b.Total == 0 {
		p.Line("Queue          empty")
		return
	}
	words := show.Plural(b.Total, "delivery")
	for _, x := range []struct {
		n    int
		what string
	}{{b.Active, "active"}, {b.Ready, "ready"}, {b.Deferred, "deferred"}, {b.Suspended, "suspended"}, {b.Held, "held"}} {
		if x.n > 0 {
			words += fmt.Sprintf(", %d %s", x.n, x.what)
		}
	}
	p.Line("Queue          %s; oldest %s", words, show.Age(p.Now.Sub(b.Oldest)))
	if !b.OldestDue.IsZero() && b.OldestDue.Before(p.Now) {
		p.Line("Oldest due     %s", p.When(b.OldestDue))
	}
}

// printCluster says which relays share the queue, and how its database is.
func printCluster(p *show.Printer, c *relay.Cluster) {
	if c == nil {
		return
	}
	for _, n := range c.Nodes {
		self := ""
		if n.Self {
			self = " (this one)"
		}
		p.Line("Node           %d %s%s: %s, %d of 256 partitions", n.ID, relay.Sanitize(n.Name), self, n.State, n.Partitions)
	}
	p.Line("Database       %s", c.Database.Words())
}

// printEvents says how far webhooks have come, and how many get no mail.
func printEvents(p *show.Printer, s *admin.Status) {
	for _, h := range s.Events.Webhooks {
		words := fmt.Sprintf("%s %s, %s pending", relay.Sanitize(h.Name), h.Called(), show.Plural(h.Pending, "event"))
		if h.Failed > 0 {
			words += fmt.Sprintf(", %d given up", h.Failed)
		}
		p.Line("Webhook        %s", words)
	}
	if s.Suppressed > 0 {
		p.Line("Suppressed     %s", show.Plural(s.Suppressed, "recipient"))
	}
}

func printStatusProviders(w io.Writer, s *admin.Status) error {
	t := show.NewTable(w, show.Column{Name: "PROVIDER", Weight: 9, Least: 16}, show.Column{Name: "STATE", Weight: 8}, show.Column{Name: "LAST SUCCESS", Weight: 6},
		show.Column{Name: "QUEUED", Weight: 5}, show.Column{Name: "IN USE", Weight: 2}, show.Column{Name: "WHY IT WAITS", Weight: 7, Least: 24, Wrap: true})
	for _, p := range s.Providers {
		last := "-"
		if !p.LastSuccess.IsZero() {
			last = show.Age(s.Now.Sub(p.LastSuccess)) + " ago"
		}
		t.Row(cmp.Or(relay.Sanitize(p.Name), "(not known yet)"), p.State, last, p.Queued, p.Connections, p.Said)
	}
	return flushBelow(w, t)
}

// maxUnderway is how many attempts the screen shows, those that stand longest.
const maxUnderway = 10

func printUnderway(w io.Writer, s *admin.Status) error {
	t := show.NewTable(w, show.Column{Name: "HOST", Weight: 9, Least: 20}, show.Column{Name: "STAGE", Weight: 7}, show.Column{Name: "SINCE", Weight: 8},
		show.Column{Name: "MESSAGE", Weight: 6}, show.Column{Name: "FOR", Weight: 1, Least: 12})
	for _, c := range s.Connections[:min(len(s.Connections), maxUnderway)] {
		t.Row(cmp.Or(relay.Sanitize(c.Host), "(none yet)"), cmp.Or(string(c.Stage), "-"), show.Age(s.Now.Sub(c.Since)), c.ID, c.Destination)
	}
	if err := flushBelow(w, t); err != nil || len(s.Connections) <= maxUnderway {
		return err
	}
	_, err := fmt.Fprintf(w, "… and %d more\n", len(s.Connections)-maxUnderway)
	return err
}

// flushBelow prints a table that has rows, with an empty line above it.
func flushBelow(w io.Writer, t *show.Table) error {
	if t.Rows() == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return t.Flush()
}
