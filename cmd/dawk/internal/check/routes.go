package check

import (
	"cmp"
	"context"
	"log/slog"

	"dawk/mx"
	"dawk/mx/dns"
	"dawk/relay"
	"dawk/relay/replies"
)

// noticeWay says which way bounces go, where there are routes. The postmaster
// stands for whoever gets one.
func (c *checker) noticeWay(t *mx.Transport) []Finding {
	to := c.cfg.PostmasterPath()
	if to.IsNull() {
		return nil // told by postmaster
	}
	route, mailbox, fallback := t.NoticeWay(to)
	switch {
	case mailbox != "":
		return []Finding{good("notices", "bounces and notices to %s go by route %s from its mailbox %s, which gets the answers, with NOTIFY=NEVER", to, route, mailbox)}
	case route != "":
		return []Finding{good("notices", "bounces and notices to %s go by route %s", to, route)}
	case fallback != "":
		return []Finding{good("notices", "bounces and notices to %s go by MX; where no MX host takes them, from the mailbox %s with NOTIFY=NEVER; bounce.notice_route chooses another way", to, fallback)}
	}
	return []Finding{good("notices", "bounces and notices to %s go by MX", to)}
}

// senders says what happens to mail that is not From the mailbox of a route.
func (c *checker) senders() []Finding {
	var all []Finding
	for i := range c.cfg.Routes {
		r := &c.cfg.Routes[i]
		if r.Provider() == replies.ProviderOther || r.User == "" {
			continue
		}
		what := "is left to the provider to judge; send_as and rewrite_from say otherwise"
		switch {
		case r.RewriteFrom == "always":
			what = "gets that From, and its own as Reply-To"
		case r.RewriteFrom == "denied":
			what = "gets that From where the provider refuses it, and its own as Reply-To"
		case r.SendAs != nil:
			what = "is refused at submission"
		}
		but := ""
		if len(r.SendAs) > 0 {
			but = " or " + names(r.SendAs)
		}
		all = append(all, good("senders", "route %s: mail that is not From %s%s %s", r.RouteName(), r.User, but, what))
	}
	return all
}

// routes opens a session to each smart host, up to the login.
func (c *checker) routes(ctx context.Context) []Finding {
	if len(c.cfg.Routes) == 0 {
		return nil
	}
	cfg, err := c.cfg.MXConfig(slog.New(slog.DiscardHandler))
	if err != nil {
		return []Finding{bad("route", "", "%v", err)}
	}
	if cfg.Resolver, err = dns.NewResolver(c.cfg.ResolverConfig()); err != nil {
		return nil // told by dns
	}
	l, err := c.cfg.Logins(&cfg, slog.New(slog.DiscardHandler), nil, nil)
	if err != nil {
		return []Finding{bad("route", "", "%v", err)}
	}
	defer l.Close()
	t, err := mx.NewTransport(cfg)
	if err != nil {
		return []Finding{bad("route", "", "%v", err)}
	}
	defer t.Close()
	probed := t.Probe(ctx) // first: the way of notices follows from what hosts answer
	all := append(c.noticeWay(t), c.senders()...)
	for _, p := range probed {
		where := "route " + p.Route
		if p.Host != "" {
			where += ": " + p.Host
		}
		switch {
		case !p.Reply.IsZero():
			all = append(all, bad("route", cmp.Or(p.Reply.Remedy, routeAdvice(p.Reply)), "%s: %s", where, p.Reply))
			for _, lacks := range missing(l, p) {
				all = append(all, bad("route", lacks.Remedy, "%s", lacks.Text))
			}
		case !p.Silent.IsZero():
			all = append(all, warn("route", "ask whoever runs it, or name another host in via", "%s opens a session (%s), but answers no more when mail begins: %s", where, orClear(p.TLS), p.Silent))
		case p.Login != "":
			all = append(all, good("route", "%s lets %s in (%s)", where, p.Login, orClear(p.TLS)))
		default:
			all = append(all, good("route", "%s answers (%s)", where, orClear(p.TLS)))
		}
		if !p.Null.IsZero() {
			all = append(all, warn("notices", "let the account there send without a sender, or set bounce.notice_route",
				"%s takes no mail without a sender, as bounces are: %s", where, p.Null))
		}
	}
	return all
}

func routeAdvice(r relay.Reply) string {
	switch r.Stage {
	case relay.StageDNS:
		return "check the name in via"
	case relay.StageConnect, relay.StageGreeting:
		return "check host and port in via, and firewalls on the way"
	case relay.StageTLS:
		return "check the name in via, and delivery.ca_file if the host has a private authority"
	case relay.StageAuth:
		return "check user and password_file; some providers want an app password"
	}
	return ""
}
