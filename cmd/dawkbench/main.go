// Command dawkbench measures relays on this machine, side by side on the same
// work: how fast they accept and deliver, and what they pay for it. See
// docs/internals/performance.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "dawkbench",
		Short:         "Measure relays on this machine, side by side",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newSourceCommand(), newSinkCommand(), newCompareCommand(), newScaleCommand(), newLimitCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dawkbench:", err)
		stop()
		os.Exit(1)
	}
}
