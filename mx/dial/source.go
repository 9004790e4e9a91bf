package dial

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"

	"dawk/relay"
)

// Source is how mail leaves this machine: local addresses, and the name for EHLO. An address family
// that it lacks is not used.
type Source struct {
	Name   string
	Addr4  netip.Addr // zero: none
	Addr6  netip.Addr
	EHLO   string // A-labels; "": Config.Hostname
	Weight int    // its share of a pool, relative to the others; 0: 1
}

// Label is the name; "" for none.
func (s *Source) Label() string {
	if s == nil {
		return ""
	}
	return s.Name
}

// Local is the address to connect from; ok is false where the source has none
// of the family.
func (s *Source) Local(to netip.Addr) (from netip.Addr, ok bool) {
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

// Rank sorts the sources that a message may leave from, the best first. A message keeps its source
// from attempt to attempt, as greylisting requires, and messages are distributed over the sources
// by weight. The method is weighted rendezvous hashing: a change of the pool moves as few messages
// as possible. Sources that reach none of the addresses come last.
func Rank(list []*Source, id relay.QueueID, to []netip.Addr) []*Source {
	useless := func(s *Source) int {
		if slices.ContainsFunc(to, func(a netip.Addr) bool { _, ok := s.Local(a); return ok }) {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(slices.Values(list), func(a, b *Source) int {
		return cmp.Or(cmp.Compare(useless(a), useless(b)), cmp.Compare(a.draw(id), b.draw(id)))
	})
}

// draw is a value of an exponential distribution whose rate is the weight, derived from the
// message's ID: each source has the least value of all with a probability equal to its share of the
// weights.
func (s *Source) draw(id relay.QueueID) float64 {
	sum := sha256.Sum256([]byte(id.String() + "\x00" + s.Name))
	uniform := (float64(binary.BigEndian.Uint64(sum[:8])>>11) + 0.5) / (1 << 53) // in (0, 1)
	return -math.Log(uniform) / float64(max(s.Weight, 1))
}

// statusSource is the status of a Reply about a source that this machine does not have: no other
// Reply at StageRoute has it. RFC 3463: system incorrectly configured.
var statusSource = relay.Status{Class: 4, Subject: 3, Detail: 5}

// OfSource says whether a session failed because of its source, so that another source may succeed.
func OfSource(r relay.Reply) bool {
	return r.Stage == relay.StageRoute && r.Code == 0 && r.Status == statusSource
}

// NoFamily is the verdict on a target that the source has no address for.
func (s *Source) NoFamily(to netip.Addr, name string) relay.Reply {
	family := "IPv6"
	if to.Unmap().Is4() {
		family = "IPv4"
	}
	return relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 4, Detail: 4}, "source %q has no %s address to reach %s from", s.Name, family, name)
}

// Unbound is the verdict on a source whose address this machine does not have; zero for every other
// error. The verdict is never permanent for the mail.
func (s *Source) Unbound(from netip.Addr, err error) relay.Reply {
	var sys *os.SyscallError
	if !errors.As(err, &sys) || sys.Syscall != "bind" {
		return relay.Reply{}
	}
	return relay.Failure(relay.StageRoute, statusSource,
		"cannot send from %s (source %q): %s; this machine must have that address, or the [[source]] another one", from, s.Name, Cause(err))
}

// Dialer connects from a local address.
func Dialer(from netip.Addr) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
}
