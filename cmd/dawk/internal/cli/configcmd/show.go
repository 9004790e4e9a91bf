package configcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/server"
	"dawk/relay/admin"
)

func newShow(a *app.App) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show what is in force, and where each value comes from",
		Long: "Shows every key that has a value: of the relay that runs with this configuration, or\n" +
			"of the file where none runs. Each line says where the value comes from: a line of the\n" +
			"file, a default, or other keys and this machine (derived). Secrets are in files of\n" +
			"their own and are not shown. --json has the keys without a value too.",
		Args: app.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := look(cmd.Context(), a)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(a.Stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(s)
			}
			return print(a.Stdout, s)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// look asks the relay, and reads the file where none runs.
func look(ctx context.Context, a *app.App) (s admin.Configuration, err error) {
	client, err := a.Client()
	if err != nil {
		return s, err
	}
	err = client.Get(app.OrBackground(ctx), "/v1/config", nil, &s)
	if !errors.Is(err, app.ErrNotRunning) {
		return s, err
	}
	c, err := config.LoadClient(a.ConfigPath)
	if err != nil {
		return admin.Configuration{}, err
	}
	return server.Configuration(c, false, false), nil
}

func print(w io.Writer, s admin.Configuration) error {
	where := s.File
	if where == "" {
		where = "no file: the built-in defaults"
	}
	state := "no relay runs with it"
	switch {
	case s.Stale:
		state = "in force in the relay that runs; THE FILE HAS CHANGED SINCE: `dawk reload` takes it"
	case s.Live:
		state = "in force in the relay that runs"
	}
	fmt.Fprintf(w, "# %s; %s\n", where, state)
	width := 0
	lines := make([][2]string, 0, len(s.Settings))
	for _, set := range s.Settings {
		if set.From == config.FromDefault && empty(set.Value) {
			continue
		}
		from := set.From
		if set.Line > 0 {
			from = fmt.Sprintf("line %d", set.Line)
		}
		text := set.Key + " = " + shown(set.Value)
		lines = append(lines, [2]string{text, from})
		width = max(width, min(len(text), 60))
	}
	for _, l := range lines {
		if _, err := fmt.Fprintf(w, "%-*s  # %s\n", width, l[0], l[1]); err != nil {
			return err
		}
	}
	return nil
}

// empty says whether a value is that of a key which nobody has set.
func empty(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.IsZero() || r.Kind() == reflect.Slice && r.Len() == 0
}

// shown is a value as the file would have it. JSON's strings, numbers and lists of
// them are TOML's too.
func shown(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(strings.ReplaceAll(b.String(), `","`, `", "`))
}
