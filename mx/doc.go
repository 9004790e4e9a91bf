// Package mx makes attempts at delivery: it finds the hosts that take a
// recipient's mail, opens sessions with them and hands them the message. Its
// subpackages do the parts: dns asks name servers, hosts finds who takes the mail
// of a domain or a route, dial decides which addresses may be connected to,
// tlspolicy how private a session must be and which tries of TLS are made, session
// opens sessions, smtpclient speaks SMTP and LMTP, connpool keeps idle connections,
// shaping knows what hosts take and need, oauth gets tokens.
//
// It owns: routes and which of them takes a message, the addresses that mail leaves
// from, the walk along the hosts and what each recipient is told, the hold of a
// route. It does not own: the queue, the retry
// schedule, how many deliveries run at once, what a bounce says.
//
// # One attempt
//
//  1. [Transport.Deliver] looks up each recipient's [Route] again; normally
//     all of a Task share one.
//  2. plan (attempt.go, hosts) lists the addresses to try, best first: the
//     hosts of `via` as written, or the MX hosts by preference, equals in random
//     order (RFC 5321 §5.1), each with what DNS and its domain say of its TLS.
//  3. walk (walk.go) takes an idle connection to one of the best from the pool, or
//     dials the best, a quarter of a second apart, until one answers (session/race.go).
//     Opener.Open (session) brings it to where MAIL may be said: greeting, EHLO,
//     STARTTLS, EHLO, AUTH, with a second try of TLS where the first breaks. What
//     goes wrong up to here, and a failure of the host itself at MAIL, leads to
//     the next address.
//  4. transaction (attempt.go) runs one or more: MAIL, RCPT …, DATA in one write
//     when the server offers PIPELINING, then the content. What it shows of the
//     host's needs is remembered for a day.
//  5. Every recipient gets one [relay.Reply] of its own. The connection goes
//     to the pool if every reply to it was read.
//
// No failure is an error value here: DNS, dial, TLS and time-outs become
// Replies, so that one type runs from the wire to the log and the bounce.
package mx
