package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx"
	"dawk/mx/oauth"
	"dawk/relay"
)

// LoginStatus is one line of `dawk oauth status`.
type LoginStatus struct {
	oauth.Status
	HeldSince time.Time `json:"held_since,omitzero"`
	Why       string    `json:"why,omitempty"` // what the last login brought
}

func LoginStatuses(l config.Logins) []LoginStatus {
	var all []LoginStatus
	for _, s := range l {
		all = append(all, LoginStatus{Status: s.Status()})
	}
	slices.SortFunc(all, func(a, b LoginStatus) int { return cmp.Compare(a.Route, b.Route) })
	return all
}

// LoginTest is what `dawk oauth test` found out.
type LoginTest struct {
	OK       bool     `json:"ok"`
	Findings []string `json:"findings"`
	Missing  []string `json:"missing,omitempty"` // what a refused login lacks
}

// TestLogin logs in at a route as a delivery would, and sends nothing.
func TestLogin(ctx context.Context, t *mx.Transport, l config.Logins, route string) (LoginTest, error) {
	probed, ok := t.ProbeRoute(ctx, route)
	if !ok {
		return LoginTest{}, fmt.Errorf("there is no route %q with a smart host", route)
	}
	var out LoginTest
	for _, p := range probed {
		where := cmp.Or(p.Host, "route "+p.Route)
		switch {
		case !p.Reply.IsZero():
			out.Findings = append(out.Findings, where+": "+p.Reply.Advised())
			out.Missing = append(out.Missing, missing(l, p)...)
		case p.Login != "":
			out.OK = true
			out.Findings = append(out.Findings, fmt.Sprintf("%s lets %s in (%s)", where, p.Login, orClear(p.TLS)))
		default:
			out.OK = true
			out.Findings = append(out.Findings, fmt.Sprintf("%s answers (%s); the route has no login", where, orClear(p.TLS)))
		}
	}
	return out, nil
}

// missing says what a login that was refused lacks.
func missing(l config.Logins, p mx.Probed) []string {
	if s := l[p.Route]; s != nil && p.Reply.Stage == relay.StageAuth && p.Reply.Code/100 == 5 {
		return s.Missing()
	}
	return nil
}

func orClear(tls string) string {
	if tls == "" {
		return "in the clear"
	}
	return tls
}
