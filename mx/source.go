package mx

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"

	"dawk/mx/smtpclient"
	"dawk/relay"
)

// Source is a face that mail goes out with: local addresses, and the name that
// is said in EHLO from there. An address family that it lacks is not spoken.
type Source struct {
	Name   string
	Addr4  netip.Addr // zero: it has none
	Addr6  netip.Addr
	EHLO   string // A-labels; "": Config.Hostname
	Weight int    // its share of a pool, against the others'; 0: 1
}

// name is "" for none.
func (s *Source) name() string {
	if s == nil {
		return ""
	}
	return s.Name
}

// local is the address to connect from; ok is false where the source has none
// of the family.
func (s *Source) local(to netip.Addr) (from netip.Addr, ok bool) {
	switch {
	case s == nil:
		return netip.Addr{}, true
	case to.Unmap().Is4():
		from = s.Addr4
	default:
		from = s.Addr6
	}
	return from, from.IsValid()
}

func (c Config) validateSources() (errs []error) {
	names := map[string]bool{}
	for _, s := range c.Sources {
		fault := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("source %q: "+format, append([]any{s.Name}, args...)...))
		}
		if s.Name == "" || names[s.Name] {
			fault("each source needs a name of its own")
		}
		names[s.Name] = true
		if !s.Addr4.IsValid() && !s.Addr6.IsValid() {
			fault("it has no address")
		}
		if s.Addr4.IsValid() && !s.Addr4.Is4() || s.Addr6.IsValid() && (!s.Addr6.Is6() || s.Addr6.Is4In6()) {
			fault("an address is of the wrong family")
		}
		if _, err := relay.NormalizeDomain(cmp.Or(s.EHLO, c.Hostname)); err != nil {
			fault("ehlo: %w", err)
		}
		if s.Weight < 0 {
			fault("weight %d is negative", s.Weight)
		}
	}
	return append(errs, c.validatePool(c.Pool)...)
}

func (c Config) validatePool(pool []string) (errs []error) {
	for i, name := range pool {
		switch {
		case !slices.ContainsFunc(c.Sources, func(s Source) bool { return s.Name == name }):
			errs = append(errs, fmt.Errorf("source %q does not exist: describe it in a [[source]] section", name))
		case slices.Contains(pool[:i], name):
			errs = append(errs, fmt.Errorf("source %q is named twice: give it a greater weight instead", name))
		}
	}
	return errs
}

// source is one of the configuration, which was validated.
func (t *Transport) source(name string) *Source {
	i := slices.IndexFunc(t.cfg.Sources, func(s Source) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &t.cfg.Sources[i]
}

// sources are those that a message may go out with, the best first; none: what
// the system chooses. A message keeps its source from attempt to attempt, as
// greylisting wants it, and messages spread over the pool by weight: weighted
// rendezvous hashing, by which a change of the pool moves as few as can be.
// Sources that reach none of the targets come last.
func (t *Transport) sources(m *relay.Message, r *compiled, targets []target) []*Source {
	pool := t.cfg.Pool
	if r != nil && len(r.Sources) > 0 {
		pool = r.Sources
	}
	if len(pool) == 0 {
		return nil
	}
	type ranked struct {
		*Source
		useless bool
		score   float64
	}
	list := make([]ranked, 0, len(pool))
	for _, name := range pool {
		s := t.source(name)
		useless := !slices.ContainsFunc(targets, func(tg target) bool {
			_, ok := s.local(tg.Addr.Addr())
			return ok
		})
		list = append(list, ranked{s, useless, s.draw(m.ID)})
	}
	slices.SortFunc(list, func(a, b ranked) int {
		if a.useless != b.useless {
			if a.useless {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.score, b.score)
	})
	out := make([]*Source, len(list))
	for i := range list {
		out[i] = list[i].Source
	}
	return out
}

// draw is the waiting time of an exponential distribution whose rate is the
// weight, drawn by the message's ID: of several sources the least one wins
// with a probability that is its share of the weights.
func (s *Source) draw(id relay.QueueID) float64 {
	sum := sha256.Sum256([]byte(id.String() + "\x00" + s.Name))
	uniform := (float64(binary.BigEndian.Uint64(sum[:8])>>11) + 0.5) / (1 << 53) // in (0, 1)
	return -math.Log(uniform) / float64(max(s.Weight, 1))
}

// statusSource is of a Reply about a source that this machine does not have:
// nothing else at StageRoute has it. RFC 3463: system incorrectly configured.
var statusSource = relay.Status{Class: 4, Subject: 3, Detail: 5}

// ofSource says whether a session failed for its source, so that another one
// may do.
func ofSource(r relay.Reply) bool {
	return r.Stage == relay.StageRoute && r.Code == 0 && r.Status == statusSource
}

// noFamily is the verdict on a target that the source has no address for.
func (s *Source) noFamily(tg target) relay.Reply {
	family := "IPv6"
	if tg.Addr.Addr().Unmap().Is4() {
		family = "IPv4"
	}
	return relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 4, Detail: 4}, "source %q has no %s address to reach %s from", s.Name, family, tg)
}

// unbound is the verdict on a source whose address this machine does not have;
// zero for every other error. It is never the fault of the mail.
func (s *Source) unbound(from netip.Addr, err error) relay.Reply {
	var sys *os.SyscallError
	if !errors.As(err, &sys) || sys.Syscall != "bind" {
		return relay.Reply{}
	}
	return relay.Failure(relay.StageRoute, statusSource,
		"cannot send from %s (source %q): %s; this machine must have that address, or the [[source]] another one", from, s.Name, smtpclient.Cause(err))
}

// dialer connects from a local address.
func dialer(from netip.Addr) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
}
