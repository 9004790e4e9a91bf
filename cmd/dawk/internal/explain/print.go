package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"

	"dawk/cmd/dawk/internal/show"
	"dawk/mx/survey"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/identity"
)

// Explanation tells the story of a message that does not exist yet.
func (p Printer) Explanation(x *admin.Explanation) error {
	p.Line("%s", p.Paint(show.Bold, fmt.Sprintf("From %s to %s", show.Sender(x.From), x.To)))
	p.Line("  (%s)", sourceStory(x))
	p.Line("")
	p.identity(x)
	p.signature(x)
	p.fact("Size", "at most %s; what the host takes shows when it is asked (dawk probe)", show.Size(x.MaxSize))
	p.fact("Route", "%s", routeStory(x.Route))
	if fix := x.Route.HeldBy.Remedy; fix != "" {
		p.fact("What to do", "%s", fix)
	}
	p.destinationStory(&x.Destination)
	p.sources(x)
	for i, l := range x.Limits {
		p.fact(only(i == 0, "Limits"), "%s", l)
	}
	var steps []string
	for _, step := range x.Retry {
		steps = append(steps, relay.Duration(step).String())
	}
	p.fact("If it waits", "tried again after %s; %s", strings.Join(steps, ", "), delayWords(x))
	p.fact("If it fails", "%s", bounceStory(&x.Bounce))
	for i, stray := range x.Strays {
		p.fact(only(i == 0, "But"), "%s", stray)
	}
	p.Line("")
	p.Line("%s", p.Verdict(x.OK, x.Verdict))
	return p.Err
}

// sourceStory says of which configuration the answer speaks.
func sourceStory(x *admin.Explanation) string {
	file := cmp.Or(relay.Sanitize(x.File), "the built-in configuration")
	switch {
	case !x.Live:
		return "from the files: no relay runs, so " + file + " is read as it is now, quotas are as written last, and holds and limits of the moment are not known"
	case x.Stale:
		return "as the running relay would have it now; " + file + " has changed since the relay read it, and this answer does not speak of the changes"
	}
	return "as the running relay would have it now, with " + file + " as it is"
}

func only(yes bool, word string) string {
	if yes {
		return word
	}
	return ""
}

// fact is one line of the story, under a word.
func (p Printer) fact(word, format string, args ...any) {
	p.Line("  %-12s %s", word, relay.Sanitize(fmt.Sprintf(format, args...)))
}

func quotaWords(quotas []identity.Left) (words []string) {
	for _, q := range quotas {
		words = append(words, fmt.Sprintf("%d of %d %s per %s are left", q.Left, q.Limit, q.What, q.Per))
	}
	return words
}

// identity says who sends, and what the rules of acceptance make of it.
func (p Printer) identity(x *admin.Explanation) {
	switch {
	case !x.Who.Known && x.Who.Name != "":
		p.fact("Identity", "%s: %s", x.Who.Name, x.Who.Note)
		if len(x.Who.Senders) > 0 {
			p.fact("", "it may send as %s", strings.Join(x.Who.Senders, ", "))
		}
	case !x.Who.Known:
		p.fact("Identity", "%s", x.Who.Note)
		if len(x.Who.Others) > 0 {
			p.fact("", "users whose senders allow this address: %s", strings.Join(x.Who.Others, ", "))
		}
	case x.Who.MayAll:
		p.fact("Identity", "%s, who may send as anybody", x.Who.Name)
	default:
		p.fact("Identity", "%s, who may send as %s", x.Who.Name, strings.Join(x.Who.Senders, ", "))
	}
	if len(x.Who.Listeners) > 1 {
		for i, l := range x.Who.Listeners {
			p.fact(only(i == 0, "Listeners"), "%s: %s", l.Address, cmp.Or(strings.Join(quotaWords(l.Quotas), ", "), "no quotas"))
		}
	} else {
		for i, words := range quotaWords(x.Who.Quotas) {
			p.fact(only(i == 0, "Quotas"), "%s", words)
		}
	}
	if !x.Refused.IsZero() {
		p.fact("Refused", "%s", x.Refused)
	}
	if x.SendFrom != x.From {
		p.fact("Rewritten", "it leaves as from %s", show.Sender(x.SendFrom))
	}
	if x.SendTo != x.To {
		p.fact("Redirected", "it goes to %s instead", x.SendTo)
	}
	if x.Suppressed != "" {
		p.fact("Suppressed", "%s", x.Suppressed)
	}
	if x.Held != "" {
		p.fact("On hold", "%s", x.Held)
	}
}

func (p Printer) signature(x *admin.Explanation) {
	if len(x.Signed) == 0 {
		p.fact("Signature", "none: %s", x.Unsigned)
		return
	}
	for i, s := range x.Signed {
		p.fact(only(i == 0, "Signature"), "%s (%s), if its From is of the same domain", s.Record, s.Kind)
	}
}

func routeStory(r admin.ExplainedRoute) string {
	switch {
	case r.Name != "":
	case r.Routes > 0:
		return "by MX: no [[route]] matches"
	default:
		return "by MX: there is no [[route]]"
	}
	words := "[[route]] " + r.Name
	if r.Line > 0 {
		words = fmt.Sprintf("[[route]] %s in line %d", r.Name, r.Line)
	}
	if len(r.Via) == 0 {
		words += ": by MX, with its tls"
	} else {
		words += ": via " + strings.Join(r.Via, ", ")
	}
	if r.User != "" {
		words += " as " + r.User
	}
	if !r.HeldSince.IsZero() {
		words += "; held since " + r.HeldSince.UTC().Format("2006-01-02 15:04 MST") + ": " + r.HeldBy.String()
	}
	return words
}

// sources says which face the mail shows.
func (p Printer) sources(x *admin.Explanation) {
	if len(x.Destination.Sources) == 0 {
		p.fact("Leaves as", "EHLO %s, from the address that the system chooses", x.EHLO)
	}
	for i, s := range x.Destination.Sources {
		var from []string
		for _, a := range []netip.Addr{s.Addr4, s.Addr6} {
			if a.IsValid() {
				from = append(from, a.String())
			}
		}
		share := ""
		if len(x.Destination.Sources) > 1 {
			share = fmt.Sprintf(", for %d %% of the mail", s.Share)
		}
		p.fact(only(i == 0, "Leaves as"), "EHLO %s, from %s (source %s)%s", s.EHLO, strings.Join(from, " or "), s.Name, share)
	}
}

// destinationStory is the table of hosts.
func (p Printer) destinationStory(d *survey.Destination) {
	for _, r := range d.Trouble {
		p.fact("Hosts", "%s", r)
	}
	if d.ByMX && len(d.Hosts) > 0 {
		words := show.Plural(len(d.Hosts), "MX host")
		if d.ImplicitMX {
			words = "no MX record: the domain is its own host"
		}
		if d.Secure {
			words += ", authentic by DNSSEC"
		}
		p.fact("Hosts", "%s", words)
	}
	if d.STS != nil && stsWords(d.STS) != "not published" {
		p.fact("MTA-STS", "%s", stsWords(d.STS))
	}
	if len(d.Hosts) == 0 {
		return
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PREF\tHOST\tADDRESS\tTLS\tWHY")
	for i := range d.Hosts {
		hostRows(t, &d.Hosts[i])
	}
	t.Flush() // memory
	for line := range strings.Lines(b.String()) {
		p.Line("    %s", strings.TrimRight(line, " \n"))
	}
}

func hostRows(t *tabwriter.Writer, h *survey.HostView) {
	pref, name, level, why := fmt.Sprint(h.Preference), h.String(), h.TLS.Level, h.TLS.Why
	if !h.Trouble.IsZero() {
		level, why = "–", "not used: "+h.Trouble.String()
	}
	if len(h.Addrs) == 0 {
		fmt.Fprintf(t, "%s\t%s\t–\t%s\t%s\n", pref, name, level, relay.Sanitize(why))
	}
	for _, a := range h.Addrs {
		note := why
		if a.Refused != "" {
			note = "refused: " + relay.Advised(a.Refused, a.Remedy)
			if len(h.Addrs) == 1 && !h.Trouble.IsZero() {
				note = why
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", pref, name, a.Addr, level, relay.Sanitize(note))
		pref, name, level = "", "", ""
		if a.Refused == "" {
			why = ""
		}
	}
}

func delayWords(x *admin.Explanation) string {
	words := "given up after " + relay.Duration(x.MaxAge).String()
	if x.DelayNotice > 0 {
		words = "the sender is told after " + relay.Duration(x.DelayNotice).String() + "; " + words
	}
	return words
}

func bounceStory(b *admin.ExplainedBounce) string {
	if b.To.IsNull() {
		return b.Note
	}
	way := "by MX"
	if b.Route.Name != "" {
		way = routeStory(b.Route)
	}
	words := "a bounce goes to " + b.To.String() + ", " + way
	if len(b.Otherwise) > 0 {
		words += ", else by " + strings.ReplaceAll(strings.Join(b.Otherwise, ", then by "), "mx", "MX")
	}
	if len(b.Hosts) > 0 && len(b.Route.Via) == 0 {
		words += " (" + strings.Join(b.Hosts, ", ") + ")"
	}
	if b.Note != "" {
		words += "; " + b.Note
	}
	return words
}
