// Package dns is a caching stub resolver. It asks the name servers of the
// configuration or of resolv.conf, and distinguishes an empty answer
// from no answer: mail may be returned for the first only.
//
// It owns: the servers and which of them answered last (servers.go), the
// questions on the wire (wire.go, the only file that knows the DNS library),
// the cache. It does not decide what an answer means for mail.
//
// A [Resolver] has two locks, of the cache and of the server list, and no
// goroutine that outlives a question. Begin reading at [Resolver.LookupMX] and
// lookup; wire.go's try is one question to one server.
package dns
