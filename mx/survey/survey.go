package survey

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/mx/dns"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// Destination is where the mail of one recipient would go now, and why.
type Destination struct {
	Domain     string             `json:"domain,omitempty"`      // the recipients'; "" where a single host was asked about
	Route      int                `json:"route"`                 // index in Config.Routes; -1: none matches
	RouteName  string             `json:"route_name,omitempty"`  // "" without a route
	Otherwise  []string           `json:"otherwise,omitempty"`   // notices: the routes that are tried where that one leads nowhere; "mx" is MX
	ByMX       bool               `json:"by_mx"`                 // not by `via`
	ImplicitMX bool               `json:"implicit_mx,omitempty"` // the domain has no MX record: it is its own host (RFC 5321 §5.1)
	Secure     bool               `json:"dnssec"`                // the MX answer was authentic
	Recipients int                `json:"recipients"`            // at most, in one transaction
	Sources    []SourceView       `json:"sources,omitempty"`     // one of which it would leave from; none: the system chooses
	Trouble    []relay.Reply      `json:"trouble,omitempty"`     // why there are no hosts at all
	STS        *tlspolicy.STSView `json:"mta_sts,omitempty"`     // nil: not looked at
	Hosts      []HostView         `json:"hosts,omitempty"`       // in the order in which they are tried
}

// HostView is one host of a Destination.
type HostView struct {
	Host        string      `json:"host"`
	Port        uint16      `json:"port"`
	ImplicitTLS bool        `json:"implicit_tls,omitempty"`
	LMTP        bool        `json:"lmtp,omitempty"`
	Socket      string      `json:"socket,omitempty"`        // path of a unix socket, then there is no host
	Provider    string      `json:"provider_name,omitempty"` // who runs it, whose limits it shares; "" with `via`
	Preference  int         `json:"preference"`
	Alias       string      `json:"alias,omitempty"` // the name that its addresses stand at, if another
	Secure      bool        `json:"dnssec"`          // its addresses are authentic
	Addrs       []AddrView  `json:"addresses,omitempty"`
	TLS         TLSView     `json:"tls"`
	Trouble     relay.Reply `json:"trouble,omitzero"` // why it is not used now

	Known tlspolicy.Published `json:"-"` // what Survey holds against what the host shows
}

// String is "mx.example.org:25", or the path of a socket.
func (h *HostView) String() string {
	if h.Socket != "" {
		return "unix:" + h.Socket
	}
	return net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
}

// SourceView is one source that mail may leave from.
type SourceView struct {
	Name  string     `json:"name"`
	Addr4 netip.Addr `json:"ipv4,omitzero"`
	Addr6 netip.Addr `json:"ipv6,omitzero"`
	EHLO  string     `json:"ehlo"`
	Share int        `json:"share_percent"` // of the mail
}

// AddrView is one address of a host.
type AddrView struct {
	Addr    netip.Addr `json:"addr"`
	Refused string     `json:"refused,omitempty"` // why it is not dialled; "": it is
	Remedy  string     `json:"remedy,omitempty"`  // what an administrator can do about it
}

// TLSView is what a session with a host must fulfil.
type TLSView struct {
	Level string     `json:"level"` // of ParseLevel, or "dane": as verified, by TLSA records
	By    string     `json:"by"`    // who set it: "configuration", or as relay.Result.TLSPolicy
	Why   string     `json:"why"`
	TLSA  []TLSAView `json:"tlsa,omitempty"`
}

// TLSAView is one TLSA record.
type TLSAView struct {
	Record string `json:"record"`
	Use    string `json:"use"` // "usable", or why it is not
}

// Failures are why hosts are not used that should be.
func (d *Destination) Failures() []relay.Reply {
	all := slices.Clone(d.Trouble)
	for i := range d.Hosts {
		if bad := d.Hosts[i].Trouble; !bad.IsZero() {
			all = append(all, bad)
		}
	}
	return all
}

// Reply is the verdict if no host is left to try; zero: there is one.
func (d *Destination) Reply() relay.Reply {
	for i := range d.Hosts {
		if len(d.Trouble) == 0 && d.Hosts[i].Trouble.IsZero() {
			return relay.Reply{}
		}
	}
	return relay.Summary(d.Failures())
}

// ViewTLS puts a session's policy into words.
func ViewTLS(p tlspolicy.Demand, host string, tg tlspolicy.Published) TLSView {
	v := TLSView{Level: p.Level.String(), By: p.By}
	if p.DANE != nil {
		v.Level = "dane"
	}
	if v.By == "" {
		v.By = "configuration"
	}
	v.Why = p.Words(host, tg)
	if tg.DANE == nil {
		return v
	}
	for _, r := range tg.DANE.Records[:min(len(tg.DANE.Records), maxTLSAShown)] {
		v.TLSA = append(v.TLSA, TLSAView{Record: ClipText(r.String()), Use: tg.DANE.Use(r)})
	}
	return v
}

// Bounds of what is shown.
const (
	maxTLSAShown  = 20
	maxCertsShown = 8
	maxNamesShown = 30
	maxOffers     = 50
)

// ClipText bounds what somebody published, for a line of output.
func ClipText(s string) string { return relay.ClipTo(relay.Sanitize(s), 200) }

// Survey is what the hosts of a domain show to whoever comes to send mail.
// All text in it that strangers wrote is bounded and sanitized.
type Survey struct {
	Subject    string        `json:"subject"`
	DNS        []string      `json:"dns_servers"`
	DNSTrusted bool          `json:"dns_trusted"` // their AD bit is believed
	At         Destination   `json:"destination"`
	Sessions   []SessionView `json:"sessions,omitempty"` // one for each address dialled, in the order of the hosts
	Took       relay.Millis  `json:"took_ms"`
}

// SessionView is what one address showed.
type SessionView struct {
	Host    string         `json:"host"`
	Addr    netip.AddrPort `json:"address"`
	Banner  string         `json:"banner,omitempty"`
	Offers  []string       `json:"offers,omitempty"` // its lines after EHLO, before TLS or with implicit TLS
	OverTLS []string       `json:"offers_over_tls,omitempty"`

	TLS        string     `json:"tls,omitempty"` // "TLS1.3"; "": none was made
	Cipher     string     `json:"cipher,omitempty"`
	TLSTrouble string     `json:"tls_trouble,omitempty"` // why none was made
	Chain      []CertView `json:"certificates,omitempty"`
	PKIX       string     `json:"pkix,omitempty"` // "good", or why the certificate does not stand for the host; "" without TLS
	DANE       []Match    `json:"dane,omitempty"`

	Trouble relay.Reply `json:"trouble,omitzero"`  // why mail would not be given to it; zero: it would
	Reached string      `json:"reached,omitempty"` // how private that mail would be

	Connect   relay.Millis `json:"connect_ms"`
	Greeting  relay.Millis `json:"greeting_ms"`
	EHLO      relay.Millis `json:"ehlo_ms"`
	Handshake relay.Millis `json:"handshake_ms"`
	Took      relay.Millis `json:"took_ms"`
}

// CertView is one certificate of a chain, the host's own first.
type CertView struct {
	Subject   string    `json:"subject"`
	Names     []string  `json:"names,omitempty"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// Match is a TLSA record held against the certificates that a host sent.
type Match struct {
	TLSAView
	Matches bool `json:"matches"`
}

// Best is the session of the address that mail would be given to first; nil:
// none would get it.
func (s *Survey) Best() *SessionView {
	for i := range s.Sessions {
		if s.Sessions[i].Trouble.IsZero() {
			return &s.Sessions[i]
		}
	}
	return nil
}

// Failure is the verdict on mail that no host would get.
func (s *Survey) Failure() relay.Reply {
	failures := s.At.Failures()
	for i := range s.Sessions {
		if bad := s.Sessions[i].Trouble; !bad.IsZero() && !slices.Contains(failures, bad) {
			failures = append(failures, bad)
		}
	}
	return relay.Summary(failures)
}

// Offers are the lines of an EHLO without the server's name.
func Offers(lines []string) []string {
	var all []string
	for _, line := range lines[min(1, len(lines)):min(1+maxOffers, len(lines))] {
		all = append(all, ClipText(line))
	}
	return all
}

// CertWords is why a certificate does not do.
func CertWords(err error) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return "it is signed by an authority that we do not know"
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

// HoldTLSA holds each TLSA record by itself against what the host sent.
func HoldTLSA(d *tlspolicy.DANE, state *tls.ConnectionState) []Match {
	if d == nil {
		return nil
	}
	var all []Match
	for _, r := range d.Records[:min(len(d.Records), maxTLSAShown)] {
		m := Match{TLSAView: TLSAView{Record: ClipText(r.String()), Use: d.Use(r)}}
		if tlspolicy.Usable(r) {
			alone := &tlspolicy.DANE{Base: d.Base, Names: d.Names, Usable: []dns.TLSA{r}}
			m.Matches = alone.Verify(*state) == nil
		}
		all = append(all, m)
	}
	return all
}

func Chain(chain []*x509.Certificate) []CertView {
	var all []CertView
	for _, c := range chain[:min(len(chain), maxCertsShown)] {
		v := CertView{Subject: ClipText(c.Subject.String()), Issuer: ClipText(c.Issuer.String()), NotBefore: c.NotBefore, NotAfter: c.NotAfter}
		names := c.DNSNames
		for _, ip := range c.IPAddresses {
			names = append(names, ip.String())
		}
		for j, n := range names {
			if j == maxNamesShown {
				v.Names = append(v.Names, fmt.Sprintf("and %d more", len(names)-j))
				break
			}
			v.Names = append(v.Names, ClipText(n))
		}
		all = append(all, v)
	}
	return all
}
