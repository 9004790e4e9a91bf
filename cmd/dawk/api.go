package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/httpapi"
	"dawk/relay/identity"
)

// httpListener is l with bounds on its connections, and TLS where it is set.
func (r *instance) httpListener(l net.Listener) net.Listener {
	l = newLimitedListener(l, maxHTTPConnections, r.cfg.Limits.MaxConnectionsPerIP, r.observer)
	if r.cfg.HTTP.TLS == "implicit" {
		l = tls.NewListener(l, &tls.Config{GetCertificate: r.certs.Get, MinVersion: tls.VersionTLS12})
	}
	return l
}

// apiHandler is what answers below /v1/.
func (r *instance) apiHandler() http.Handler {
	switch {
	case !r.cfg.ApiOffered():
		return sayJSON(http.StatusForbidden, "mail is not taken over HTTP on this address without TLS: set [http] tls")
	case r.users == nil:
		return sayJSON(http.StatusServiceUnavailable, "mail is not taken over HTTP: there are no users; dawk user add NAME, dawk user token NAME, and a restart change that")
	}
	keys, err := httpapi.OpenKeys(filepath.Join(r.cfg.DataDir, "idempotency.keys"), time.Now())
	if err != nil {
		r.log.Error("idempotency keys are remembered in memory only", "err", err)
		keys = httpapi.NewKeys()
	}
	r.keys = keys
	return httpapi.NewHandler(httpapi.Config{
		Users: r.users, Acceptor: r.acceptor, Status: r.messageStatus, Keys: keys,
		MaxMessageSize: int64(r.cfg.Limits.MaxMessageSize),
		Backoff:        r.backoff,
		Observer:       r.observer, Listener: r.httpAddr(), Log: r.log,
	})
}

func sayJSON(code int, sentence string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprintf(w, "{\"error\":%q}\n", sentence)
	})
}

// messageStatus is what became of a message, from the queue and the history.
func (r *instance) messageStatus(id relay.QueueID) (*httpapi.Status, error) {
	past, ended := r.history.Get(id)
	item, err := r.queue.Item(id)
	switch {
	case errors.Is(err, relay.ErrNotFound) && !ended:
		return nil, relay.ErrNotFound
	case err != nil && !errors.Is(err, relay.ErrNotFound):
		return nil, err
	}
	s := &httpapi.Status{ID: id, Identity: past.Identity, Arrival: past.Arrival, More: past.MoreEnded}
	for _, e := range past.Ended {
		s.Recipients = append(s.Recipients, httpapi.RecipientStatus{Recipient: e.Recipient, State: string(e.Action), Attempts: e.Attempt, Reply: replyText(e.Reply), At: e.At})
	}
	if err != nil {
		return s, nil
	}
	s.Identity, s.Arrival = item.Message.Identity, item.Message.Arrival
	for _, d := range item.Deliveries {
		state := "queued"
		if d.Held {
			state = "held"
		}
		for _, o := range d.Open {
			s.Recipients = append(s.Recipients, httpapi.RecipientStatus{Recipient: item.Message.Recipients[o.Recipient].Path, State: state,
				Attempts: int(d.Attempts), Reply: replyText(o.Last), Next: d.Due})
		}
	}
	return s, nil
}

// replyText is what a notice would tell the sender, and no more.
func replyText(r relay.Reply) string {
	if r.IsZero() {
		return ""
	}
	return bounce.ForSender(r).String()
}

// newUserTokenCommand makes tokens for HTTP.
func newUserTokenCommand(a *app) *cobra.Command {
	remove := false
	cmd := &cobra.Command{
		Use: "token NAME", Short: "Make a token for submission over HTTP", Args: oneName,
		Long: "Makes a token with which a program sends over HTTP as this user, and shows it once:\nthe file keeps only a hash. A user may have several. docs/api.md has the rest.",
		RunE: func(_ *cobra.Command, args []string) error { return a.userToken(args[0], remove) },
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "remove all tokens of the user instead")
	return cmd
}

func (a *app) userToken(name string, remove bool) error {
	users, err := a.usersFile()
	if err != nil {
		return err
	}
	token, hash := identity.NewToken()
	if remove {
		err = users.RemoveTokens(name)
	} else {
		err = users.AddToken(name, hash)
	}
	switch {
	case errors.Is(err, identity.ErrUnknown):
		return noSuchUser(name, users.Path)
	case err != nil:
		return fmt.Errorf("%s: %w", users.Path, err)
	case remove:
		fmt.Fprintf(a.stdout, "%s has no tokens any more\n", name)
	default:
		fmt.Fprintln(a.stdout, token)
		fmt.Fprintf(a.stderr, "This is the only time that the token of %s is shown.\n", name)
	}
	return nil
}
