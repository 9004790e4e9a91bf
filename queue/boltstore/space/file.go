package space

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"dawk/queue/boltstore/boltfile"
	"dawk/queue/journal"
)

// File is the bbolt file as the writer sees it: what its open transaction will
// take, and how much there is. The end of the file, behind the last page that was
// ever used, has blocks of the disk: bbolt itself makes its file larger without
// any, and on a full disk a write there fails. One goroutine uses a File, but for
// Use and Scant.
type File struct {
	path string
	max  int64 // of the file, in octets; 0: none
	size int64 // of the file, as we left it; 0: not known to have blocks

	need Need
	owed atomic.Int64 // the same as of the last group, in octets

	scant atomic.Bool // see Scant
}

// NewFile is the file at path, which may become max octets long; 0: any.
func NewFile(path string, max int64) *File { return &File{path: path, max: max} }

// Begin is for a new transaction: nothing has changed in it.
func (f *File) Begin() {
	f.need.Reset()
	f.owed.Store(0)
}

// Changed notes a row that was put, or removed.
func (f *File) Changed(message bool, key []byte, octets int, removed bool) {
	switch {
	case message && removed:
		f.need.Gone(binary.BigEndian.Uint64(key))
	case message:
		f.need.Message(binary.BigEndian.Uint64(key), octets)
	case !removed:
		f.need.Row(octets)
	}
}

// Many says whether a commit takes so many octets that it should be made.
func (f *File) Many(octets int64) bool { return f.need.Octets(0) >= octets }

// Promised is called when the changes so far are durable in the journal.
func (f *File) Promised(tx *bolt.Tx) { f.owed.Store(f.need.Octets(written(tx))) }

// written is how many pages the commit of tx writes again.
func written(tx *bolt.Tx) int64 { st := tx.Stats(); return st.GetNodeCount() }

// Kind is what a group does to the file.
type Kind int

const (
	Settles Kind = iota // it adds nothing that stays, and makes room
	Tells               // it settles, and adds notices that are larger than what leaves
	Mail                // it adds new mail
)

// Assure makes sure, before a group is made durable by the journal, that the commit of tx will find
// room, whoever fills the disk meanwhile. The Deliveries are those that wait (telling: see
// ToSettle), step is by how much the file grows at a time. Where there is no more room to be had,
// new mail gets the error, of which RolledBack knows; and so do notices, where settling the next
// Delivery would lack room. Where pages enough are free, but perhaps not side by side, they are to
// be committed at once, which shows whether they fit. What makes room goes on.
func (f *File) Assure(tx *bolt.Tx, kind Kind, deliveries, telling, step int64) (atOnce bool, err error) {
	pages, high, free := written(tx), tx.Size(), freePages(tx.DB(), 0)
	keep, half := ToSettle(deliveries, telling), scantBelow(deliveries, telling)
	least := keep
	switch kind {
	case Settles:
		keep, least, step = 0, 0, 0
	case Tells:
		keep, least = half, settleOnce
	}
	f.look(high)
	tail := max(0, f.usable(f.size)-high)
	lack := f.need.Lack(pages, keep, free, tail)
	if lack > 0 {
		err = f.extend(high, lack, step)
		tail = max(0, f.usable(f.size)-high)
	}
	left := free + tail - f.need.Octets(pages)
	if left >= half {
		f.scant.Store(false)
	} else if kind != Settles {
		f.scant.Store(true)
	}
	switch {
	case err == nil || !RolledBack(err):
		return false, err
	case kind != Settles && left < least:
		return false, err
	}
	return kind != Settles, nil
}

// Scant says that the room left is needed for the settlements under way: a settlement should add no
// more than it removes.
func (f *File) Scant() bool { return f.scant.Load() }

// freePages is what bbolt can use of the pages that it has used before, in
// octets. What the last commit gave back counts unless somebody reads it still,
// the caller's own transactions apart. So a backup that begins later may hold pages
// that were counted: then a checkpoint waits for its end, with everything in the journal.
func freePages(db *bolt.DB, own int) int64 {
	st := db.Stats()
	n := st.FreePageN
	if st.OpenTxN <= own {
		n += st.PendingPageN
	}
	return int64(n) * page
}

// Use measures the file, in a read transaction.
func (f *File) Use(tx *bolt.Tx) (u Use) {
	var st unix.Stat_t
	if unix.Stat(f.path, &st) == nil {
		u.FileSize = st.Size
	}
	u.Free = freePages(tx.DB(), 1) + max(0, u.FileSize-tx.Size()) // Size is the end of the last page in use
	u.Holes = min(u.Free, max(0, u.FileSize-512*st.Blocks))
	u.Owed = f.owed.Load()
	return u
}

// usable is how much bbolt uses of a file of size octets.
func (f *File) usable(size int64) int64 {
	if f.max > 0 {
		return min(size, f.max-boltfile.Step-page)
	}
	return size
}

// Forget is for a file that was replaced, or that bbolt may have made larger.
func (f *File) Forget() { f.size = 0 }

// look makes sure that the end of the file after high has blocks. A part without blocks is cut off.
func (f *File) look(high int64) {
	var st unix.Stat_t
	if unix.Stat(f.path, &st) != nil || st.Size == f.size {
		return
	}
	f.size = 0
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer file.Close()
	if st.Size > high {
		err = journal.Allocate(file, high, st.Size)
	}
	if err == nil {
		f.size = st.Size
	}
}

// extend makes the end longer by lack octets at least, by step where there is
// room. After an error that RolledBack knows it is as it was.
func (f *File) extend(high, lack, step int64) error {
	from := max(f.size, high)
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	lack = (lack + page - 1) / page * page
	err = fmt.Errorf("extend %s: %w", f.path, bolterrors.ErrMaxSizeReached)
	for _, n := range []int64{max(lack, step), lack} {
		if f.usable(from+n) < from+n {
			continue
		}
		if err = journal.Allocate(file, from, from+n); err == nil {
			f.size = from + n
			return nil
		}
	}
	return err
}
