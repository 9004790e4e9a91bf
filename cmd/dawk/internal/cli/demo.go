package cli

import (
	"log/slog"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/demo"
)

func newDemoCommand(a *app.App) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See a delivery, a retry and a bounce, all on this machine",
		Long: `Run a real relay with a real queue, a DNS zone and receiving servers, all on
loopback and in a temporary directory, and send three messages through it: one
is delivered, one is deferred and tried again, one bounces. The exit status is 0
only if all three happened.`,
		Args: app.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, _, stop := withSignals(cmd.Context(), slog.New(slog.DiscardHandler), func() {})
			defer stop()
			return demo.Run(ctx, a.Raw, keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave it running until Ctrl-C, with a stuck message to look at")
	return cmd
}
