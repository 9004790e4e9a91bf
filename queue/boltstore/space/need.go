package space

import "dawk/queue/journal"

const (
	page = 4096 // octets, of bbolt

	// settleEach is what settling a Delivery may add to the file: its outcomes, and
	// a notice that quotes the header, in a page of its own, side by side with
	// another.
	settleEach = 8 << 10
	// settleOnce is what one settlement needs before it frees anything: bbolt
	// writes the page that a row is taken from again, with up to three other
	// messages in it, and those that lead to it.
	settleOnce = 5 << 18
	// settleRow is for each recipient: its outcome, and a row of a list that tells of
	// it. Their pages may be half empty. What the message itself takes counts for it,
	// as that is free again: see Telling.
	settleRow = 2 << 10
	// settleMost is for how many Deliveries there is room at the same time: half of
	// it for those that settle until the room is seen to be scant, half for those
	// that are attempted then, far fewer, each with a notice. After that a sender is
	// told by a row of a list.
	settleMost = 4096
)

// ToSettle is how many octets of queue.db must stay free after new mail, so that
// the Deliveries of the messages that wait can all be settled. Telling is the sum of
// Telling over all messages.
func ToSettle(deliveries, telling int64) int64 { return toSettle(deliveries, settleEach, telling) }

// scantBelow is the part of ToSettle that is for those who are told by rows.
func scantBelow(deliveries, telling int64) int64 {
	return toSettle(deliveries, settleEach/2, telling)
}

func toSettle(deliveries, each, telling int64) int64 {
	return settleOnce + each*min(max(deliveries, 0), settleMost) + max(telling, 0)
}

// Telling is how many octets the rows of lists that tell of all recipients of a message
// may take beyond those of the message, which go when they have come. With many
// recipients that is much: a message frees nothing before its last Delivery.
func Telling(octets, recipients int) int64 {
	return max(0, settleRow*int64(recipients)-int64(octets))
}

// Guess is the sum of Telling, as far as a file shows it without a look at each
// message: with so many Deliveries in so many octets, as if all were alike.
func Guess(deliveries, used int64) int64 { return max(0, settleRow*deliveries-used) }

// GrowBy is by how much the file grows at a time for new mail, in octets: so much
// is taken from a disk of total octets before it is needed.
func GrowBy(total int64) int64 { return min(max(total/64, 256<<10), 16<<20) / page * page }

// JournalLimit is how many octets the journal may have on a disk of total octets
// before they go into the file.
func JournalLimit(total int64) int64 { return min(max(total/32, 1<<20), 32<<20) }

// RecordLimit is how many octets a record may have in a journal of so many. A larger
// group goes into the file at once, with all its pages and two flushes.
func RecordLimit(octets int64) int64 { return min(max(octets/4, 5<<18), journal.MaxRecord) }

// Need is how much room the commit of a transaction takes at most, but for the
// pages that it takes apart.
type Need struct {
	small int64           // of rows that share pages, in octets: any free page is good for them
	large int64           // of rows of several pages, in octets, side by side
	mail  map[uint64]size // the messages that came in this transaction
}

type size struct{ small, large int64 }

// sizeOf is the room for a row of so many octets: a page may be half empty, and
// of those that a large row fills, the last.
func sizeOf(octets int) size {
	if octets < page/2 {
		return size{small: 2 * int64(octets)}
	}
	return size{large: int64(octets) + page}
}

// Reset is for a new transaction.
func (n *Need) Reset() {
	n.small, n.large = 0, 0
	clear(n.mail)
}

// Row adds a row that is put.
func (n *Need) Row(octets int) {
	s := sizeOf(octets)
	n.small, n.large = n.small+s.small, n.large+s.large
}

// Message adds a message that is put.
func (n *Need) Message(id uint64, octets int) {
	if n.mail == nil {
		n.mail = make(map[uint64]size)
	}
	n.mail[id] = sizeOf(octets)
	n.Row(octets)
}

// Gone takes a message away that came in the same transaction: it never reaches
// a page.
func (n *Need) Gone(id uint64) {
	s := n.mail[id]
	n.small, n.large = n.small-s.small, n.large-s.large
	delete(n.mail, id)
}

// Octets is all of it, with so many pages that are written again.
func (n *Need) Octets(pages int64) int64 { return n.small + n.large + pages*page }

// Lack is by how many octets the end of the file has to grow, so that need, with
// so many pages written again, finds room, and keep octets stay free. Free octets
// are in pages here and there, tail is what has blocks behind the last page.
func (n *Need) Lack(pages, keep, free, tail int64) int64 {
	return max(n.large-tail, n.Octets(pages)+keep-free-tail, 0)
}
