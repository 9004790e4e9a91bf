// Package relay is dawk's vocabulary: the nouns that every other package
// speaks, named as the RFCs name them. It imports nothing of dawk and does no
// I/O; only cmd/dawk knows all the packages that import it.
//
// # The life of a message
//
// One verb per step:
//
//	client ─SMTP─► accept ─► enqueue ─250 queued as ID─►   it is on stable storage: we own it
//	                             │ one commit: content + one Delivery per route or domain
//	                             ▼
//	                         schedule ◄────────────────────────────┐
//	                             ▼                                 │ retry: next due time
//	                         resolve   route, MX, TLS policy       │
//	                             ▼                                 │
//	                         deliver   one SMTP transaction        │
//	                             ▼ one Reply per recipient         │
//	                         settle ── 2yz ─► relayed / delivered  │
//	                             │ ─── 4yz, unknown ───────────────┘
//	                             └──── 5yz, expired ─► bounce ─► enqueue (in the same commit)
//
// accept is package relay/accept behind the doors (relay/submission, httpapi,
// sendmail); enqueue and the storage side of settle are a store of package queue;
// schedule and settle are package relay/delivery; resolve and deliver are package
// mx; bounce is package bounce.
//
// # Rules
//
//   - A [Reply] carries a status from the wire to the log, the metric and the
//     bounce. DNS, dial and TLS failures are Replies too. Only package replies
//     changes one on the way: where a smart host speaks of our account.
//   - [Reply.Permanent] is the only place that decides permanence; what is
//     unknown is temporary.
//   - A [Settlement] is the only way to change a [Delivery]; it is atomic.
//   - An [Event] is told to [Observer]s only after the commit that made it true.
package relay
