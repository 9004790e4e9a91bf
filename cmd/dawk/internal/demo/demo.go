// Package demo is `dawk demo`: a relay, a DNS zone and receiving servers on
// loopback, and three messages whose fate is checked at the far end. Begin
// reading at Run.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/server"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay/identity"
)

// demoLimit is how long the story may take in all.
const demoLimit = 20 * time.Second

// stage is the world of the demo: receivers, DNS and a relay between.
type stage struct {
	dir       string
	receivers *receiver
	dns       *zone
	relay     *server.Server
	screen    *screen
	password  string
	ended     chan error // the relay's run has returned
	cancel    context.CancelFunc
}

// Run tells the story on w; keep leaves the relay running afterwards.
func Run(ctx context.Context, w io.Writer, keep bool) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := setStage(ctx, newScreen(w))
	if err != nil {
		return fmt.Errorf("set the stage: %w", err)
	}
	defer func() { err = errors.Join(err, s.strike()) }()

	story, cancelStory := context.WithTimeout(ctx, demoLimit)
	defer cancelStory()
	if err := s.tell(story); err != nil {
		return fmt.Errorf("the demo did not go as it should: %w", err)
	}
	if !keep {
		return nil
	}
	return s.stay(ctx)
}

// setStage starts everything on free loopback ports.
func setStage(ctx context.Context, screen *screen) (s *stage, err error) {
	s = &stage{screen: screen, ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.strike())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "dawk-demo-"); err != nil {
		return s, err
	}
	if s.receivers, err = newReceiver("mail.receivers.test"); err != nil {
		return s, err
	}
	if s.dns, err = newZone(demoZone); err != nil {
		return s, err
	}
	s.password = strings.ToLower(rand.Text())
	cfg, err := s.writeConfig()
	if err != nil {
		return s, err
	}
	if s.relay, err = server.New(context.Background(), cfg, server.Host{Log: slog.New(slog.DiscardHandler)}, screen); err != nil {
		return s, err
	}
	if err := s.relay.Listen(); err != nil {
		err = errors.Join(err, s.relay.Close())
		s.relay = nil
		return s, err
	}
	running, cancel := context.WithCancel(ctx)
	s.cancel = cancel
	go func() { s.ended <- s.relay.Run(running) }()
	return s, nil
}

// demoZone is the Internet of the demo. Every domain is served by the one
// receiving server, which behaves differently for each.
const demoZone = `
good.test.      MX 10 mail.receivers.test.
greylist.test.  MX 10 mail.receivers.test.
strict.test.    MX 10 mail.receivers.test.
stuck.test.     MX 10 mail.receivers.test.
office.test.    MX 10 mail.receivers.test.
mail.receivers.test. A 127.0.0.1
`

const demoUser = "scanner@office.test"

// writeConfig writes a configuration as an administrator would, and loads it
// the way that `dawk serve` does.
func (s *stage) writeConfig() (*config.Config, error) {
	hash, err := identity.HashPassword(s.password) // as `dawk user add` would
	if err != nil {
		return nil, err
	}
	users := fmt.Sprintf("[[user]]\nname     = %q\npassword = %q\n", demoUser, hash)
	if err := os.WriteFile(filepath.Join(s.dir, "users.toml"), []byte(users), 0o600); err != nil {
		return nil, err
	}
	path := filepath.Join(s.dir, "dawk.toml")
	text := fmt.Sprintf(`hostname   = "relay.office.test"
data_dir   = "data"
postmaster = "postmaster@office.test"

[[listener]]
address = "127.0.0.1:0"                # any free port
tls     = "starttls"
auth    = "required"

[users]
file = "users.toml"

[queue]
retry = ["2s"]                         # a demo is short

[dns]
servers = [%q]

[delivery]
port           = %d                  # the receivers of the demo listen here
allow_networks = ["127.0.0.0/8"]       # and on loopback, where no MX should point

[http]
address = "127.0.0.1:0"
`, s.dns.addr(), s.receivers.addr().Port())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return config.Load(path)
}

// strike takes the stage down again.
func (s *stage) strike() error {
	var errs []error
	if s.relay != nil && s.cancel != nil {
		s.cancel()
		if err := <-s.ended; err != nil {
			errs = append(errs, fmt.Errorf("stop the relay: %w", err))
		}
	}
	if s.receivers != nil {
		s.receivers.close()
	}
	if s.dns != nil {
		s.dns.close()
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// stay keeps the relay running, with a message that cannot leave.
func (s *stage) stay(ctx context.Context) error {
	l := &letter{to: "somebody@stuck.test", subject: "Will this ever arrive?"}
	if err := s.send(ctx, l); err != nil {
		return err
	}
	id := l.id.String()
	s.screen.say("\n%s", s.screen.Paint(show.Bold, "It keeps running until Ctrl-C. In another terminal:"))
	config := filepath.Join(s.dir, "dawk.toml")
	for _, line := range []string{
		"dawk -c " + config + " queue list",
		"dawk -c " + config + " why " + id,
		"dawk -c " + config + " queue bounce " + id,
		"curl http://" + s.relay.HTTPAddr() + "/metrics",
	} {
		s.screen.say("  %s", line)
	}
	s.screen.say("SMTP on %s, STARTTLS, user %s, password %s\n", s.relay.Addrs()[0], demoUser, s.password)
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.ended:
		s.ended <- nil
		return err
	}
}
