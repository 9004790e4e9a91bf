// Package load is both ends of a measurement: a source of messages, a sink
// that takes them, and a ledger that says whether each arrived once and whole.
//
// Everything is bounded in count and time, and talks to loopback addresses
// only: this is no tool to aim at anybody else's server.
package load

import (
	"fmt"
	"net/netip"
)

// Most of what a run may ask for.
const (
	MaxMessages   = 2_000_000
	MaxDeliveries = 20_000_000 // messages times recipients
	MaxClients    = 5_000
)

// CheckLoopback refuses every address that is not on this machine.
func CheckLoopback(addr string) error {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not an address and port", addr)
	}
	if !ap.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s is not a loopback address: dawkbench measures on one machine only", ap)
	}
	return nil
}
