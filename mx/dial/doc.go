// Package dial decides which addresses may be connected to for names that
// strangers control, and makes HTTPS requests under that rule: to the hosts of
// MTA-STS policies and to those that take TLS reports.
//
// It has no state, lock or goroutine. Begin reading at [AddressPolicy.Check].
package dial
