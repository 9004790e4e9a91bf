package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/server"
)

func newServeCommand(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the relay",
		Long: `Run the relay until SIGTERM or SIGINT.

SIGHUP reads the configuration again, as dawk reload does. SIGUSR2 runs the
program that is installed now in its place: sockets stay open, and clients wait
for a moment. The first of the others stops it gracefully: clients hear 421, messages in transfer
are taken to their end, delivery attempts finish or are put back, and the
queue is closed. A second signal ends it at once; nothing is lost either way.

Without a configuration file it serves this machine only: SMTP on
127.0.0.1:2525, metrics on 127.0.0.1:8025, data in ./dawk-data.`,
		Args: app.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), a) },
	}
}

// serve runs the relay with the configuration that a names.
func serve(ctx context.Context, a *app.App) error {
	cfg, err := config.Load(a.ConfigPath)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // the log's reader may go away, and the relay stays
	lines := newLogLines(a.Stderr)
	log, configure := cfg.Log.Live(lines)
	go lines.run(log)
	defer lines.close()
	ctx, others, stop := withSignals(ctx, log, lines.close)
	defer stop()
	r, err := server.New(ctx, cfg, server.Host{Log: log, Configure: configure, LostLines: lines.Lost})
	if err != nil {
		return err
	}
	if err := r.Listen(); err != nil {
		return errors.Join(err, r.Close())
	}
	announce(a, lines, r, cfg, log)
	ctx, end := context.WithCancel(ctx)
	defer end()
	h := handOver{a: a, log: log, end: end}
	var listening sync.WaitGroup
	listening.Go(func() { obey(ctx, others, r, &h) })
	err = r.Run(ctx)
	stop()
	end()
	listening.Wait()
	if err == nil && h.env != "" {
		lines.close()
		err = h.exec()
	}
	return err
}

// obey reads the configuration again at each SIGHUP, and hands over at a SIGUSR2,
// until ctx ends.
func obey(ctx context.Context, signals <-chan os.Signal, r *server.Server, h *handOver) {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGUSR2 {
				h.begin(ctx, r)
				continue
			}
			r.HangUp()
		case <-ctx.Done():
			return
		}
	}
}

// withSignals gives a context that ends with the first SIGTERM or SIGINT. The
// second ends the process there and then: the queue is as safe as after a
// power cut, which it is made for. Before that, flush lets the log say so. Other
// signals are passed on, several that come at once as one.
func withSignals(ctx context.Context, log *slog.Logger, flush func()) (_ context.Context, _ <-chan os.Signal, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	others := make(chan os.Signal, 1)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR2)
	done := make(chan struct{})
	go func() {
		for first := true; ; {
			select {
			case <-done:
				return
			case s := <-signals:
				if s == syscall.SIGHUP || s == syscall.SIGUSR2 {
					select {
					case others <- s:
					default:
					}
					continue
				}
				if !first {
					log.Warn("second signal: ending at once", "signal", s.String())
					flush()
					os.Exit(1)
				}
				log.Info("stopping; a second signal ends it at once", "signal", s.String())
				first = false
				cancel()
			}
		}
	}()
	return ctx, others, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(done)
		cancel()
	})
}

// announce tells a person at a terminal what runs and what to try next; the
// log has it in any case.
func announce(a *app.App, w io.Writer, r *server.Server, cfg *config.Config, log *slog.Logger) {
	for i, addr := range r.Addrs() {
		l := cfg.Listeners[i]
		name := addr.String()
		if config.IsUnix(l.Address) {
			name = l.Address
		}
		log.Info("listening", "address", name, "tls", l.TLS, "auth", l.Auth)
	}
	if addr := r.ReturnAddr(); addr != "" {
		log.Info("listening", "address", addr, "auth", "off", "for", "return addresses")
	}
	if r.HTTPAddr() != "" {
		log.Info("listening", "address", r.HTTPAddr(), "for", "metrics and health")
	}
	if cfg.File() != "" || len(r.Addrs()) == 0 {
		return
	}
	fmt.Fprintf(w, `
No configuration file: dawk serves this machine only, and delivers by MX.
  SMTP for local programs   %s
  metrics and health        http://%s/metrics
  queue and socket          %s

Try:
  dawk demo                 see a delivery, a retry and a bounce, all on this machine
  dawk queue list           what is waiting; dawk why ID says why
  dawk check                is this machine fit to send mail?
For an office, write /etc/dawk/dawk.toml: docs/configuration.md has every key.

`, r.Addrs()[0], r.HTTPAddr(), cfg.DataDir)
}
