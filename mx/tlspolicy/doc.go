// Package tlspolicy decides how private a session with a host must be. It owns
// the levels, DANE (RFC 7672), MTA-STS (RFC 8461) with the policies that it
// fetches and keeps in files, the rule of REQUIRETLS (RFC 8689), and the words of
// RFC 8460 for what a session showed. It connects to policy hosts only.
//
// Begin reading at [Demand.Raise]: it takes what the configuration and the
// message ask of a session, and what is [Published] of the host, and gives what
// counts. [DANE.Verify] and [STSPolicy.Allows] are the checks.
//
// [STS] has the only goroutines here: fetches, which outlive a caller who gives
// up, and refreshes, which end in Close. It has a lock for the fetches that
// failed, and the store has one that is held while a file is read or written.
package tlspolicy
