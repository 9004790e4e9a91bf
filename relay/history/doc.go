// Package history keeps what became of the mail, for "where is my mail?":
// that is mostly asked of mail that has left the queue.
//
// It owns a folder of text files beside the queue, one line of JSON for each
// thing that happened to a recipient, and forgets the oldest of them by age
// and size. It is an observer of the relay and never delays it: Observe
// puts the event into a buffer in memory and returns, and what does not fit is
// left out and counted. Lines are written a moment later and not synced: a
// crash of the program loses what the buffer held, a crash of the machine the
// last seconds. Only the queue makes promises about durability.
//
// Beside each file lies an index, which a look-up may do without.
//
// Store writes, in the goroutine of its Run, and a second one there completes
// the indexes that earlier runs have left; Read and Of read, also from
// another process and while the relay runs. Begin reading at Store.Observe.
package history
