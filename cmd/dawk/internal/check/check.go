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
	"slices"
	"strconv"
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

// The levels of findings.
const (
	levelOK      = "ok"
	LevelWarning = "warning"
	LevelError   = "error" // mail will not flow: exit status 1
)

// Finding is one line of `dawk check`.
type Finding = admin.Finding

// checker looks at one configuration from all sides. Its methods are the
// checks; they change nothing but for a file that is made and removed in the
// data directory.
type checker struct {
	cfg     *config.Config
	running bool // a dawk with this data directory runs

	outbound6 func() netip.Addr // see there; nil: not looked at
}

// All makes every check, several at a time, and keeps their order. each is told which
// are not done yet, one call at a time; nil: nobody is.
func All(ctx context.Context, path string, each func(left []string)) []Finding {
	cfg, err := config.Load(path)
	if err != nil {
		return configFindings(err)
	}
	c := &checker{cfg: cfg, running: dawkRuns(cfg), outbound6: outbound6}
	checks := c.checks()
	left := make([]string, len(checks))
	for i := range checks {
		left[i] = checks[i].name
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var mu sync.Mutex // of left
	results := make([][]Finding, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() {
			results[i] = check.make(ctx)
			mu.Lock()
			defer mu.Unlock()
			if left[i] = ""; each != nil {
				each(slices.DeleteFunc(slices.Clone(left), func(s string) bool { return s == "" }))
			}
		})
	}
	wg.Wait()
	return slices.Concat(results...)
}

// named is a check, and what it is called while it is made.
type named struct {
	name string
	make func(context.Context) []Finding
}

func (c *checker) checks() []named {
	return []named{
		{"configuration", c.configuration}, {"certificate", c.tls}, {"users", c.users}, {"operators", c.operators}, {"data", c.data},
		{"dns", c.dns}, {"dane", c.dane}, {"listener", c.listeners}, {"trust", c.trust}, {"postmaster", c.postmaster}, {"hostname", c.name},
		{"source", c.sources}, {"shaping", c.shaping}, {"dkim", c.dkim}, {"identities", c.identities}, {"spf", c.spf}, {"dmarc", c.dmarc},
		{"dkim keys", c.keyStrength}, {"list-unsubscribe", c.unsubscribe}, {"block lists", c.lists}, {"clock", c.clock},
		{"port " + strconv.Itoa(c.cfg.Delivery.Port), c.port25}, {"route", c.routes},
	}
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
		mark := map[string]string{levelOK: "✔", LevelWarning: "!", LevelError: "✘"}[f.Level]
		fmt.Fprintf(w, "%s %-*s  %s\n", mark, width, f.Check, f.Message)
		if f.Advice != "" {
			fmt.Fprintf(w, "  %*s  → %s\n", width, "", f.Advice)
		}
	}
}

// names joins what an administrator reads as a list.
func names(list []string) string { return strings.Join(list, ", ") }
