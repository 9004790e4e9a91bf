// Package letterhead reads the header of a message and makes the same message
// come from another mailbox, for smart hosts that let a mailbox send only as
// itself. It is pure. Begin reading at [Parse] and As.
package letterhead
