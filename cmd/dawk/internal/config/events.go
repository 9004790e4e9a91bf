package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dawk/mx/dial"
	"dawk/relay"
	"dawk/relay/history"
	"dawk/relay/webhook"
)

// WebhookConfig is one [[webhook]]: a program that is told over HTTP what becomes of mail.
type WebhookConfig struct {
	// one word, each once
	// Default: required
	Name string `toml:"name"`
	// where events are posted: https, or http where the network is trusted
	// Default: required
	URL string `toml:"url"`
	// secrets of Standard Webhooks, one a line: `whsec_` and base64. All of them sign, so that they can be changed one
	// after the other. Read again when it changes
	// Default: required
	SecretFile string `toml:"secret_file"`
	// which events: `"accepted"`, `"delivered"`, `"relayed"`, `"delayed"`, `"failed"`, `"expired"`, `"bounced"`,
	// `"complained"`, `"suppressed"`, `"held"`, `"released"`, `"deleted"`
	// Default: all
	Events []string `toml:"events"`
	// about whose mail
	// Default: everybody's
	Identity []string `toml:"identity"`
	// events in one request at most, 1 to 1000; above 1 their list comes in an event of type `batch`
	Batch int `toml:"batch"`
	// waits after a request that failed; the last repeats, and an event is given up after 3 days
	Retry []relay.Duration `toml:"retry"`
	// networks that the URL may lead to though they are private: `"10.0.0.0/8"`
	// Default: none
	AllowNetworks []string `toml:"allow_networks"`
}

// SetDefaults is called for each [[webhook]] before its keys.
func (w *WebhookConfig) SetDefaults() {
	w.Batch = 1
	for _, d := range webhook.DefaultRetry() {
		w.Retry = append(w.Retry, relay.Duration(d))
	}
}

// OutboxConfig is [outbox]: events that wait for webhooks, and that can be told again. Without
// a [[webhook]] nothing is kept.
type OutboxConfig struct {
	// how long events are kept to be told again, `dawk webhook replay`
	Keep relay.Duration `toml:"keep"`
	// of all events. Beyond it the oldest of those that were told go first, then new events are lost and counted; mail
	// goes on. At least 4MiB, and never more than an eighth of the file system that has the queue; an event takes about
	// 400 octets
	MaxSize relay.Size `toml:"max_size"`
}

func newOutboxConfig() OutboxConfig {
	return OutboxConfig{Keep: relay.Duration(7 * 24 * time.Hour), MaxSize: 1 << 30}
}

const maxBatch = 1000

func (c *Config) checkWebhooks() {
	names := map[string]int{}
	for i := range c.Webhooks {
		at, w := fmt.Sprintf("webhook[%d]", i), &c.Webhooks[i]
		switch first, taken := names[w.Name]; {
		case w.Name == "" && c.doc.Lacks(at, "name"):
			c.doc.Fault(at, `this [[webhook]] has no name: write one, as in name = "crm"`)
		case w.Name == "" || len(w.Name) > 64 || relay.Sanitize(w.Name) != w.Name || strings.ContainsAny(w.Name, " \t/"):
			c.doc.Fault(at+".name", "name %q is not a word of 1 to 64 characters without spaces", relay.Clip(w.Name))
		case taken:
			c.doc.Fault(at+".name", "the name %q is taken already in line %d", w.Name, c.doc.Line(fmt.Sprintf("webhook[%d]", first)))
		}
		names[w.Name] = i
		c.checkWebhookURL(at, w)
		if w.SecretFile == "" && c.doc.Lacks(at, "secret_file") {
			c.doc.Fault(at, "this [[webhook]] has no secret_file: without one its receiver cannot know that events are ours")
		}
		for j, e := range w.Events {
			if !slices.Contains(relay.OutboxKinds(), relay.EventKind(e)) {
				c.doc.Fault(fmt.Sprintf("%s.events[%d]", at, j), "there is no event %q: the events are %s", relay.Clip(e), eventNames())
			}
		}
		if w.Batch < 1 || w.Batch > maxBatch {
			c.doc.Fault(at+".batch", "batch is %d; it must be from 1 to %d", w.Batch, maxBatch)
		}
		if len(w.Retry) == 0 {
			c.doc.Fault(at+".retry", `retry is empty: give at least one wait, as in retry = ["5s"]`)
		}
		for j, d := range w.Retry {
			c.positive(fmt.Sprintf("%s.retry[%d]", at, j), d)
		}
		for j, n := range w.AllowNetworks {
			if _, err := netip.ParsePrefix(n); err != nil {
				c.doc.Fault(fmt.Sprintf("%s.allow_networks[%d]", at, j), "%q is not a network: write it like \"10.0.0.0/8\"", relay.Clip(n))
			}
		}
	}
	if c.Outbox.Keep < 0 {
		c.doc.Fault("outbox.keep", "outbox.keep is negative")
	}
	if least := relay.Size(4 << 20); c.Outbox.MaxSize < least {
		c.doc.Fault("outbox.max_size", "outbox.max_size is %s; it must be at least %s", c.Outbox.MaxSize, least)
	}
}

func (c *Config) checkWebhookURL(at string, w *WebhookConfig) {
	u, err := url.Parse(w.URL)
	switch {
	case w.URL == "" && c.doc.Lacks(at, "url"):
		c.doc.Fault(at, `this [[webhook]] has no url: write where events are posted, as in url = "https://crm.example.org/mail"`)
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Fragment != "":
		c.doc.Fault(at+".url", `url is not an address like "https://crm.example.org/mail"`) // it may hold a password
	}
}

func eventNames() string {
	var names []string
	for _, k := range relay.OutboxKinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// checkWebhookFiles reads the secrets.
func (c *Config) checkWebhookFiles() {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		if w.SecretFile == "" {
			continue
		}
		data, err := readBounded(w.SecretFile, 64<<10)
		if err == nil {
			if _, err = webhook.ParseSecrets(data); err != nil {
				err = fmt.Errorf("%s: %w", w.SecretFile, err)
			}
		}
		if err != nil {
			c.doc.Fault(fmt.Sprintf("webhook[%d].secret_file", i), "secret_file: %v", err)
		}
	}
}

// WebhookConfigs are for package webhook. Web reaches what any webhook may reach but for
// its addresses.
func (c *Config) WebhookConfigs(web dial.Web) (list []webhook.Config) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		own := web
		for _, n := range w.AllowNetworks {
			if p, err := netip.ParsePrefix(n); err == nil { // it was checked
				own.Addresses.Allow = append(own.Addresses.Allow, p)
			}
		}
		h := webhook.Config{Name: w.Name, URL: w.URL, Secrets: webhook.FileSecrets(w.SecretFile), Identities: w.Identity, Batch: w.Batch,
			Retry: durations(w.Retry), Post: webhook.NewPoster(&own)}
		for _, e := range w.Events {
			h.Kinds = append(h.Kinds, relay.EventKind(e))
		}
		list = append(list, h)
	}
	return list
}

// OutboxLimits are what the queue keeps of events.
func (c *Config) OutboxLimits() relay.OutboxLimits {
	if len(c.Webhooks) == 0 {
		return relay.OutboxLimits{}
	}
	return relay.OutboxLimits{Keep: time.Duration(c.Outbox.Keep), MaxBytes: int64(c.Outbox.MaxSize)}
}

// HistoryConfig is [history]: what stays answerable of mail that has left.
type HistoryConfig struct {
	// older records are forgotten, a file at a time; `"0"`: none are kept on disk, and `dawk why` knows the last
	// 10,000 messages since the start
	Keep relay.Duration `toml:"keep"`
	// of all files; the oldest go first. At least 1MiB, and never more than an eighth of the file system. A message
	// with one recipient takes about 600 octets an attempt
	MaxSize relay.Size `toml:"max_size"`
}

func newHistoryConfig() HistoryConfig {
	return HistoryConfig{Keep: relay.Duration(30 * 24 * time.Hour), MaxSize: 256 << 20}
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
