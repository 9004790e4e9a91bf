package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/relay/admin"
)

func newDrainCommand(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "drain",
		Short: "Have the running relay take nothing new, deliver what is due, and end",
		Long: "Have the running relay take nothing new, deliver what is due now, and end; the\n" +
			"command tells of the progress and ends with it. Clients hear 421 or are refused,\n" +
			"programs of this machine leave their mail in the drop folder. Mail that waits for\n" +
			"a later time, or is on hold, stays in the queue for the next start.\n\n" +
			"The relay goes on draining when this command is interrupted. SIGTERM ends it.",
		Args: app.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return drainRelay(cmd.Context(), a) },
	}
}

func drainRelay(ctx context.Context, a *app.App) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	resp, err := c.Call(ctx, http.MethodPost, "/v1/drain", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var at admin.Draining
	for lines := json.NewDecoder(resp.Body); ; {
		if err := lines.Decode(&at); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted; the relay goes on draining")
			}
			if !errors.Is(err, io.EOF) && at.Due > 0 {
				return fmt.Errorf("the relay's answer broke off with %d deliveries due: see its log", at.Due)
			}
			break
		}
		fmt.Fprintf(a.Stdout, "%d deliveries are due, %d stay for later\n", at.Due, at.Stays)
	}
	for { // until the queue is closed, too
		_, err := c.Health(ctx)
		if errors.Is(err, app.ErrNotRunning) {
			fmt.Fprintln(a.Stdout, "the relay has ended")
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted; the relay goes on draining")
		case <-time.After(100 * time.Millisecond):
		}
	}
}
