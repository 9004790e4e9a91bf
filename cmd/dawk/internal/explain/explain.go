// Package explain says what would happen to a message, what hosts show when they
// are asked, and why a message waits: the answers, and the prose made of them. It
// has no goroutines of its own. Begin reading at Explainer.Explain.
package explain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/admin"
	"dawk/relay/identity"
	"dawk/relay/suppression"
)

// explainTime bounds the look-ups of one explanation.
const explainTime = 30 * time.Second

// Question is what explain is asked.
type Question struct {
	From, To relay.Path
	identity string
}

func ParseQuestion(from, to, who string) (Question, error) {
	q := Question{identity: who}
	var err error
	if q.From, err = relay.ParsePath(from); err != nil && from != "" && from != "<>" {
		return q, fmt.Errorf("FROM: %w", err)
	}
	if q.To, err = relay.ParsePath(to); err != nil {
		return q, fmt.Errorf("TO: %w", err)
	}
	if q.To.IsNull() {
		return q, errors.New("TO: mail needs somebody to go to")
	}
	return q, nil
}

// Offline makes the answer from the files.
func Offline(ctx context.Context, cfg *config.Config, q Question) (admin.Explanation, error) {
	var err error
	e := Explainer{Config: cfg}
	if e.Transport, err = NewTransport(cfg); err != nil {
		return admin.Explanation{}, err
	}
	defer e.Transport.Close()
	if cfg.WantsUsers() {
		e.Users, err = identity.Open(cfg.Users.File, nil)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return admin.Explanation{}, err
		}
		e.usersUnread = err != nil
	}
	if e.Ledger, err = identity.ReadLedger(cfg.LedgerFile()); err != nil { // nothing is moved or changed here
		e.Ledger = identity.NewLedger()
	}
	rules := cfg.AcceptorConfig(slog.New(slog.DiscardHandler))
	rules.Ledger = e.Ledger
	if r := cfg.SuppressionRules(); r != nil {
		rules.Recipient = func(who string, to relay.Path) *accept.Refusal {
			return accept.Suppressed(r.Refusal(suppression.Look(cfg.DataDir, who, to), to))
		}
		e.Suppressed = func(who string, to relay.Path) *suppression.Entry { return suppression.Look(cfg.DataDir, who, to) }
	}
	if e.Acceptor, err = accept.New(rules, nil, nil); err != nil {
		return admin.Explanation{}, err
	}
	return e.Explain(ctx, q)
}

// Explainer knows what an explanation needs.
type Explainer struct {
	Config      *config.Config
	Acceptor    *accept.Acceptor
	Transport   *mx.Transport
	Users       *identity.Users // nil: nobody can log in, or the file may not be read
	usersUnread bool
	Ledger      *identity.Ledger
	Live        bool                                        // of a relay that runs
	Toward      func(destination string) relay.ProviderLoad // what mail for it would find now; nil: not known
	// Suppressed is the entry that keeps mail of an identity from a recipient; nil: none.
	Suppressed func(identity string, to relay.Path) *suppression.Entry
}
