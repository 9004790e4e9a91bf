package config

import (
	"io"
	"log/slog"
)

// LogConfig is [log].
type LogConfig struct {
	// `"text"`, `"json"`
	Format string `toml:"format"`
	// `"debug"`, `"info"`, `"warn"`, `"error"`
	Level string `toml:"level"`
}

func newLogConfig() LogConfig { return LogConfig{Format: "text", Level: "info"} }

func (c *Config) checkLog() {
	c.oneOf("log.format", c.Log.Format, "text", "json")
	c.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
}

// Logger writes to w as [log] says. The keys are fixed; the words of
// strangers are quoted by the handler.
func (c LogConfig) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // checked with the configuration
	opt := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}
