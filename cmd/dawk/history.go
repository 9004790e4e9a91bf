package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/history"
)

func newHistoryCommand(a *app) *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "history [TERM…]",
		Short: "Say what became of mail, also after it has left",
		Long: "Say what became of mail, also after it has left: each attempt and outcome with the\n" +
			"reply, the host and the TLS version. All terms must hold:\n\n" + history.QueryHelp + "\n\n" +
			"It reads the files below data_dir and needs no running relay. [history] keep and\n" +
			"max_size say how far back they go.",
		Example: "  dawk history to=sales@example.com since=2d\n  dawk history from=@example.org is=failed,expired",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, one record a line")
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most so many records, the newest; 0: all")
	cmd.RunE = func(_ *cobra.Command, terms []string) error { return a.history(terms, limit, asJSON) }
	return cmd
}

func (a *app) history(terms []string, limit int, asJSON bool) error {
	cfg, err := config.LoadClient(a.configPath)
	if err != nil {
		return err
	}
	q, err := history.ParseQuery(terms, time.Now())
	if err != nil {
		return err
	}
	// The newest are wanted and the oldest come first: a ring keeps the last.
	var ring []history.Record
	seen := 0
	out := bufio.NewWriter(a.stdout)
	p := newPrinter(out, time.Now())
	put := func(r history.Record) error {
		if asJSON {
			return json.NewEncoder(out).Encode(r)
		}
		p.record(&r)
		return p.err
	}
	err = history.Read(cfg.HistoryDir(), q, func(r history.Record) error {
		seen++
		switch {
		case limit <= 0:
			return put(r)
		case len(ring) < limit:
			ring = append(ring, r)
		default:
			ring[(seen-1)%limit] = r
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range ring {
		if err := put(ring[(seen+i)%len(ring)]); err != nil {
			return err
		}
	}
	switch {
	case asJSON:
	case seen == 0:
		p.line("Nothing in the history is so.")
	case limit > 0 && seen > limit:
		p.line("The newest %d of %d records; --limit 0 shows all.", limit, seen)
	}
	if p.err != nil {
		return p.err
	}
	return out.Flush()
}

// record is one line of the history, and one more for a reply.
func (p *printer) record(r *history.Record) {
	if r.Kind == relay.EventNotified {
		what := "was queued as " + r.NoticeID.String()
		if r.NoticeID.IsZero() {
			what = "is part of a later list"
		}
		p.line("%s  %s  %s  a notice (%s) %s to %s", p.clock(r.At), r.ID, p.paint(yellow, "notified"),
			relay.Sanitize(r.NoticeKind), what, r.To)
		return
	}
	colour := red
	switch r.Kind {
	case relay.EventRelayed, relay.EventDelivered:
		colour = green
	case relay.EventDelayed:
		colour = yellow
	}
	where := via(&admin.Ended{Source: r.Source, Host: r.Host, Addr: r.Addr, TLS: r.TLS, Attempt: r.Attempt})
	p.line("%s  %s  %s  %s → %s%s", p.clock(r.At), r.ID, p.paint(colour, string(r.Kind)), sender(r.From), r.To, where)
	details := []string{}
	if !r.Reply.IsZero() {
		details = append(details, p.reply(r.Reply))
	}
	if r.Kind == relay.EventDelayed && !r.Next.IsZero() {
		details = append(details, fmt.Sprintf("next try %s%s", p.clock(r.Next), because(r.Rule)))
	}
	if len(details) > 0 {
		p.line("    %s", strings.Join(details, "; "))
	}
}
