package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/tomlfile"
)

// checkTime is what `dawk check` takes at most.
const checkTime = 30 * time.Second

// level says how bad a finding is.
type level string

const (
	levelOK      level = "ok"
	levelWarning level = "warning"
	levelError   level = "error" // mail will not flow: exit status 1
)

// finding is one line of `dawk check`.
type finding struct {
	Check   string `json:"check"`
	Level   level  `json:"level"`
	Message string `json:"message"`          // one sentence: what is so
	Advice  string `json:"advice,omitempty"` // what to do about it
}

// checker looks at one configuration from all sides. Its methods are the
// checks; they change nothing but for a file that is made and removed in the
// data directory.
type checker struct {
	cfg     *config.Config
	running bool // a dawk with this data directory runs

	outbound6 func() netip.Addr // see there; nil: not looked at
}

func newCheckCommand(a *app) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the settings and this machine before they are used",
		Long: "Checks the configuration, certificate, users, disk, DNS, listeners, our name, SPF and DKIM records,\n" +
			"port 25 and the smart hosts' logins. It changes nothing and sends no mail. Run it as the user that the relay runs as.\n" +
			"Exit status 1 if anything is wrong; warnings do not count.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.check(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) check(ctx context.Context, asJSON bool) error {
	if ctx == nil {
		ctx = context.Background()
	}
	findings := checkAll(ctx, a.configPath)
	errs, warnings := 0, 0
	for _, f := range findings {
		switch f.Level {
		case levelError:
			errs++
		case levelWarning:
			warnings++
		}
	}
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(struct {
			OK       bool      `json:"ok"`
			Findings []finding `json:"findings"`
		}{errs == 0, findings}); err != nil {
			return err
		}
	} else {
		printFindings(a.stdout, findings)
		fmt.Fprintf(a.stdout, "\n%s, %s\n", count(errs, "error"), count(warnings, "warning"))
	}
	if errs > 0 {
		return errReported
	}
	return nil
}

// checkAll makes every check, several at a time, and keeps their order.
func checkAll(ctx context.Context, path string) []finding {
	cfg, err := config.Load(path)
	if err != nil {
		return configFindings(err)
	}
	c := &checker{cfg: cfg, running: dawkRuns(cfg), outbound6: outbound6}
	checks := []func(context.Context) []finding{
		c.configuration, c.tls, c.users, c.data, c.dns, c.dane, c.listeners, c.trust, c.postmaster, c.RouteName, c.sources, c.Shaping, c.dkim, c.spf, c.port25, c.routes,
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	results := make([][]finding, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { results[i] = check(ctx) })
	}
	wg.Wait()
	var all []finding
	for _, r := range results {
		all = append(all, r...)
	}
	return all
}

// configFindings is one line for each fault of the file.
func configFindings(err error) []finding {
	var e *tomlfile.Error
	if !errors.As(err, &e) {
		return []finding{bad("configuration", "correct the path after -c, or the rights of the file", "%v", err)}
	}
	var all []finding
	for _, f := range e.Faults {
		all = append(all, bad("configuration", "", "%s:%d:%d: %s", e.File, f.Line, f.Column, f.Message))
	}
	all[len(all)-1].Advice = "mend these first; everything else is checked after that"
	return all
}

// dawkRuns says whether somebody answers on the socket of the data directory.
func dawkRuns(cfg *config.Config) bool {
	nc, err := net.DialTimeout("unix", filepath.Join(cfg.DataDir, admin.SocketName), time.Second)
	if err == nil {
		nc.Close()
	}
	return err == nil
}

func good(check, format string, args ...any) finding {
	return finding{Check: check, Level: levelOK, Message: relay.Sanitize(fmt.Sprintf(format, args...))}
}

func warn(check, advice, format string, args ...any) finding {
	return finding{Check: check, Level: levelWarning, Message: relay.Sanitize(fmt.Sprintf(format, args...)), Advice: advice}
}

func bad(check, advice, format string, args ...any) finding {
	return finding{Check: check, Level: levelError, Message: relay.Sanitize(fmt.Sprintf(format, args...)), Advice: advice}
}

func printFindings(w io.Writer, findings []finding) {
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	for _, f := range findings {
		mark := map[level]string{levelOK: "✔", levelWarning: "!", levelError: "✘"}[f.Level]
		fmt.Fprintf(w, "%s %-*s  %s\n", mark, width, f.Check, f.Message)
		if f.Advice != "" {
			fmt.Fprintf(w, "  %*s  → %s\n", width, "", f.Advice)
		}
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func countOf[T any](list []T, what string) string { return count(len(list), what) }

// names joins what an administrator reads as a list.
func names(list []string) string { return strings.Join(list, ", ") }
