package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/server"
	"dawk/relay"
)

func load(t *testing.T, dir, more string) *config.Config {
	t.Helper()
	file := filepath.Join(dir, "dawk.toml")
	text := fmt.Sprintf(`hostname = "relay.example.org"
data_dir = %q
postmaster = "postmaster@example.org"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.1"]
[dns]
servers = ["127.0.0.1:9"]
[queue]
min_free = "1MiB"
[http]
address = "127.0.0.1:0"
[sendmail]
socket = %q
drop = %q
%s`, filepath.Join(dir, "data"), filepath.Join(dir, "run", "submit.sock"), filepath.Join(dir, "spool", "drop"), more)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// arrivals counts the messages that a relay accepted.
type arrivals chan relay.QueueID

func (a arrivals) Observe(e relay.Event) {
	if e.Kind == relay.EventAccepted {
		a <- e.ID
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serve runs a relay, hands it a message, and stops it.
func serve(t *testing.T, cfg *config.Config) {
	t.Helper()
	seen := make(arrivals, 10)
	s, err := server.New(t.Context(), cfg, server.Host{Log: quiet()}, seen)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	c, err := smtp.Dial(s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, err := range []error{c.Hello("client.example.org"), c.Mail("a@example.org"), c.Rcpt("b@example.com")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "From: a@example.org\r\n\r\nhello\r\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if id := <-seen; id.IsZero() {
		t.Error("accepted without an ID")
	}
	c.Quit() //nolint:errcheck // it may stop first
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Two relays of two configurations run in one process, one after the other over
// one data directory, and leave nothing behind.
func TestTwoServersInOneProcess(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	one := load(t, dir, "")
	two := load(t, dir, "[bounce]\nlanguage = \"de\"\n[history]\nkeep = \"0\"\n")
	serve(t, one)
	serve(t, two)
	serve(t, one)
}

// Whatever step fails, what was opened before it is closed again: the same data
// directory opens at once afterwards.
func TestEveryStepMayFail(t *testing.T) {
	defer goleak.VerifyNone(t)
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	taken := func(t *testing.T) string {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String()
	}
	for name, spoil := range map[string]func(t *testing.T, dir string, c *config.Config){
		"sockets of systemd": func(t *testing.T, _ string, _ *config.Config) {
			t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
			t.Setenv("LISTEN_FDS", "many")
		},
		"routing": func(_ *testing.T, _ string, c *config.Config) { c.Delivery.TLS = "perhaps" },
		"queue":   func(t *testing.T, dir string, c *config.Config) { c.DataDir = filepath.Join(dir, "dawk.toml") },
		"signer": func(_ *testing.T, dir string, c *config.Config) {
			c.DKIM = []config.DKIMConfig{{Domain: "example.org", Selector: "a", Key: filepath.Join(dir, "none.pem")}}
		},
		"users": func(t *testing.T, dir string, c *config.Config) {
			c.Users.File = filepath.Join(dir, "users.toml")
			write(t, c.Users.File, "[[user]]\nname = 1\n")
		},
		"ledger": func(t *testing.T, dir string, _ *config.Config) {
			if err := os.MkdirAll(filepath.Join(dir, "data", "users-ledger.json", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"policies": func(t *testing.T, dir string, _ *config.Config) {
			write(t, filepath.Join(dir, "data", "mta-sts"), "")
		},
		"rules": func(_ *testing.T, _ string, c *config.Config) { c.Limits.MaxRecipients = -1 },
		"certificate": func(_ *testing.T, dir string, c *config.Config) {
			c.Listeners[0].TLS, c.TLS.Certificate, c.TLS.Key = "starttls", dir, dir
		},
		"SMTP port": func(t *testing.T, _ string, c *config.Config) { c.Listeners[0].Address = taken(t) },
		"HTTP port": func(t *testing.T, _ string, c *config.Config) { c.HTTP.Address = taken(t) },
		"sendmail":  func(t *testing.T, dir string, c *config.Config) { write(t, c.Sendmail.Socket, "") },
		"drop":      func(t *testing.T, dir string, c *config.Config) { write(t, filepath.Join(dir, "spool"), "") },
		"socket": func(t *testing.T, dir string, _ *config.Config) {
			write(t, filepath.Join(dir, "data", "dawk.sock"), "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := load(t, dir, "")
			spoil(t, dir, cfg)
			s, err := server.New(t.Context(), cfg, server.Host{Log: quiet()})
			if err == nil {
				if err = s.Listen(); err == nil {
					t.Error("it started")
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			t.Log(err)
			for _, old := range []string{"data/mta-sts", "data/users-ledger.json", "users.toml"} { // what was in the way
				if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
					t.Fatal(err)
				}
			}
			again, err := server.New(t.Context(), load(t, dir, ""), server.Host{Log: quiet()}) // the directory is not locked any more
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
