package queuecmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/admin/bundle"
	"dawk/relay/filter"
)

// Verbs of the API that are none of the dispatcher's.
const (
	verbUndo    relay.Verb = "undo"
	verbConfirm relay.Verb = "confirm"
	verbImport  relay.Verb = "import"
)

func newUndoCommand(a *app.App) *cobra.Command {
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "undo [ACT]",
		Short: "Take back a delete, bounce, hold, release, reroute or export",
		Long: "Take back an act, without a number the last that can be taken back; dawk audit lists them.\n" +
			"Deleted mail is kept for 24 hours, and goes first when room is short. It comes back under new queue IDs,\n" +
			"and the old ones still answer. A bounce is taken back as long as its notice has not been sent.",
		Args: app.Arguments(0, 1, "[ACT]"),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.Client()
		if err != nil {
			return err
		}
		return runAct(c, cmd, a, admin.ActRequest{Verb: verbUndo, Act: strings.Join(args, ""), DryRun: dryRun}, asJSON)
	}
	return cmd
}

func newExportCommand(a *app.App) *cobra.Command {
	var all, dryRun bool
	var confirm string
	cmd := &cobra.Command{
		Use:   "export FILTER… FILE | export --confirm FILE",
		Short: "Write messages into a file for another relay, and hold them here",
		Long: "Write what a filter picks into FILE, a tar archive, and hold it here: nothing is sent from here meanwhile.\n" +
			"Then dawk queue import FILE at the other relay, and export --confirm FILE here, which lets the originals go.\n" +
			"dawk queue undo releases them instead.\n\n" + filter.Queue.Help(),
	}
	cmd.Flags().BoolVar(&all, "all", false, "the whole queue, instead of a filter")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be written")
	cmd.Flags().StringVar(&confirm, "confirm", "", "the FILE of an export that was imported: what it holds goes from here")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if confirm != "" {
			return confirmExport(cmd, a, confirm, dryRun)
		}
		if len(args) == 0 {
			return errors.New("queue export needs a filter and a file, as in: dawk queue export to=@example.com mail.tar")
		}
		filter, err := parseFilterArgs(args[:len(args)-1])
		if err != nil {
			return err
		}
		if filter.Empty() && !all {
			return errors.New("queue export needs to know which messages: give a filter before the file, or --all for the whole queue")
		}
		c, err := a.Client()
		if err != nil {
			return err
		}
		if dryRun {
			return runAct(c, cmd, a, admin.ActRequest{Verb: relay.VerbHold, Filter: filter.String(), All: all, DryRun: true}, false)
		}
		return export(c, cmd, a, admin.ExportRequest{Filter: filter.String(), All: all}, args[len(args)-1])
	}
	return cmd
}

func export(c *app.Client, cmd *cobra.Command, a *app.App, req admin.ExportRequest, file string) error {
	resp, err := c.Call(cmd.Context(), http.MethodPost, "/v1/queue/export", nil, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	p := show.NewProgress(a.Terminal, "export")
	n, err := writeWhole(file, p.Reader(resp.Body), func() error {
		if s := resp.Trailer.Get(admin.BackupFault); s != "" {
			return errors.New(relay.Sanitize(s))
		}
		return nil
	})
	p.Close()
	act := resp.Header.Get(admin.ExportAct)
	if err != nil {
		return fmt.Errorf("write the export: %w; what it has is on hold: dawk queue undo %s releases it", err, act)
	}
	messages := 0
	if _, err := readBundle(file, func() { messages++ }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Stdout, "%s: %s, %s, on hold here. Act %s\nImport it at the other relay with dawk queue import, then run dawk queue export --confirm %[1]s here.\n",
		file, show.Plural(messages, "message"), show.Size(n), act)
	return err
}

// readBundle reads a bundle to its end.
func readBundle(file string, each func()) (h bundle.Header, err error) {
	f, err := os.Open(file)
	if err != nil {
		return h, err
	}
	defer f.Close()
	err = bundle.Read(bufio.NewReader(f), func(head bundle.Header) error { h = head; return nil },
		func(_ bundle.Message, content io.Reader) error {
			each()
			_, err := io.Copy(io.Discard, content)
			return err
		})
	if err != nil {
		return h, fmt.Errorf("%s: %w", file, err)
	}
	return h, nil
}

func confirmExport(cmd *cobra.Command, a *app.App, file string, dryRun bool) error {
	h, err := readBundle(file, func() {})
	if err != nil {
		return err
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	return runAct(c, cmd, a, admin.ActRequest{Verb: verbConfirm, Act: h.Act, Bundle: h.Name, DryRun: dryRun}, false)
}

func newImportCommand(a *app.App) *cobra.Command {
	var asJSON, dryRun bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take in what dawk queue export has written at another relay",
		Long: "Take in what dawk queue export has written. Messages get new queue IDs, and the old ones still answer.\n" +
			"Importing a file again adds nothing.",
		Args: app.Arguments(1, 1, "FILE"),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		messages := 0
		if _, err := readBundle(args[0], func() { messages++ }); err != nil {
			return err // before anything is taken in
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		c, err := a.Client()
		if err != nil {
			return err
		}
		query := url.Values{}
		if dryRun {
			query.Set("dry_run", "true")
		}
		return runLines(c, cmd, a, "/v1/queue/import", query, f, admin.ActRequest{Verb: verbImport, DryRun: dryRun}, fmt.Sprintf(" of %d messages", messages), asJSON)
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be taken in")
	return cmd
}
