// Package schedule decides which Delivery is attempted next: the table of all
// Deliveries, fair turns, the limits and the pace of providers, suspensions, and
// retry times.
//
// A [Schedule] is a data structure. It starts nothing, reads no clock (now is an
// argument, in µs of whatever clock its owner has) and has no lock: its owner
// has one, and calls the functions of [Limits] with it.
//
// An entry stands for a Delivery and is in exactly one place: waiting in a heap
// for its due time; ready in the lane of its destination and identity; taken, by
// whoever attempts, settles or acts on it; or held. [Schedule.Take] gives out the
// entry whose turn it is, with a [Slot]: the right to one connection.
// [Schedule.Land] gives the slot back with what the attempt found, and
// [Schedule.Put] the entry with its next [State].
//
// The words, each with one meaning:
//
//	destination  a next hop: a route or a domain
//	provider     who takes the mail of one or more destinations, and limits it
//	identity     who submitted
//	lane         the ready entries of one identity for one destination
//	flow         the lanes of one identity for one provider
//	backlog      the flows of one priority that wait for one provider
//	eligible     said of a flow: the provider has a connection for it
//	bypassed     said of an eligible flow: its identity holds all slots that it
//	             may, and another flow is eligible beside it
//	skipped      how often a priority, or a backlog, waited while others were served
//	ring         who takes turns, in order (round robin)
//	slot         one of the attempts that may run at once
//	parked       said of a destination: it may have no turn now
//	suspension   the time in which nothing is attempted at a destination or provider
//	pace         how many connections a provider takes now, as far as is known
//
// An entry is 72 bytes and contains no pointers, so that a million of them cost the
// garbage collector nothing.
//
// Begin reading at Schedule, then turns.go (whose turn it is), lanes.go (what waits
// where), slots.go (what an attempt may connect to), silence.go (who gives way),
// provider.go (pace) and suspension.go.
package schedule
