package main

import (
	"dawk/cmd/dawk/internal/config"
	"io"
	"log/slog"
)

// newLogger writes the log as [log] says. The keys are fixed; the words of
// strangers are quoted by the handler.
func newLogger(c config.LogConfig, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // checked with the configuration
	opt := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}
