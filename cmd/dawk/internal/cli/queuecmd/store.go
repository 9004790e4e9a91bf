package queuecmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/server"
	"dawk/cmd/dawk/internal/show"
	"dawk/queue/boltstore"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/durable"
)

func newQueueStoreCommands(a *app.App) []*cobra.Command {
	return []*cobra.Command{newQueueVerifyCommand(a), newQueueCompactCommand(a), newQueueBackupCommand(a)}
}

// newQueueVerifyCommand and newQueueCompactCommand ask the running relay or,
// where none runs, open the store themselves: the store's own lock keeps a
// relay from starting meanwhile.
func newQueueVerifyCommand(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check every invariant of the queue, whether the relay runs or not",
		Args:  app.NoArguments,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := maintain(a, cmd.Context(), askVerify, verifyOffline)
		if err != nil {
			return err
		}
		if asJSON {
			err = json.NewEncoder(a.Stdout).Encode(r)
		} else {
			err = printVerified(a.Stdout, r)
		}
		if err == nil && len(r.Problems)+r.More > 0 {
			err = app.ErrReported
		}
		return err
	}
	return cmd
}

func newQueueCompactCommand(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Give the queue file's free space back, whether the relay runs or not",
		Long: "Give the queue file's free space back to the file system. It needs room for a\n" +
			"second copy of what is in the queue while it works. The relay does the same by\n" +
			"itself at start when more than half of a large file is free.",
		Args: app.NoArguments,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		compact := func(ctx context.Context, c *app.Client, _ *show.Progress) (r admin.Report, err error) {
			return r, c.One(ctx, http.MethodPost, "/v1/store/compact", nil, &r)
		}
		r, err := maintain(a, cmd.Context(), compact, compactOffline)
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(a.Stdout).Encode(r)
		}
		_, err = fmt.Fprintf(a.Stdout, "The queue file has %s now; it had %s.\n", show.Size(r.After), show.Size(r.Before))
		return err
	}
	return cmd
}

// askVerify asks the running relay, and says how far it is.
func askVerify(ctx context.Context, c *app.Client, p *show.Progress) (admin.Report, error) {
	resp, err := c.Call(ctx, http.MethodPost, "/v1/store/verify", nil, nil)
	if err != nil {
		return admin.Report{}, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var at admin.Verifying
		if err := d.Decode(&at); err != nil {
			return admin.Report{}, errors.New("the relay's answer broke off before its end: it stopped or could not read on; see its log and ask again")
		}
		if at.Report != nil {
			return *at.Report, nil
		}
		sayVerified(p)(at.Done, at.Total)
	}
}

func sayVerified(p *show.Progress) func(done, total int64) {
	return func(done, total int64) { p.Say("%d of %d messages", done, total) }
}

// maintain asks the relay or, where none runs, works itself.
func maintain(a *app.App, ctx context.Context, ask func(context.Context, *app.Client, *show.Progress) (admin.Report, error),
	offline func(context.Context, *config.Config, *slog.Logger, *show.Progress) (*admin.Report, error)) (*admin.Report, error) {
	c, err := a.Client()
	if err != nil {
		return nil, err
	}
	p := show.NewProgress(a.Terminal, "working on the queue")
	defer p.Close()
	r, err := ask(ctx, c, p)
	if !errors.Is(err, app.ErrNotRunning) {
		return &r, err
	}
	cfg, err := config.LoadClient(a.ConfigPath)
	if err != nil {
		return nil, err
	}
	return offline(ctx, cfg, cfg.Log.Logger(a.Stderr), p)
}

func printVerified(w io.Writer, r *admin.Report) error {
	p := show.NewPrinter(w, time.Now())
	for _, problem := range r.Problems {
		p.Line("%s", relay.Sanitize(problem))
	}
	if r.More > 0 {
		p.Line("… and %d more", r.More)
	}
	found := "every invariant holds"
	if n := len(r.Problems) + r.More; n > 0 {
		found = show.Plural(n, "problem") + " found"
	}
	p.Line("Checked %s and %s: %s.", show.Plural(int(r.Messages), "message"), show.Plural(int(r.Deliveries), "delivery"), found)
	if n := len(r.SetAside); n > 0 {
		p.Line("Set aside earlier, because it could not be read: %s. It is kept in the queue file.", show.Plural(n, "record"))
	}
	for _, note := range r.Notes {
		p.Line("Note: %s.", relay.Sanitize(note))
	}
	for _, s := range r.SetAside {
		p.Line("  %s", relay.Sanitize(s))
	}
	return p.Err
}

func newQueueBackupCommand(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the running relay's queue",
		Long: "Write a consistent copy of the running relay's queue to FILE (\"-\": standard\n" +
			"output), a tar archive. FILE appears only when it is whole. Restored, messages that were\n" +
			"delivered after the copy are delivered again.",
		Args: app.Arguments(1, 1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			return backup(c, cmd.Context(), a, args[0])
		},
	}
}

func backup(c *app.Client, ctx context.Context, a *app.App, file string) error {
	if file == "-" && show.IsTerminal(a.Stdout) {
		return errors.New("a backup is not text for a terminal: redirect it, or name a file")
	}
	resp, err := c.Call(ctx, http.MethodGet, "/v1/store/backup", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	faults := func() error {
		if s := resp.Trailer.Get(admin.BackupFault); s != "" {
			return errors.New(relay.Sanitize(s))
		}
		return nil
	}
	if file == "-" {
		if _, err = io.Copy(a.Raw, resp.Body); err == nil {
			err = faults()
		}
		if err != nil {
			return fmt.Errorf("the backup is incomplete: %w", err)
		}
		return nil
	}
	p := show.NewProgress(a.Terminal, "backup")
	n, err := writeWhole(file, p.Reader(resp.Body), faults)
	p.Close()
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	_, err = fmt.Fprintf(a.Stdout, "%s: %s.\n", file, show.Size(n))
	return err
}

// writeWhole writes a file that appears under its name only when all of it is
// on stable storage: a backup that was cut must not pass for one. It holds
// mail, so only its owner may read it. If faults, asked at the end, finds one,
// what there is stays as file.incomplete.
func writeWhole(file string, r io.Reader, faults func() error) (n int64, err error) {
	f, err := durable.Create(file) // mode 0600
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if n, err = io.Copy(f, r); err != nil {
		return n, err
	}
	fault := faults()
	if fault != nil {
		file += ".incomplete"
		fault = fmt.Errorf("it is incomplete, and was kept as %s: %w", file, fault)
	}
	return n, errors.Join(fault, f.CommitAs(file))
}

// verifyOffline checks the store of a relay that does not run. It changes
// nothing.
func verifyOffline(ctx context.Context, cfg *config.Config, _ *slog.Logger, p *show.Progress) (*admin.Report, error) {
	r, err := boltstore.VerifyDir(ctx, cfg.DataDir, sayVerified(p))
	if err != nil {
		return nil, err
	}
	out := server.AdminReport(r)
	return &out, nil
}

// compactOffline opens the store as the relay would, with all that a start
// mends.
func compactOffline(ctx context.Context, cfg *config.Config, log *slog.Logger, _ *show.Progress) (*admin.Report, error) {
	// Open would make a new queue where there is none.
	if entries, err := os.ReadDir(cfg.DataDir); errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, fmt.Errorf("there is no queue in %s", filepath.Clean(cfg.DataDir))
	}
	q, err := boltstore.Open(cfg.QueueOptions(log))
	if err != nil {
		return nil, err
	}
	r, err := server.Compact(ctx, q)
	if err := errors.Join(err, q.Close()); err != nil {
		return nil, err
	}
	return &r, nil
}
