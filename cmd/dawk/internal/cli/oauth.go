package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"dawk/cmd/dawk/internal/check"
	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/show"
	"dawk/mx"
	"dawk/mx/dns"
	"dawk/mx/oauth"
	"dawk/relay"
	"dawk/relay/admin"
)

func newOAuthCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "oauth",
		Short: "Log in at smart hosts, and see how the logins are",
		Args:  app.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	asJSON := false
	status := &cobra.Command{
		Use: "status", Short: "Say how the logins of all routes are", Args: app.NoArguments,
		Long: "Say of every login when its token ends, when it was renewed and used last, and what is wrong with it.\n" +
			"Exit status 1 if a login is in trouble.",
		RunE: func(cmd *cobra.Command, _ []string) error { return oauthStatus(a, cmd.Context(), asJSON) },
	}
	status.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	test := &cobra.Command{
		Use: "test ROUTE", Short: "Log in at a route's smart host; send nothing", Args: oneRoute,
		Long: "Get a token and log in, as a delivery would, and send nothing. If the route is held and the login works\n" +
			"again, its mail leaves at once. Exit status 1 on trouble.",
		RunE: func(cmd *cobra.Command, args []string) error { return oauthTest(a, cmd.Context(), args[0], asJSON) },
	}
	test.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	login := &cobra.Command{
		Use: "login ROUTE", Short: "Walk through the login of a route", Args: oneRoute,
		Long: "With flow = \"device_code\": show a code to enter in any browser, wait until that is done, and keep the\n" +
			"refresh token. With another flow: ask for the secret (or read it from the first line of standard input)\n" +
			"and put it into its file. Then log in at the smart host and say what is missing. A relay that runs goes\n" +
			"on with the new login within a second.",
		RunE: func(cmd *cobra.Command, args []string) error { return oauthLogin(a, cmd.Context(), args[0]) },
	}
	cmd.AddCommand(login, status, test)
	return cmd
}

func oneRoute(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return fmt.Errorf("`%s` takes the name of one route; dawk oauth status lists them", cmd.CommandPath())
}

func oauthStatus(a *app.App, ctx context.Context, asJSON bool) error {
	ctx = app.OrBackground(ctx)
	c, err := a.Client()
	if err != nil {
		return err
	}
	var all []admin.LoginStatus
	running := true
	if err := c.Get(ctx, "/v1/oauth", nil, &all); errors.Is(err, app.ErrNotRunning) {
		running = false
		offline, lerr := offlineLogins(a)
		if lerr != nil {
			return lerr
		}
		defer offline.Close()
		all = check.LoginStatuses(offline)
	} else if err != nil {
		return err
	}
	if asJSON {
		if all == nil {
			all = []admin.LoginStatus{}
		}
		if err := json.NewEncoder(a.Stdout).Encode(all); err != nil {
			return err
		}
	} else {
		printLogins(a.Stdout, all, running)
	}
	for _, l := range all {
		if l.Error != "" || l.Why != "" || l.Load != nil && !l.Load.Failure.IsZero() {
			return app.ErrReported
		}
	}
	return nil
}

func printLogins(w io.Writer, all []admin.LoginStatus, running bool) {
	if len(all) == 0 {
		fmt.Fprintln(w, "No route has a login.")
		return
	}
	now := time.Now()
	ago := func(t time.Time) string {
		switch {
		case t.IsZero():
			return "–"
		case t.After(now):
			return "in " + show.Age(t.Sub(now))
		}
		return show.Age(now.Sub(t)) + " ago"
	}
	tw := show.NewTable(w, show.Column{Name: "ROUTE", Weight: 9}, show.Column{Name: "USER", Weight: 7, Least: 16}, show.Column{Name: "FLOW"}, show.Column{Name: "TOKEN ENDS", Weight: 8},
		show.Column{Name: "RENEWED", Weight: 1}, show.Column{Name: "USED", Weight: 6})
	for _, l := range all {
		tw.Row(l.Route, l.User, l.Flow, ago(l.Expiry), ago(l.LastRefresh), ago(l.LastUse))
	}
	tw.Flush()
	for _, l := range all {
		switch {
		case !l.HeldSince.IsZero():
			fmt.Fprintf(w, "✘ %s is held since %s: %s\n", l.Route, l.HeldSince.Local().Format("2006-01-02 15:04:05 MST"), relay.Sanitize(l.Why))
		case l.Error != "":
			fmt.Fprintf(w, "✘ %s: %s\n", l.Route, relay.Sanitize(l.Error))
		case l.Load != nil:
			fmt.Fprintf(w, "! mail of %s waits: %s\n", l.Route, relay.Sanitize(l.Load.Said))
			l.Remedy = l.Load.Failure.Remedy
		default:
			continue
		}
		if l.Remedy != "" {
			fmt.Fprintf(w, "  → %s\n", relay.Sanitize(l.Remedy))
		}
	}
	if !running {
		fmt.Fprintln(w, "dawk is not running: tokens at hand and their use are not known; dawk oauth test ROUTE tries a login.")
	}
}

func oauthTest(a *app.App, ctx context.Context, route string, asJSON bool) error {
	ctx = app.OrBackground(ctx)
	c, err := a.Client()
	if err != nil {
		return err
	}
	var out admin.LoginTest
	err = c.One(ctx, http.MethodPost, "/v1/oauth/test", url.Values{"route": {route}}, &out)
	if errors.Is(err, app.ErrNotRunning) {
		out, err = testOffline(a, ctx, route)
	}
	if err != nil {
		return err
	}
	if asJSON {
		if err := json.NewEncoder(a.Stdout).Encode(out); err != nil {
			return err
		}
	} else {
		for _, f := range out.Findings {
			mark := map[bool]string{true: "✔", false: "✘"}[f.OK]
			fmt.Fprintln(a.Stdout, mark, relay.Sanitize(relay.Advised(f.Text, f.Remedy)))
		}
		for _, m := range out.Missing {
			fmt.Fprintln(a.Stdout, " ", relay.Sanitize(relay.Advised(m.Text, m.Remedy)))
		}
	}
	if !out.OK {
		return app.ErrReported
	}
	return nil
}

// testOffline tests a login without a relay that runs.
func testOffline(a *app.App, ctx context.Context, route string) (admin.LoginTest, error) {
	cfg, err := config.Load(a.ConfigPath)
	if err != nil {
		return admin.LoginTest{}, err
	}
	mc, l, err := routesOffline(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return admin.LoginTest{}, err
	}
	defer l.Close()
	t, err := mx.NewTransport(mc)
	if err != nil {
		return admin.LoginTest{}, err
	}
	defer t.Close()
	return check.TestLogin(ctx, t, l, route)
}

func offlineLogins(a *app.App) (config.Logins, error) {
	cfg, err := config.LoadClient(a.ConfigPath)
	if err != nil {
		return nil, err
	}
	_, l, err := routesOffline(cfg, slog.New(slog.DiscardHandler))
	return l, err
}

// oauthLogin does not need the files of secrets: it may be the one to make
// them.
func oauthLogin(a *app.App, ctx context.Context, name string) error {
	ctx, stop := signal.NotifyContext(app.OrBackground(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg, err := config.LoadClient(a.ConfigPath)
	if err != nil {
		return err
	}
	_ = cfg.LoadRoots() // a login over a host with a private authority fails, and says so
	_, all, err := routesOffline(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer all.Close()
	s := all[name]
	if s == nil {
		return fmt.Errorf("there is no route %q with a login; dawk oauth status lists them", relay.Clip(name))
	}
	if file, what := cfg.SecretFile(name); file != "" {
		err = keepSecret(a, name, file, what)
	} else {
		err = walkThrough(a, ctx, s)
	}
	if err != nil {
		return errors.New(relay.Advised(err.Error(), relay.RemedyOf(err)))
	}
	return oauthTest(a, ctx, name, false)
}

// walkThrough is the device code flow.
func walkThrough(a *app.App, ctx context.Context, s *oauth.Source) error {
	err := s.Login(ctx, func(p oauth.Prompt) {
		fmt.Fprintf(a.Stdout, "Open %s in a browser on any machine,\nenter the code  %s  and log in as the mailbox that sends.\n",
			relay.Sanitize(p.URI), relay.Sanitize(p.Code))
		if !p.Expires.IsZero() {
			fmt.Fprintf(a.Stdout, "The code is good for %s. Waiting …\n", show.Age(time.Until(p.Expires)))
		}
	})
	if errors.Is(err, context.Canceled) {
		return errors.New("stopped; nothing was changed")
	}
	if err == nil {
		fmt.Fprintln(a.Stdout, "✔ Logged in; the token is stored.")
	}
	return err
}

// keepSecret asks for a secret and puts it into its file. What is not typed at
// a terminal is taken whole: a key is more than one line.
func keepSecret(a *app.App, route, file, what string) error {
	if name, ok := strings.CutPrefix(file, oauth.EnvPrefix); ok {
		fmt.Fprintf(a.Stdout, "The %s comes from the environment variable %s; set it there, for dawk too, which reads it when it starts.\n", what, name)
		return nil
	}
	var secret string
	if f, ok := a.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if strings.HasPrefix(what, "JSON") {
			return fmt.Errorf("put the %s into %s, or pipe it in: dawk oauth login %s < key.json", what, file, route)
		}
		fmt.Fprintf(a.Stderr, "What you enter goes into %s and is not shown.\n", file)
		typed, err := a.AskHidden(int(f.Fd()), fmt.Sprintf("The %s for route %s: ", what, route))
		if err != nil {
			return err
		}
		secret = typed[0]
	} else {
		data, err := io.ReadAll(io.LimitReader(a.Stdin, 64<<10+1))
		if err != nil || len(data) > 64<<10 {
			return errors.New("reading the secret: standard input cannot be read, or has more than 64 KiB")
		}
		secret = string(data)
	}
	if secret = strings.TrimSpace(secret); secret == "" {
		return errors.New("no secret was given; nothing was changed")
	}
	if err := oauth.WriteSecret(file, []byte(secret+"\n")); err != nil {
		return fmt.Errorf("write the secret: %w", err)
	}
	fmt.Fprintf(a.Stdout, "✔ The secret is in %s.\n", file)
	return nil
}

// routesOffline is what a Transport of a command needs.
func routesOffline(c *config.Config, log *slog.Logger) (mx.Config, config.Logins, error) {
	mc, err := c.MXConfig(log)
	if err != nil {
		return mx.Config{}, nil, err
	}
	resolver, err := dns.NewResolver(c.ResolverConfig())
	if err != nil {
		return mx.Config{}, nil, fmt.Errorf("dns: %w", err)
	}
	mc.Resolver = resolver
	l, err := c.Logins(&mc, log, nil, nil)
	return mc, l, err
}
