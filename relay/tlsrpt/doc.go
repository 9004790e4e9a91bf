// Package tlsrpt counts what sessions with other people's hosts showed about
// TLS, by UTC day and policy domain, and sends the reports that the owners of
// those domains ask for (RFC 8460).
//
// It owns the counters, their files, the form of a report and of the DNS record
// that asks for it, and the times at which reports leave. Counters have a lock;
// [Reporter.Run] is the one goroutine. Lookups and sending are the caller's
// [Way]. Begin reading at Reporter.Run.
package tlsrpt
