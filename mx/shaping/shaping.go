package shaping

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"dawk/relay"
)

// Rule says what a provider accepts. Zero values mean those of the rule that it overrides, else the
// defaults.
type Rule struct {
	Name string
	// MX are the hosts that it runs: "mx.example.net", or "*.example.net" for all names below that.
	// The longest match decides.
	MX                    []string
	Connections           int        // at once
	MessagesPerConnection int        //
	Rate                  relay.Rate // messages; N below 0: no limit, whatever the rule that it overrides says
	RecipientRate         relay.Rate // recipients, likewise
	Recipients            int        // in one transaction

	Documented int    // connections at once that the provider itself names; 0: it names none
	Checked    string // when the source was read, "2026-11"
	Source     string // the page that says so
}

// Shaping recognises providers by their MX hosts and knows what they accept. It never changes, and
// all its methods are pure: dawk explain asks the same Shaping that delivery uses.
type Shaping struct {
	Connections int
	rules       map[string]*Rule
	hosts       map[string]*Rule // by whole name
	below       map[string]*Rule // by the name after "*."
}

// DefaultConnections is how many connections a provider gets that no rule knows.
const DefaultConnections = 10

// New applies own rules on top of the shipped ones. Connections is the default for a provider's
// connections at once; 0: DefaultConnections. A documented figure lowers the default and never
// raises it; only an own rule raises it.
func New(connections int, own []Rule) (*Shaping, error) {
	s := &Shaping{Connections: connections, rules: map[string]*Rule{}, hosts: map[string]*Rule{}, below: map[string]*Rule{}}
	if s.Connections <= 0 {
		s.Connections = DefaultConnections
	}
	for _, r := range ShippedRules() {
		if r.Connections = s.Connections; r.Documented > 0 {
			r.Connections = min(r.Connections, r.Documented)
		}
		s.rules[r.Name] = &r
	}
	var errs []error
	for _, r := range own {
		if err := s.override(r); err != nil {
			errs = append(errs, fmt.Errorf("provider %q: %w", r.Name, err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.rules)) {
		errs = append(errs, s.index(s.rules[name]))
	}
	return s, errors.Join(errs...)
}

// Within is r with each limit of own that is stricter, or that r lacks.
func (r Rule) Within(own Rule) Rule {
	for _, n := range []struct {
		own int
		to  *int
	}{{own.Connections, &r.Connections}, {own.MessagesPerConnection, &r.MessagesPerConnection}, {own.Recipients, &r.Recipients}} {
		if n.own > 0 && (*n.to == 0 || n.own < *n.to) {
			*n.to = n.own
		}
	}
	for _, n := range []struct {
		own relay.Rate
		to  *relay.Rate
	}{{own.Rate, &r.Rate}, {own.RecipientRate, &r.RecipientRate}} {
		if n.own.N > 0 && (n.to.N == 0 || n.own.Each() > n.to.Each()) {
			*n.to = n.own
		}
	}
	return r
}

func (s *Shaping) override(own Rule) error {
	if err := own.validate(); err != nil {
		return err
	}
	r := s.rules[own.Name]
	if r == nil {
		if len(own.MX) == 0 {
			return errors.New(`no rule of this name comes with dawk: write whose hosts it is about, as in mx = ["*.example.net"]`)
		}
		r = &Rule{Name: own.Name, Connections: s.Connections}
		s.rules[own.Name] = r
	}
	if len(own.MX) > 0 {
		r.MX = own.MX
	}
	if own.Connections > 0 {
		r.Connections = own.Connections
	}
	if own.MessagesPerConnection > 0 {
		r.MessagesPerConnection = own.MessagesPerConnection
	}
	for _, rate := range []struct{ own, to *relay.Rate }{{&own.Rate, &r.Rate}, {&own.RecipientRate, &r.RecipientRate}} {
		switch {
		case rate.own.N > 0:
			*rate.to = *rate.own
		case rate.own.N < 0:
			*rate.to = relay.Rate{}
		}
	}
	return nil
}

// validate checks a rule by itself.
func (r *Rule) validate() error {
	if r.Name == "" || len(r.Name) > 64 || strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return errors.New("a name is a word of lower-case letters, digits, - and _, at most 64: it is a label of metrics")
	}
	if r.Connections < 0 || r.MessagesPerConnection < 0 {
		return errors.New("connections and messages_per_connection are at least 1")
	}
	for _, p := range r.MX {
		if err := ValidMXPattern(p); err != nil {
			return err
		}
	}
	return nil
}

// ValidMXPattern says what is wrong with an entry of Rule.MX.
func ValidMXPattern(p string) error {
	name := strings.TrimPrefix(p, "*.")
	if d, err := relay.NormalizeDomain(name); err != nil || strings.ContainsAny(d, "*[") || !strings.Contains(d, ".") {
		return fmt.Errorf(`mx %q is not a host: write "mx.example.net", or "*.example.net" for all hosts below that`, p)
	}
	return nil
}

func (s *Shaping) index(r *Rule) error {
	for _, p := range r.MX {
		set, name := s.hosts, p
		if rest, all := strings.CutPrefix(p, "*."); all {
			set, name = s.below, rest
		}
		if d, err := relay.NormalizeDomain(name); err == nil {
			name = d
		}
		if other := set[name]; other != nil && other != r {
			return fmt.Errorf("provider %q: mx %q belongs to provider %q already; give the whole list of one of them", r.Name, p, other.Name)
		}
		set[name] = r
	}
	return nil
}

// Provider is who runs an MX host: the rule that knows it best, or else the name under which it is
// registered, by the public suffix list. An address counts as its /24, or its /64 for IPv6: whoever
// has one address there has many.
//
// The registered name is what a provider and its many customers share: the hosts mx1 and
// mx2.example.net are one provider's, whatever domains they serve, and ours is one to them as well.
// The last two labels would join too much: co.uk is no provider. The whole name of the host would
// join too little: ten hosts behind one load balancer would get ten times the connections.
// Independent hosts below one name, as those of an access provider's customers, share its
// connections without need. They share nothing else: a dead host is suspended by itself, see
// docs/shaping.md.
func (s *Shaping) Provider(host string) string {
	if r := s.rule(host); r != nil {
		return r.Name
	}
	if a, err := netip.ParseAddr(host); err == nil {
		bits := 24
		if a = a.Unmap(); a.Is6() {
			bits = 64
		}
		p, _ := a.WithZone("").Prefix(bits) // cannot fail: the number of bits is valid
		return p.String()
	}
	if name, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return name
	}
	return host
}

// rule is the rule with the longest match for a host, or nil.
func (s *Shaping) rule(host string) *Rule {
	if r := s.hosts[host]; r != nil {
		return r
	}
	for name := host; ; {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			return nil
		}
		if r := s.below[parent]; r != nil {
			return r
		}
		name = parent
	}
}

// Rule is the rule of a provider as it is applied: all defaults are filled in except
// MessagesPerConnection, where 0 means the value of the Transport.
func (s *Shaping) Rule(provider string) Rule {
	if r := s.rules[provider]; r != nil {
		return *r
	}
	return Rule{Name: provider, Connections: s.Connections}
}

// Known says whether a rule of that name was shipped or configured.
func (s *Shaping) Known(provider string) bool { return s.rules[provider] != nil }

// Names are those of all rules, sorted: the closed set that metrics count by.
func (s *Shaping) Names() []string { return slices.Sorted(maps.Keys(s.rules)) }

// maxKnown is how many domains are remembered in either generation.
const maxKnown = 20_000

// knownFor is how long a domain's provider is remembered. It only predicts where mail will have to
// wait: before it connects, each attempt asks DNS, whose answers have their own lifetimes.
const knownFor = 10 * time.Minute

// Memory remembers which provider takes the mail of which domain.
type Memory struct{ known recent[string, string] }

// Get is the provider of a domain; "" where it is not known.
func (m *Memory) Get(domain string) string {
	provider, _ := m.known.get(domain)
	return provider
}

// Put stores an answer of DNS, to be remembered from now on.
func (m *Memory) Put(domain, provider string) {
	m.known.put(domain, provider, maxKnown, knownFor)
}
