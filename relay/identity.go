package relay

import (
	"fmt"
	"net/netip"
	"strings"
)

const networkPrefix = "network:"

// CheckIdentityPattern says what is wrong with an entry of a list of
// identities: a name in which "*" stands for any characters, or
// "network:192.0.2.0/24" for clients without a login whose address lies there.
func CheckIdentityPattern(s string) error {
	network, ok := strings.CutPrefix(s, networkPrefix)
	switch {
	case s == "":
		return fmt.Errorf("an empty name is nobody's: write the name of a user, or \"network:192.0.2.0/24\"")
	case !ok || strings.Contains(network, "*"):
		return nil
	}
	_, err := ParseNetwork(network)
	return err
}

// SubmittedBy says whether whoever submitted m is in a list of identities; see
// CheckIdentityPattern. An empty list holds everybody.
func (m *Message) SubmittedBy(list []string) bool {
	for _, p := range list {
		if Glob(p, m.Identity) || m.cameFrom(p) {
			return true
		}
	}
	return len(list) == 0
}

// cameFrom says whether m came without a login from the network of a pattern.
func (m *Message) cameFrom(pattern string) bool {
	text, ok := strings.CutPrefix(pattern, networkPrefix)
	own, without := strings.CutPrefix(m.Identity, networkPrefix)
	if !ok || !without {
		return false
	}
	n, err := ParseNetwork(text)
	if err != nil {
		return false
	}
	if a, err := netip.ParseAddr(m.Client); err == nil {
		return n.Prefix().Contains(a.Unmap().WithZone(""))
	}
	// Without an address: the whole network that is trusted lies in it.
	trusted, err := ParseNetwork(own)
	return err == nil && n.Prefix().Bits() <= trusted.Prefix().Bits() && n.Prefix().Contains(trusted.Prefix().Addr())
}
