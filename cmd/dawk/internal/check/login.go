package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx"
	"dawk/mx/oauth"
	"dawk/relay"
	"dawk/relay/admin"
)

// LoginStatuses are the routes with a login, by name.
func LoginStatuses(l config.Logins) []admin.LoginStatus {
	var all []admin.LoginStatus
	for _, s := range l {
		all = append(all, admin.LoginStatus{Status: s.Status()})
	}
	slices.SortFunc(all, func(a, b admin.LoginStatus) int { return cmp.Compare(a.Route, b.Route) })
	return all
}

// TestLogin logs in at a route as a delivery would, and sends nothing.
func TestLogin(ctx context.Context, t *mx.Transport, l config.Logins, route string) (admin.LoginTest, error) {
	probed, ok := t.ProbeRoute(ctx, route)
	if !ok {
		return admin.LoginTest{}, fmt.Errorf("there is no route %q with a smart host", route)
	}
	out := admin.LoginTest{Findings: []admin.LoginFinding{}}
	add := func(ok bool, remedy, format string, args ...any) {
		out.OK = out.OK || ok
		out.Findings = append(out.Findings, admin.LoginFinding{OK: ok, Text: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	for _, p := range probed {
		where := cmp.Or(p.Host, "route "+p.Route)
		switch {
		case !p.Reply.IsZero():
			add(false, p.Reply.Remedy, "%s: %s", where, p.Reply)
			out.Missing = append(out.Missing, missing(l, p)...)
		case p.Login != "":
			add(true, "", "%s lets %s in (%s)", where, p.Login, orClear(p.TLS))
		default:
			add(true, "", "%s answers (%s); the route has no login", where, orClear(p.TLS))
		}
	}
	return out, nil
}

// missing says what a login that was refused lacks.
func missing(l config.Logins, p mx.Probed) []oauth.Lack {
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
