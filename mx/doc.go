// Package mx resolves and delivers: it finds the hosts that take a
// recipient's mail and hands them the message in SMTP. It is the only package
// that talks to DNS and to other mail servers.
//
// It owns: the DNS resolver and its cache, static routes, the choice and the
// order of hosts, refused addresses, the addresses that mail leaves from, TLS
// and login outward, the client of SMTP and LMTP, and the pool of idle
// connections. It does not own: the queue, the retry
// schedule, how many deliveries run at once, what a bounce says.
//
// # One attempt
//
//  1. [Transport.Deliver] looks up each recipient's [Route] again; normally
//     all of a Task share one.
//  2. The router (route.go) lists the addresses to try, best first: the hosts
//     of `via` as written, or the MX hosts by preference, equals in random
//     order (RFC 5321 §5.1).
//  3. An idle connection to one of the best is taken from the pool, or the best
//     addresses are dialled, a quarter of a second apart, until one answers
//     (walk.go, race.go), from the message's source (source.go): greeting, EHLO, STARTTLS, EHLO, AUTH (session.go).
//     What goes wrong up to here, and a failure of the host itself at MAIL,
//     leads to the next address.
//  4. One or more transactions (transact.go): MAIL, RCPT …, DATA in one write
//     when the server offers PIPELINING, then the content.
//  5. Every recipient gets one [relay.Reply] of its own. The connection goes
//     to the pool if every reply to it was read.
//
// No failure is an error value here: DNS, dial, TLS and time-outs become
// Replies, so that one type runs from the wire to the log and the bounce.
package mx
