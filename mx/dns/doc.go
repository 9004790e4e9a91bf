// Package dns is a caching stub resolver. It asks the name servers of the configuration or of
// resolv.conf, and distinguishes an empty answer from no answer: only after an empty answer may
// mail be returned.
//
// It owns the servers and which of them answered last (servers.go), whether any of them answers
// (outage.go), the queries (wire.go, the only file that uses the DNS library), and the cache. It
// does not decide what an answer means for mail.
//
// A [Resolver] has locks of the cache, of the server list, of what servers support and of an
// outage, none held while another is taken, and no goroutine that outlives a question. Begin reading at [Resolver.LookupMX] and
// lookup; wire.go's try is one question to one server.
package dns
