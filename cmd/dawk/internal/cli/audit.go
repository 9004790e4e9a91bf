package cli

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin/audit"
)

func newAuditCommand(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "audit [TERM…]",
		Short: "Say who did what to the queue",
		Long: "Say who did what, the last year, oldest first. \n\n" + audit.Terms.Help() + "\n\n" +
			"It reads the files below data_dir and needs no running relay.",
		Example: "  dawk audit since=2d\n  dawk audit verb=delete,bounce who=uid:0",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, one record a line")
	cmd.RunE = func(_ *cobra.Command, terms []string) error {
		q, err := audit.Terms.Args(terms, time.Now())
		if err != nil {
			return err
		}
		cfg, err := a.Settings()
		if err != nil {
			return err
		}
		all, err := audit.Read(cfg.AuditDir(), q)
		if err != nil {
			return err
		}
		t := show.NewTable(a.Stdout, show.Column{Name: "ACT", Weight: 9, Right: true}, show.Column{Name: "TIME", Weight: 8}, show.Column{Name: "WHO", Weight: 7, Least: 8},
			show.Column{Name: "VERB", Weight: 6}, show.Column{Name: "COUNT", Weight: 5, Right: true}, show.Column{Name: "FILTER", Weight: 4, Least: 20})
		for _, r := range all {
			if asJSON {
				if err := json.NewEncoder(a.Stdout).Encode(r); err != nil {
					return err
				}
				continue
			}
			filter := relay.Sanitize(r.Filter)
			if filter == "" && r.Act != "" {
				filter = "(all)"
			}
			count := ""
			if r.Act != "" { // else it is for no mail
				count = strconv.Itoa(r.Count)
			}
			t.Row(r.Act, r.Time.Local().Format("2006-01-02 15:04:05"), relay.Sanitize(r.Who), r.Verb, count, filter)
		}
		return t.Flush()
	}
	return cmd
}
