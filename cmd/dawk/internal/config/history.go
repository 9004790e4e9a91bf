package config

import (
	"log/slog"
	"path/filepath"
	"time"

	"dawk/relay"
	"dawk/relay/history"
)

// HistoryConfig is [history]: what stays answerable of mail that has left.
type HistoryConfig struct {
	// older records are forgotten, a file at a time; `"0"`: none are kept on disk, and `dawk why` knows the last
	// 10,000 messages since the start
	Keep relay.Duration `toml:"keep"`
	// of all files; the oldest go first. At least 1MiB. A message with one recipient takes about 600 octets an
	// attempt
	MaxSize relay.Size `toml:"max_size"`
}

func newHistoryConfig() HistoryConfig {
	return HistoryConfig{Keep: relay.Duration(7 * 24 * time.Hour), MaxSize: 256 << 20}
}

func (c *Config) checkHistory() {
	const minimum = 1 << 20
	if c.History.Keep > 0 && c.History.MaxSize < minimum {
		c.doc.Fault("history.max_size", `history.max_size is %s; less than 1MiB holds no history: write keep = "0" for none`, c.History.MaxSize)
	}
}

// AuditDir is where it is kept who did what.
func (c *Config) AuditDir() string { return filepath.Join(c.DataDir, "audit") }

// HistoryDir is where the history is, whether one is kept or not.
func (c *Config) HistoryDir() string { return filepath.Join(c.DataDir, "history") }

func (c *Config) HistoryOptions(log *slog.Logger) history.Options {
	return history.Options{Dir: c.HistoryDir(), Keep: time.Duration(c.History.Keep), MaxBytes: int64(c.History.MaxSize), Log: log}
}
