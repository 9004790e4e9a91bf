package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/explain"
)

func newProbeCommand(a *app.App) *cobra.Command {
	var asJSON bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "probe DOMAIN|HOST[:PORT]",
		Short: "Connect to the hosts of a domain and say what they show",
		Long: "Looks up where mail for a domain goes, connects to each host, and says what it shows: banner, extensions,\n" +
			"TLS and certificate, and what DANE and MTA-STS make of them. It says EHLO, STARTTLS and QUIT, never MAIL.\n" +
			"With a port, or as an address, the argument is a host, which is asked alone; port 465 begins with TLS.\n" +
			"It uses [dns] and [delivery] of the configuration and needs no running relay.\n" +
			"Exit status 0: mail would be given to one of them; 1: to none.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("dawk probe needs one domain or host, such as example.org or mx.example.org:25")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runProbe(a, cmd.Context(), args[0], limit, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().DurationVar(&limit, "timeout", probeTime, "give up after this time")
	return cmd
}

func runProbe(a *app.App, ctx context.Context, subject string, limit time.Duration, asJSON bool) error {
	cfg, err := config.LoadClient(a.ConfigPath)
	if err != nil {
		return err
	}
	t, err := explain.NewTransport(cfg)
	if err != nil {
		return err
	}
	defer t.Close()
	ctx, stop := signal.NotifyContext(app.OrBackground(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := t.Survey(ctx, subject)
	if err != nil {
		return err
	}
	out := explain.NewProbed(s)
	if asJSON {
		enc := json.NewEncoder(a.Stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(out)
	} else {
		err = explain.NewPrinter(a.Stdout, time.Now()).Survey(out)
	}
	if err == nil && !out.OK {
		err = app.ErrReported
	}
	return err
}

// probeTime is what `dawk probe` takes at most, unless told otherwise.
const probeTime = time.Minute
