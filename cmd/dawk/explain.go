package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/admin"
	"dawk/relay/identity"
)

// explainTime bounds the look-ups of one explanation.
const explainTime = 30 * time.Second

func newExplainCommand(a *app) *cobra.Command {
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
			return a.explain(cmd.Context(), args[0], args[1], who, asJSON)
		},
	}
	cmd.Flags().StringVar(&who, "identity", "", "as sent by this user, or by a client without login: network:192.0.2.7")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func (a *app) explain(ctx context.Context, from, to, who string, asJSON bool) error {
	q, err := parseQuestion(from, to, who)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(orBackground(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := a.client()
	if err != nil {
		return err
	}
	var x explanation
	err = c.get(ctx, "/v1/explain", url.Values{"from": {q.from.String()}, "to": {q.to.String()}, "identity": {who}}, &x)
	if errors.Is(err, errNotRunning) {
		x, err = a.explainOffline(ctx, q)
	}
	if err != nil {
		return err
	}
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(x)
	} else {
		err = newPrinter(a.stdout, x.Now).explanation(&x)
	}
	if err == nil && !x.OK {
		err = errReported
	}
	return err
}

// question is what explain is asked.
type question struct {
	from, to relay.Path
	identity string
}

func parseQuestion(from, to, who string) (question, error) {
	q := question{identity: who}
	var err error
	if q.from, err = relay.ParsePath(from); err != nil && from != "" && from != "<>" {
		return q, fmt.Errorf("FROM: %w", err)
	}
	if q.to, err = relay.ParsePath(to); err != nil {
		return q, fmt.Errorf("TO: %w", err)
	}
	if q.to.IsNull() {
		return q, errors.New("TO: mail needs somebody to go to")
	}
	return q, nil
}

// explainHandler serves `dawk explain`, before the paths of next.
func (r *instance) explainHandler(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/explain", func(w http.ResponseWriter, req *http.Request) {
		v := req.URL.Query()
		q, err := parseQuestion(v.Get("from"), v.Get("to"), v.Get("identity"))
		if err == nil {
			e := explainer{cfg: r.cfg, acceptor: r.acceptor, transport: r.transport, users: r.users, ledger: r.ledger.Ledger,
				live: true, providers: operated{r.dispatcher}.Providers}
			var x explanation
			if x, err = e.explain(req.Context(), q); err == nil {
				writeJSON(w, http.StatusOK, x)
				return
			}
		}
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
	})
	mux.Handle("/", next)
	return mux
}

// explainOffline makes the answer from the files.
func (a *app) explainOffline(ctx context.Context, q question) (explanation, error) {
	cfg, err := config.LoadClient(a.configPath)
	if err != nil {
		return explanation{}, err
	}
	e := explainer{cfg: cfg}
	if e.transport, err = lookingTransport(cfg); err != nil {
		return explanation{}, err
	}
	defer e.transport.Close()
	if cfg.WantsUsers() {
		e.users, err = identity.Open(cfg.Users.File, nil)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return explanation{}, err
		}
		e.usersUnread = err != nil
	}
	e.ledger = savedLedger(filepath.Join(cfg.DataDir, ledgerFile))
	rules := cfg.AcceptorConfig(slog.New(slog.DiscardHandler))
	rules.Ledger = e.ledger
	if e.acceptor, err = accept.New(rules, nil, nil); err != nil {
		return explanation{}, err
	}
	return e.explain(ctx, q)
}

// savedLedger is the ledger as the relay wrote it last; an empty one if it
// cannot be read, so that nothing is moved or changed here.
func savedLedger(path string) *identity.Ledger {
	l, err := identity.ReadLedger(path)
	if err != nil {
		return identity.NewLedger()
	}
	return l
}

// explainer knows what an explanation needs.
type explainer struct {
	cfg         *config.Config
	acceptor    *accept.Acceptor
	transport   *mx.Transport
	users       *identity.Users // nil: nobody can log in, or the file may not be read
	usersUnread bool
	ledger      *identity.Ledger
	live        bool                    // of a relay that runs
	providers   func() []admin.Provider // what they take at the moment; nil: not known
}
