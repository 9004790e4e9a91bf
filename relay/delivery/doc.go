// Package delivery gets every accepted message to its next hop, or tells its
// sender that it could not: schedule → attempt → settle, one file a verb.
//
//  1. The [Dispatcher] keeps one compact entry in memory for every Delivery in
//     the store. It is loaded once, at start; afterwards the store's commits
//     tell it what is new. The store is the durable log, never a work list.
//  2. An entry is in exactly one place: waiting for its due time, ready and
//     waiting for its turn, out (being attempted, settled or acted upon), or
//     held. Turns go round between providers, within a provider between the
//     identities that submitted, and within an identity between destinations,
//     so that one dead domain or one flooding application delays nobody else
//     by more than one turn. A provider is who takes the mail of several
//     destinations: its connections adapt to what it says, and its rates are
//     never exceeded. Who that is, an attempt finds out (relay.Admission).
//  3. attempt claims the Delivery, looks its route up again, and lets the
//     [Transport] make one delivery attempt.
//  4. settle, a pure function, turns the replies into one relay.Settlement:
//     outcomes, next due time, notices. The store commits all of it or none.
//  5. Only then do observers hear of it.
//
// A Settlement that could not be written is tried again until it is: what a
// receiver has taken responsibility for is not offered a second time because
// our disk was full.
//
// The package does not resolve, connect or speak SMTP (package mx), does not
// store (package queue) and does not write the text of notices (package
// bounce).
package delivery
