// Package check is `dawk check`: it looks at a configuration, this machine, DNS
// and the smart hosts, and changes nothing. All makes every check, several at a
// time; TestLogin is `dawk oauth test`. Begin reading at All.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/tomlfile"
)

// checkTime is what `dawk check` takes at most.
const checkTime = 30 * time.Second

// level says how bad a finding is.
type level string

const (
	levelOK      level = "ok"
	LevelWarning level = "warning"
	LevelError   level = "error" // mail will not flow: exit status 1
)

// Finding is one line of `dawk check`.
type Finding struct {
	Check   string `json:"check"`
	Level   level  `json:"level"`
	Message string `json:"message"`          // one sentence: what is so
	Advice  string `json:"advice,omitempty"` // what to do about it
}

// checker looks at one configuration from all sides. Its methods are the
// checks; they change nothing but for a file that is made and removed in the
// data directory.
type checker struct {
	cfg     *config.Config
	running bool // a dawk with this data directory runs

	outbound6 func() netip.Addr // see there; nil: not looked at
}

// All makes every check, several at a time, and keeps their order.
func All(ctx context.Context, path string) []Finding {
	cfg, err := config.Load(path)
	if err != nil {
		return configFindings(err)
	}
	c := &checker{cfg: cfg, running: dawkRuns(cfg), outbound6: outbound6}
	checks := []func(context.Context) []Finding{
		c.configuration, c.tls, c.users, c.operators, c.data, c.dns, c.dane, c.listeners, c.trust, c.postmaster, c.name, c.sources, c.shaping, c.dkim, c.identities, c.spf, c.dmarc, c.keyStrength, c.unsubscribe, c.lists, c.clock, c.port25, c.routes,
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	results := make([][]Finding, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { results[i] = check(ctx) })
	}
	wg.Wait()
	var all []Finding
	for _, r := range results {
		all = append(all, r...)
	}
	return all
}

// configFindings is one line for each fault of the file.
func configFindings(err error) []Finding {
	var e *tomlfile.Error
	if !errors.As(err, &e) {
		return []Finding{bad("configuration", "correct the path after -c, or the rights of the file", "%v", err)}
	}
	var all []Finding
	for _, f := range e.Faults {
		all = append(all, bad("configuration", "", "%s:%d:%d: %s", e.File, f.Line, f.Column, f.Message))
	}
	all[len(all)-1].Advice = "correct these first; everything else is checked after that"
	return all
}

// dawkRuns says whether somebody answers on the socket of the data directory.
func dawkRuns(cfg *config.Config) bool {
	nc, err := net.DialTimeout("unix", filepath.Join(cfg.DataDir, admin.SocketName), time.Second)
	if err == nil {
		nc.Close()
	}
	return err == nil
}

func good(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: levelOK, Message: relay.Sanitize(fmt.Sprintf(format, args...))}
}

func warn(check, advice, format string, args ...any) Finding {
	return Finding{Check: check, Level: LevelWarning, Message: relay.Sanitize(fmt.Sprintf(format, args...)), Advice: advice}
}

func bad(check, advice, format string, args ...any) Finding {
	return Finding{Check: check, Level: LevelError, Message: relay.Sanitize(fmt.Sprintf(format, args...)), Advice: advice}
}

func Print(w io.Writer, findings []Finding) {
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	for _, f := range findings {
		mark := map[level]string{levelOK: "✔", LevelWarning: "!", LevelError: "✘"}[f.Level]
		fmt.Fprintf(w, "%s %-*s  %s\n", mark, width, f.Check, f.Message)
		if f.Advice != "" {
			fmt.Fprintf(w, "  %*s  → %s\n", width, "", f.Advice)
		}
	}
}

// names joins what an administrator reads as a list.
func names(list []string) string { return strings.Join(list, ", ") }
