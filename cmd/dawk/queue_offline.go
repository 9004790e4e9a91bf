package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/server"
	"dawk/queue/boltstore"
	"dawk/relay/admin"
)

// verifyOffline checks the store of a relay that does not run. It changes
// nothing.
func verifyOffline(ctx context.Context, cfg *config.Config, _ *slog.Logger) (*admin.Report, error) {
	r, err := boltstore.VerifyDir(ctx, cfg.DataDir)
	if err != nil {
		return nil, err
	}
	out := server.AdminReport(r)
	return &out, nil
}

// compactOffline opens the store as the relay would, with all that a start
// mends.
func compactOffline(ctx context.Context, cfg *config.Config, log *slog.Logger) (*admin.Report, error) {
	// Open would make a new queue where there is none.
	if entries, err := os.ReadDir(cfg.DataDir); errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, fmt.Errorf("there is no queue in %s", filepath.Clean(cfg.DataDir))
	}
	q, err := boltstore.Open(cfg.QueueOptions(log))
	if err != nil {
		return nil, err
	}
	r, err := server.Compact(ctx, q)
	if err := errors.Join(err, q.Close()); err != nil {
		return nil, err
	}
	return &r, nil
}
