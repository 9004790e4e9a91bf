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
	log, _ := c.Live(w)
	return log
}

// Live is Logger, with what gives the log the level of another configuration.
func (c LogConfig) Live(w io.Writer) (log *slog.Logger, configure func(LogConfig)) {
	level := new(slog.LevelVar)
	configure = func(c LogConfig) { _ = level.UnmarshalText([]byte(c.Level)) } // checked with the configuration
	configure(c)
	opt := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt)), configure
	}
	return slog.New(slog.NewTextHandler(w, opt)), configure
}
