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

// Source is a face that mail goes out with: local addresses, and the name that
// is said in EHLO from there. An address family that it lacks is not spoken.
type Source struct {
	Name   string
	Addr4  netip.Addr // zero: it has none
	Addr6  netip.Addr
	EHLO   string // A-labels; "": Config.Hostname
	Weight int    // its share of a pool, against the others'; 0: 1
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

// Rank sorts the sources that a message may leave from, the best first. A
// message keeps its source from attempt to attempt, as greylisting wants it, and
// messages spread over the sources by weight: weighted rendezvous hashing, by
// which a change of the pool moves as few as can be. Sources that reach none of
// the addresses come last.
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

// OfSource says whether a session failed for its source, so that another one
// may do.
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

// Unbound is the verdict on a source whose address this machine does not have;
// zero for every other error. It is never the fault of the mail.
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
