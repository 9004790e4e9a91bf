package cli

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/explain"
	"dawk/relay/admin"
)

func newExplainCommand(a *app.App) *cobra.Command {
	var asJSON bool
	var who string
	cmd := &cobra.Command{
		Use:   "explain FROM TO",
		Short: "Say what would happen to a message, and why",
		Long: "Says what would happen to a message from FROM to TO: who may send it, how it is signed, which route takes it,\n" +
			"to which hosts and addresses, with which TLS, under which limits, and where a bounce would go.\n" +
			"It connects to no mail server, sends nothing and changes nothing. FROM may be \"\", the null reverse-path.\n" +
			"If a relay runs with this configuration, it answers itself, with its quotas, holds and limits of the moment;\n" +
			"else the answer is made from the files, and says so.\n" +
			"Exit status 0: there is a host that it would be offered to; 1: it would be refused, held, or have nowhere to go.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("dawk explain needs two addresses, as in: dawk explain alice@example.org bob@example.com")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExplain(a, cmd.Context(), args[0], args[1], who, asJSON)
		},
	}
	cmd.Flags().StringVar(&who, "identity", "", "as sent by this user, or by a client without login: network:192.0.2.7")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func runExplain(a *app.App, ctx context.Context, from, to, who string, asJSON bool) error {
	q, err := explain.ParseQuestion(from, to, who)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(app.OrBackground(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := a.Client()
	if err != nil {
		return err
	}
	var x admin.Explanation
	err = c.Get(ctx, "/v1/explain", url.Values{"from": {q.From.String()}, "to": {q.To.String()}, "identity": {who}}, &x)
	if errors.Is(err, app.ErrNotRunning) {
		x, err = explainOffline(a, ctx, q)
	}
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(a.Stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(x)
	} else {
		err = explain.NewPrinter(a.Stdout, x.Now).Explanation(&x)
	}
	if err == nil && !x.OK {
		err = app.ErrReported
	}
	return err
}

func explainOffline(a *app.App, ctx context.Context, q explain.Question) (admin.Explanation, error) {
	cfg, err := config.LoadClient(a.ConfigPath)
	if err != nil {
		return admin.Explanation{}, err
	}
	return explain.Offline(ctx, cfg, q)
}
