package explain

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/show"
	"dawk/mx"
	"dawk/mx/dns"
	"dawk/mx/survey"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// ProbeVerdict is one sentence on the whole.
func ProbeVerdict(s *survey.Survey) string {
	what := "Mail for " + relay.Sanitize(s.At.Domain)
	if s.At.Domain == "" {
		what = "Mail"
	}
	if best := s.Best(); best != nil {
		failed := 0
		for _, v := range s.Sessions {
			if !v.Trouble.IsZero() {
				failed++
			}
		}
		sentence := fmt.Sprintf("%s would be given to %s [%s], %s", what, best.Host, best.Addr.Addr(), best.Reached)
		if failed > 0 {
			sentence += fmt.Sprintf("; of the %d addresses asked, %d would get none", len(s.Sessions), failed)
		}
		return sentence + "."
	}
	why := s.Failure()
	if why.Permanent() {
		return fmt.Sprintf("%s would go back to its sender: %s", what, relay.Sanitize(why.String()))
	}
	return fmt.Sprintf("%s would wait and be tried again: %s", what, relay.Sanitize(why.String()))
}

// Survey prints what was seen, host by host.
func (p Printer) Survey(out Probed) error {
	s := out.Survey
	p.Line("%s, asked of %s", p.Paint(show.Bold, relay.Sanitize(s.Subject)), dnsWords(s))
	p.foundMX(&s.At)
	for i := range s.At.Hosts {
		h := &s.At.Hosts[i]
		p.Line("")
		p.host(h)
		for j := range s.Sessions {
			if v := &s.Sessions[j]; v.Host == h.Host && v.Addr.Port() == h.Port {
				p.session(v)
			}
		}
	}
	p.Line("")
	p.Line("%s", p.Verdict(out.OK, relay.Advised(out.Verdict, relay.Sanitize(out.Failure.Remedy))))
	return p.Err
}

func dnsWords(s *survey.Survey) string {
	servers := strings.Join(s.DNS, ", ")
	if s.DNSTrusted {
		return servers + ", whose word on DNSSEC is believed"
	}
	return servers + ", whose word on DNSSEC is not believed (dns.trusted): no DANE"
}

// foundMX says what DNS has of the domain as a whole.
func (p Printer) foundMX(d *survey.Destination) {
	for _, r := range d.Trouble {
		p.Line("  MX       %s", p.reply(r))
	}
	switch secure := "without DNSSEC"; {
	case d.Domain == "" || !d.ByMX || len(d.Hosts) == 0:
	case d.Secure:
		secure = "authentic by DNSSEC"
		fallthrough
	default:
		what := show.Plural(len(d.Hosts), "host")
		if d.ImplicitMX {
			what = "none: the domain is its own host"
		}
		p.Line("  MX       %s, %s", what, secure)
	}
	if d.STS != nil {
		p.Line("  MTA-STS  %s", stsWords(d.STS))
	}
}

func stsWords(s *tlspolicy.STSView) string {
	var w string
	switch {
	case s.Mode != "":
		w = "mode " + s.Mode + " for " + relay.Sanitize(strings.Join(s.MX, ", ")) + ", until " + s.Expires.UTC().Format("2006-01-02 15:04 MST")
		if s.Stored {
			w += ", from an earlier visit"
		}
		if s.ID == "" {
			w += "; the TXT record is gone, the policy still holds"
		}
	case s.ID != "":
		w = "announced with id " + s.ID + ", but no policy"
	case s.Error == "":
		return "not published"
	}
	if s.Error != "" {
		w = strings.TrimPrefix(w+"; "+s.Error, "; ")
	}
	return w
}

// host prints what is known without connecting.
func (p Printer) host(h *survey.HostView) {
	title := fmt.Sprintf("%s:%d", relay.Sanitize(h.Host), h.Port)
	var notes []string
	if h.Preference > 0 {
		notes = append(notes, fmt.Sprintf("preference %d", h.Preference))
	}
	if h.Secure {
		notes = append(notes, "addresses authentic by DNSSEC")
	}
	if h.Alias != "" {
		notes = append(notes, "an alias of "+relay.Sanitize(h.Alias))
	}
	if h.ImplicitTLS {
		notes = append(notes, "TLS from the first octet")
	}
	p.Line("%s  %s", p.Paint(show.Bold, title), strings.Join(notes, ", "))
	p.Line("  needs    %s", h.TLS.Why)
	for _, r := range h.TLS.TLSA {
		p.Line("  TLSA     %s: %s", r.Record, r.Use)
	}
	if !h.Trouble.IsZero() {
		p.Line("  %s  %s", p.Paint(show.Red, "not used"), p.reply(h.Trouble))
	}
	for _, a := range h.Addrs {
		if a.Refused != "" {
			p.Line("  %s  %s", a.Addr, p.Paint(show.Yellow, "not dialled: "+relay.Sanitize(relay.Advised(a.Refused, a.Remedy))))
		}
	}
}

// session prints what one address showed.
func (p Printer) session(v *survey.SessionView) {
	p.Line("  %s", p.Paint(show.Bold, v.Addr.String()))
	if v.Banner != "" {
		p.Line("    banner       %s", v.Banner)
	}
	if len(v.Offers) > 0 {
		p.Line("    offers       %s", strings.Join(v.Offers, ", "))
	}
	switch {
	case v.TLS != "":
		p.Line("    TLS          %s %s", v.TLS, v.Cipher)
	case v.TLSTrouble != "":
		p.Line("    TLS          %s", p.Paint(show.Red, relay.Sanitize(v.TLSTrouble)))
	case len(v.Offers) > 0:
		p.Line("    TLS          not offered")
	}
	if len(v.OverTLS) > 0 {
		p.Line("    over TLS     %s", strings.Join(v.OverTLS, ", "))
	}
	for i, c := range v.Chain {
		word := "certificate"
		if i > 0 {
			word = "  issued by"
		}
		p.Line("    %s  %s", word, p.certificate(&c))
	}
	if v.PKIX != "" {
		p.Line("    PKIX         %s", p.Verdict(v.PKIX == "good", v.PKIX))
	}
	for _, m := range v.DANE {
		words := m.Record + " does not match"
		if m.Matches {
			words = m.Record + " matches"
		}
		if m.Use != "usable" {
			words += ", " + m.Use
		}
		p.Line("    DANE         %s", p.Verdict(m.Matches, words))
	}
	p.Line("    took         %s", tookWords(v))
	if v.Trouble.IsZero() {
		p.Line("    %s", p.Verdict(true, "mail would go: "+v.Reached))
	} else {
		p.Line("    %s", p.Verdict(false, "no mail would go: "+relay.Sanitize(v.Trouble.String())))
	}
}

func (p Printer) certificate(c *survey.CertView) string {
	words := c.Subject
	if words == "" {
		words = "(no subject)"
	}
	if len(c.Names) > 0 {
		words += " for " + strings.Join(c.Names, ", ")
	}
	if c.Issuer == c.Subject {
		words += ", by itself"
	} else {
		words += ", by " + c.Issuer
	}
	end := c.NotAfter.UTC().Format("2006-01-02")
	switch {
	case p.Now.After(c.NotAfter):
		return words + ", " + p.Paint(show.Red, "ended "+end)
	case p.Now.Before(c.NotBefore):
		return words + ", " + p.Paint(show.Red, "begins "+c.NotBefore.UTC().Format("2006-01-02"))
	}
	return words + ", until " + end
}

func tookWords(v *survey.SessionView) string {
	words := make([]string, 0, 5)
	for _, step := range []struct {
		name string
		took relay.Millis
	}{{"connect", v.Connect}, {"banner", v.Greeting}, {"EHLO", v.EHLO}, {"TLS", v.Handshake}, {"in all", v.Took}} {
		if step.took > 0 {
			words = append(words, step.name+" "+step.took.Duration().Round(100*time.Microsecond).String())
		}
	}
	return strings.Join(words, ", ")
}

// NewTransport logs in nowhere, keeps no policy, and counts nothing.
func NewTransport(c *config.Config) (*mx.Transport, error) {
	if c.Hostname == "" {
		c.Hostname = config.MachineName()
	}
	if err := c.LoadRoots(); err != nil {
		return nil, err
	}
	cfg, err := c.MXConfig(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if cfg.Resolver, err = dns.NewResolver(c.ResolverConfig()); err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	cfg.Own = c.OwnAddresses()
	dir := filepath.Join(c.DataDir, "mta-sts")
	if _, err := os.Stat(dir); err == nil { // else it would be made
		cfg.PolicyDir = dir
	}
	return mx.NewTransport(cfg)
}

// Probed is the answer of `dawk probe`.
type Probed struct {
	OK      bool        `json:"ok"` // mail would be given to one of the hosts
	Verdict string      `json:"verdict"`
	Failure relay.Reply `json:"failure,omitzero"` // why none of them would get it
	*survey.Survey
}

// NewProbed concludes from what was seen.
func NewProbed(s *survey.Survey) Probed {
	p := Probed{OK: s.Best() != nil, Verdict: ProbeVerdict(s), Survey: s}
	if !p.OK {
		p.Failure = s.Failure()
	}
	return p
}
