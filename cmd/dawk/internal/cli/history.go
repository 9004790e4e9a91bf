package cli

import (
	"bufio"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/explain"
	"dawk/relay/history"
)

func newHistoryCommand(a *app.App) *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "history [TERM…]",
		Short: "Say what became of mail, also after it has left",
		Long: "Say what became of mail, also after it has left: each attempt and outcome with the\n" +
			"reply, the host and the TLS version. \n\n" + history.Terms.Help() + "\n\n" +
			"It reads the files below data_dir and needs no running relay. [history] keep and\n" +
			"max_size say how far back they go.",
		Example: "  dawk history to=sales@example.com since=2d\n  dawk history from=@example.org is=failed,expired",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, one record a line")
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most this many records, the newest; 0: all")
	cmd.RunE = func(_ *cobra.Command, terms []string) error { return runHistory(a, terms, limit, asJSON) }
	return cmd
}

func runHistory(a *app.App, terms []string, limit int, asJSON bool) error {
	cfg, err := a.Settings()
	if err != nil {
		return err
	}
	q, err := history.Terms.Args(terms, time.Now())
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.Stdout)
	p := explain.NewPrinter(out, time.Now())
	put := func(r history.Record) error {
		if asJSON {
			return json.NewEncoder(out).Encode(r)
		}
		p.Record(&r)
		return p.Err
	}
	var newest []history.Record
	seen, more := 0, false
	if limit > 0 {
		newest, seen, more, err = history.Newest(cfg.HistoryDir(), q, limit)
	} else {
		err = history.Read(cfg.HistoryDir(), q, func(r history.Record) error { seen++; return put(r) })
	}
	if err != nil {
		return err
	}
	for _, r := range newest {
		if err := put(r); err != nil {
			return err
		}
	}
	switch {
	case asJSON:
	case seen == 0:
		p.Line("No attempt in the history matches.")
	case more:
		p.Line("The newest %d of more than %d records; --limit 0 shows all.", limit, seen-1)
	case limit > 0 && seen > limit:
		p.Line("The newest %d of %d records; --limit 0 shows all.", limit, seen)
	}
	if p.Err != nil {
		return p.Err
	}
	return out.Flush()
}
