package config

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
