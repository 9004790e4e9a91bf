package mx

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"dawk/mx/dial"
	"dawk/mx/hosts"
	"dawk/relay"
)

func (c Config) validateSources(faults *relay.Faults) {
	names := map[string]bool{}
	for _, s := range c.Sources {
		fault := func(key, format string, args ...any) {
			faults.Add(key, "source %q: %s", s.Name, fmt.Sprintf(format, args...))
		}
		if s.Name == "" || names[s.Name] {
			fault("name", "each source needs a name of its own")
		}
		names[s.Name] = true
		if !s.Addr4.IsValid() && !s.Addr6.IsValid() {
			fault("addresses", "it has no address")
		}
		if s.Addr4.IsValid() && !s.Addr4.Is4() || s.Addr6.IsValid() && (!s.Addr6.Is6() || s.Addr6.Is4In6()) {
			fault("addresses", "an address is of the wrong family")
		}
		if _, err := relay.NormalizeDomain(cmp.Or(s.EHLO, c.Hostname)); err != nil {
			fault("ehlo", "ehlo: %v", err)
		}
		if s.Weight < 0 {
			fault("weight", "weight %d is negative", s.Weight)
		}
	}
	c.validatePool(faults, c.Pool)
}

func (c Config) validatePool(faults *relay.Faults, pool []string) {
	for i, name := range pool {
		switch {
		case !slices.ContainsFunc(c.Sources, func(s dial.Source) bool { return s.Name == name }):
			faults.Add("source", "source %q does not exist: describe it in a [[source]] section", name)
		case slices.Contains(pool[:i], name):
			faults.Add("source", "source %q is named twice: give it a greater weight instead", name)
		}
	}
}

// source is one of the configuration, which was validated.
func (t *Transport) source(name string) *dial.Source {
	i := slices.IndexFunc(t.cfg.Sources, func(s dial.Source) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &t.cfg.Sources[i]
}

// sources are those that a message may go out with, the best first; none: what
// the system chooses.
func (t *Transport) sources(m *relay.Message, r *compiled, targets []hosts.Target) []*dial.Source {
	pool := t.cfg.Pool
	if r != nil && len(r.Sources) > 0 {
		pool = r.Sources
	}
	if len(pool) == 0 {
		return nil
	}
	list := make([]*dial.Source, len(pool))
	for i, name := range pool {
		list[i] = t.source(name)
	}
	to := make([]netip.Addr, len(targets))
	for i := range targets {
		to[i] = targets[i].Addr.Addr()
	}
	return dial.Rank(list, m.ID, to)
}
