// Package hosts finds the hosts that take mail: those of a domain by its MX
// records, or those of a route as written. A [Plan] lists their addresses, the best
// first, each with what DNS says of its TLS, and the reasons why hosts that should be
// among them are not.
//
// It asks DNS and connects to nobody. It holds no state and has no locks; look-ups
// of several hosts run side by side and end before a call returns. Begin reading at
// [Finder.PlanMX].
package hosts
