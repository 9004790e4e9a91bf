package cli

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/server"
	"dawk/relay"
)

// handOver runs another program in the place of this one, in the same process: the
// process keeps its number, its listening sockets and the eye of its service
// manager, and the old program has closed the queue before the new one begins.
type handOver struct {
	a    *app.App
	log  *slog.Logger
	end  context.CancelFunc // of the relay
	file string             // the program
	env  string             // what tells it of the sockets; "": no hand-over has begun
}

// begin looks whether the program that is installed now takes the configuration,
// then ends the relay. A program that does not changes nothing.
func (h *handOver) begin(ctx context.Context, r *server.Server) {
	file, err := exec.LookPath(os.Args[0])
	if err == nil {
		err = h.try(ctx, file)
	}
	if err != nil {
		h.log.Error("nothing was handed over: the program that is installed now would not start", "program", file, "err", err)
		return
	}
	env, err := r.HandOver()
	if err != nil {
		h.log.Error("nothing was handed over: a socket cannot be kept open", "err", err)
		return
	}
	h.log.Info("handing over; clients wait until the new program is ready", "program", file)
	h.file, h.env = file, env
	h.end()
}

func (h *handOver) try(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "config", "check")
	cmd.Path = file
	if h.a.ConfigPath != "" {
		cmd.Args = append(cmd.Args, "-c", h.a.ConfigPath)
	}
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, relay.Sanitize(string(bytes.TrimSpace(said))))
	}
	return nil
}

// exec does not return unless it fails.
func (h *handOver) exec() error {
	return fmt.Errorf("run %s: %w", h.file, syscall.Exec(h.file, os.Args, append(os.Environ(), h.env)))
}
