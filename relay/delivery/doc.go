// Package delivery gets every accepted message to its next hop, or tells its
// sender that it could not: schedule → attempt → settle.
//
//  1. The [Dispatcher] keeps one compact entry in memory for every Delivery in
//     the store. It is loaded once, at start; afterwards the store's commits
//     tell it what is new. The store is the durable log, never a work list.
//     Which entry is attempted next, package schedule decides.
//  2. attempt claims the Delivery, looks its route up again, and lets the
//     [Transport] make one delivery attempt.
//  3. settle, a pure function, turns the replies into one relay.Settlement:
//     outcomes and the next due time. Package notices adds what people have to be
//     told. The store commits all of it or none. Operators' acts and delay
//     notices are settled in the same way.
//  4. Only then are observers told.
//
// A Settlement that could not be written is tried again until it is, so a full disk never makes us
// send again what a receiver has already accepted.
//
// Goroutines: Run is the loop that waits for due times; one worker per attempt
// (workers.go); one for each message whose delay notice is due (delay.go); one
// that writes lists of notices when they are due. All of them end before Run
// returns. Dispatcher.mu guards the schedule, the clock and the counters; nothing
// blocks while it is held.
//
// The package does not resolve, connect or speak SMTP (package mx), does not
// store (package queue) and does not write the text of notices (package
// bounce).
//
// Begin reading at Dispatcher.Run, pump, attempt and settler.settle.
package delivery
