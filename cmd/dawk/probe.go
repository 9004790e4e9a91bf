package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx"
	"dawk/mx/dns"
	"dawk/relay"
)

// probeTime is what `dawk probe` takes at most, unless told otherwise.
const probeTime = time.Minute

func newProbeCommand(a *app) *cobra.Command {
	var asJSON bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "probe DOMAIN|HOST[:PORT]",
		Short: "Connect to the hosts of a domain and say what they show",
		Long: "Looks up where mail for a domain goes, connects to each host, and says what it shows: banner, extensions,\n" +
			"TLS and certificate, and what DANE and MTA-STS make of them. It says EHLO, STARTTLS and QUIT, never MAIL.\n" +
			"With a port, or as an address, the argument is a host, which is asked alone; port 465 begins with TLS.\n" +
			"It uses [dns] and [delivery] of the configuration and needs no running relay.\n" +
			"Exit status 0: mail would be given to one of them; 1: to none.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("dawk probe needs one domain or host, such as example.org or mx.example.org:25")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.probe(cmd.Context(), args[0], limit, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON; times are in nanoseconds")
	cmd.Flags().DurationVar(&limit, "timeout", probeTime, "give up after this time")
	return cmd
}

// probed is the answer of `dawk probe`.
type probed struct {
	OK      bool   `json:"ok"` // mail would be given to one of the hosts
	Verdict string `json:"verdict"`
	*mx.Survey
}

func (a *app) probe(ctx context.Context, subject string, limit time.Duration, asJSON bool) error {
	t, err := a.offlineTransport()
	if err != nil {
		return err
	}
	defer t.Close()
	ctx, stop := signal.NotifyContext(orBackground(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := t.Survey(ctx, subject)
	if err != nil {
		return err
	}
	out := probed{OK: s.Best() != nil, Verdict: probeVerdict(s), Survey: s}
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(out)
	} else {
		err = newPrinter(a.stdout, time.Now()).survey(out)
	}
	if err == nil && !out.OK {
		err = errReported
	}
	return err
}

// offlineTransport is one for commands that look at the world by themselves.
// It opens no file of secrets and writes nothing.
func (a *app) offlineTransport() (*mx.Transport, error) {
	cfg, err := config.LoadClient(a.configPath)
	if err != nil {
		return nil, err
	}
	return lookingTransport(cfg)
}

// probeVerdict is one sentence on the whole.
func probeVerdict(s *mx.Survey) string {
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
		return fmt.Sprintf("%s would go back to its sender: %s", what, relay.Sanitize(why.Advised()))
	}
	return fmt.Sprintf("%s would wait and be tried again: %s", what, relay.Sanitize(why.Advised()))
}

// survey prints what was seen, host by host.
func (p *printer) survey(out probed) error {
	s := out.Survey
	p.line("%s, asked of %s", p.paint(bold, relay.Sanitize(s.Subject)), dnsWords(s))
	p.foundMX(&s.At)
	for i := range s.At.Hosts {
		h := &s.At.Hosts[i]
		p.line("")
		p.host(h)
		for j := range s.Sessions {
			if v := &s.Sessions[j]; v.Host == h.Host && v.Addr.Port() == h.Port {
				p.session(v)
			}
		}
	}
	p.line("")
	if out.OK {
		p.line("%s %s", p.paint(green, "✔"), out.Verdict)
	} else {
		p.line("%s %s", p.paint(red, "✘"), out.Verdict)
	}
	return p.err
}

func dnsWords(s *mx.Survey) string {
	servers := strings.Join(s.DNS, ", ")
	if s.DNSTrusted {
		return servers + ", whose word on DNSSEC is believed"
	}
	return servers + ", whose word on DNSSEC is not believed (dns.trusted): no DANE"
}

// foundMX says what DNS has of the domain as a whole.
func (p *printer) foundMX(d *mx.Destination) {
	for _, r := range d.Trouble {
		p.line("  MX       %s", p.reply(r))
	}
	switch secure := "without DNSSEC"; {
	case d.Domain == "" || !d.ByMX || len(d.Hosts) == 0:
	case d.Secure:
		secure = "authentic by DNSSEC"
		fallthrough
	default:
		what := plural(len(d.Hosts), "host")
		if d.ImplicitMX {
			what = "none: the domain is its own host"
		}
		p.line("  MX       %s, %s", what, secure)
	}
	if d.STS != nil {
		p.line("  MTA-STS  %s", stsWords(d.STS))
	}
}

func stsWords(s *mx.STSView) string {
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
func (p *printer) host(h *mx.HostView) {
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
	p.line("%s  %s", p.paint(bold, title), strings.Join(notes, ", "))
	p.line("  needs    %s", h.TLS.Why)
	for _, r := range h.TLS.TLSA {
		p.line("  TLSA     %s: %s", r.Record, r.Use)
	}
	if !h.Trouble.IsZero() {
		p.line("  %s  %s", p.paint(red, "not used"), p.reply(h.Trouble))
	}
	for _, a := range h.Addrs {
		if a.Refused != "" {
			p.line("  %s  %s", a.Addr, p.paint(yellow, "not dialled: "+relay.Sanitize(a.Refused)))
		}
	}
}

// session prints what one address showed.
func (p *printer) session(v *mx.SessionView) {
	p.line("  %s", p.paint(bold, v.Addr.String()))
	if v.Banner != "" {
		p.line("    banner       %s", v.Banner)
	}
	if len(v.Offers) > 0 {
		p.line("    offers       %s", strings.Join(v.Offers, ", "))
	}
	switch {
	case v.TLS != "":
		p.line("    TLS          %s %s", v.TLS, v.Cipher)
	case v.TLSTrouble != "":
		p.line("    TLS          %s", p.paint(red, relay.Sanitize(v.TLSTrouble)))
	case len(v.Offers) > 0:
		p.line("    TLS          not offered")
	}
	if len(v.OverTLS) > 0 {
		p.line("    over TLS     %s", strings.Join(v.OverTLS, ", "))
	}
	for i, c := range v.Chain {
		word := "certificate"
		if i > 0 {
			word = "  issued by"
		}
		p.line("    %s  %s", word, p.certificate(&c))
	}
	if v.PKIX != "" {
		p.line("    PKIX         %s", p.verdict(v.PKIX == "good", v.PKIX))
	}
	for _, m := range v.DANE {
		words := m.Record + " does not match"
		if m.Matches {
			words = m.Record + " matches"
		}
		if m.Use != "usable" {
			words += ", " + m.Use
		}
		p.line("    DANE         %s", p.verdict(m.Matches, words))
	}
	p.line("    took         %s", tookWords(v))
	if v.Trouble.IsZero() {
		p.line("    %s", p.verdict(true, "mail would go: "+v.Reached))
	} else {
		p.line("    %s", p.verdict(false, "no mail would go: "+relay.Sanitize(v.Trouble.String())))
	}
}

func (p *printer) verdict(good bool, words string) string {
	if good {
		return p.paint(green, "✔") + " " + words
	}
	return p.paint(red, "✘") + " " + words
}

func (p *printer) certificate(c *mx.CertView) string {
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
	case p.now.After(c.NotAfter):
		return words + ", " + p.paint(red, "ended "+end)
	case p.now.Before(c.NotBefore):
		return words + ", " + p.paint(red, "begins "+c.NotBefore.UTC().Format("2006-01-02"))
	}
	return words + ", until " + end
}

func tookWords(v *mx.SessionView) string {
	words := make([]string, 0, 5)
	for _, step := range []struct {
		name string
		took time.Duration
	}{{"connect", v.Connect}, {"banner", v.Greeting}, {"EHLO", v.EHLO}, {"TLS", v.Handshake}, {"in all", v.Took}} {
		if step.took > 0 {
			words = append(words, step.name+" "+step.took.Round(100*time.Microsecond).String())
		}
	}
	return strings.Join(words, ", ")
}

// lookingTransport logs in nowhere, keeps no policy, and counts nothing.
func lookingTransport(c *config.Config) (*mx.Transport, error) {
	if c.Hostname == "" {
		c.Hostname = config.MachineName()
	}
	if err := c.LoadRoots(); err != nil {
		return nil, err
	}
	cfg, err := c.MxConfig(slog.New(slog.DiscardHandler))
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
