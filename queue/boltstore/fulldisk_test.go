package boltstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	"dawk/relay"
)

// TestFullDiskHistories draws what may happen on a small disk: mail of all sizes, to
// several hosts; attempts that end nothing, deliveries, failures with their notices;
// somebody's file that grows and goes; checkpoints, compactions, kills and starts.
// Whatever the history, while only the notices of what was taken need room, all of
// it can be settled, in spite of a disk that is full; and once the limit is free
// mail is accepted. One in four begins and ends with a file that has reached its max_size.
// DAWK_SEED is where the draw begins; DAWK_FULL_DISKS=all draws 100 instead of 4, a fifth
// of them on ext4.
func TestFullDiskHistories(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("DAWK_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	histories := uint64(4)
	if os.Getenv("DAWK_FULL_DISKS") == "all" {
		histories = 100
	}
	for i := range histories {
		t.Run(fmt.Sprint("seed ", seed+i), func(t *testing.T) {
			kind, size, maxSize := "tmpfs", 24+int64(i%3)*20, int64(0)
			switch {
			case i%4 == 3:
				size, maxSize = 120, 64<<20
			case i%5 == 4:
				kind, size = "ext4", 80
			}
			disk := queuetest.Disk(t, kind, size)
			synctest.Test(t, func(t *testing.T) {
				h := &fullHistory{T: t, disk: disk, maxSize: maxSize, rng: rand.New(rand.NewPCG(seed+i, 0)), there: map[relay.QueueID]int{}}
				h.run()
			})
		})
	}
}

type fullHistory struct {
	*testing.T
	disk    string
	rng     *rand.Rand
	maxSize int64
	q       *boltstore.Store
	there   map[relay.QueueID]int // how many Deliveries of a message wait
	ids     []relay.QueueID       // what was taken, the oldest first
	rows    []relay.QueueID       // of lists
}

func (h *fullHistory) foreign() string { return filepath.Join(h.disk, "foreign") }

func (h *fullHistory) open() {
	h.q = mustOpen(h.T, boltstore.Options{Dir: filepath.Join(h.disk, "data"), MinFree: 2 << 20, MaxMessageSize: 1 << 20, MaxSize: h.maxSize,
		Fatal: func(err error) { h.Errorf("the disk is not trusted any more: %v", err) }})
}

func (h *fullHistory) run() {
	h.open()
	if h.maxSize > 0 {
		h.toMaxSize()
	}
	for step := range 60 {
		h.step()
		if h.Failed() {
			h.Fatalf("after %d steps", step)
		}
	}
	if h.maxSize > 0 {
		os.Remove(h.foreign())
		h.wait(time.Minute)
		h.toMaxSize()
	}
	fillDisk(h.T, h.foreign()) // all can be settled, in any order
	h.rng.Shuffle(len(h.ids), func(i, j int) { h.ids[i], h.ids[j] = h.ids[j], h.ids[i] })
	for len(h.ids) > 0 {
		h.end(h.rng.IntN(3) == 0)
	}
	h.listed()
	os.Remove(h.foreign())
	h.wait(time.Minute)
	if err := h.q.Room(); err != nil {
		h.Errorf("the disk is free: %v (%+v)", err, h.q.FileStats())
	}
	mustPut(h.T, h.q, body("x", 200<<10), "a@example.org")
	sound(h.T, h.q)
	if err := h.q.Close(); err != nil {
		h.Error(err)
	}
}

// wait lets the writer, and the look at the disk, come to rest.
func (h *fullHistory) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (h *fullHistory) step() {
	switch n := h.rng.IntN(20); {
	case n < 8:
		h.submit()
	case n < 10:
		h.attempt()
	case n < 13:
		for range h.rng.IntN(20) {
			h.end(false)
		}
	case n < 14:
		h.end(true)
	case n < 15:
		h.grow(h.rng.Int64N(8 << 20))
	case n < 16:
		fillDisk(h.T, h.foreign())
	case n < 17:
		os.Remove(h.foreign())
	case n < 18:
		h.q.Compact(h.Context()) //nolint:errcheck // there may be no room for it
	case n < 19:
		h.wait(time.Duration(h.rng.IntN(3000)) * time.Millisecond)
	default:
		if err := h.q.Close(); err != nil {
			h.Error(err)
		}
		h.open()
	}
}

// submit hands over messages of all sizes, until one is refused.
func (h *fullHistory) submit() {
	for range h.rng.IntN(30) {
		to := []string{"a@example.org", "b@example.com", "c@example.net"}[:1+h.rng.IntN(3)]
		size := []int{300, 3000, 30_000, 200_000, 250_000, 600_000}[h.rng.IntN(6)]
		id, err := put(h.q, body("x", size), to...)
		if err != nil {
			wantErr(h.T, err, relay.ErrNoSpace)
			return
		}
		h.ids, h.there[id] = append(h.ids, id), len(to)
	}
}

// toMaxSize submits until the file has reached its largest size, and there is disk left.
func (h *fullHistory) toMaxSize() {
	for {
		size := []int{300, 30_000, 200_000}[h.rng.IntN(3)]
		id, err := putAs(h.q, fmt.Sprint("sender ", len(h.ids)), body("x", size), "a@example.org")
		if err != nil {
			wantErr(h.T, err, relay.ErrNoSpace)
			if st := h.q.FileStats(); st.FileBytes < h.maxSize/2 || st.DiskFree < 4*st.Limit {
				h.Errorf("it is not max_size that refuses mail: %v, %+v", err, st)
			}
			return
		}
		h.ids, h.there[id] = append(h.ids, id), 1
		h.q.LookAtSpace()
	}
}

// attempt is one for every Delivery, which ends none.
func (h *fullHistory) attempt() {
	for _, id := range h.ids {
		for job := range h.there[id] {
			s := relay.Settlement{ID: id, Job: uint16(job), Next: relay.State{Attempts: 1, Due: time.Now().Add(time.Hour)},
				Attempt:  &relay.Attempt{N: 1, At: time.Now()},
				Outcomes: []relay.Outcome{{Recipient: job, Action: relay.ActionDelayed, Reply: relay.Reply{Code: 451, Text: "not now"}}}}
			h.q.Settle(s, nil)
		}
	}
}

// end settles the oldest message: delivered, or returned with a short notice for
// each Delivery.
func (h *fullHistory) end(returned bool) {
	if len(h.ids) == 0 {
		return
	}
	id := h.ids[0]
	h.ids = h.ids[1:]
	for job := range h.there[id] {
		s := relayed(id, uint16(job), job)
		switch scant := errors.Is(h.q.Room(), relay.ErrScant); {
		case returned && scant:
			s.Outcomes[0].Action = relay.ActionFailed
			s.Rows = []relay.DigestRow{{ID: h.q.NextID(), Data: body("row", 400)}}
			h.rows = append(h.rows, s.Rows[0].ID)
		case returned:
			s.Outcomes[0].Action = relay.ActionFailed
			n := relay.Notice{Message: relay.Message{ID: h.q.NextID(), Arrival: time.Now()}, Content: body("n", 3<<10)}
			n.Message.Recipients = []relay.Recipient{{Path: mailbox("sender@example.org")}}
			s.Notices = []relay.Notice{n}
			defer func() { h.ids, h.there[n.Message.ID] = append(h.ids, n.Message.ID), 1 }()
		}
		h.settle(s)
	}
	delete(h.there, id)
}

// settle is done soon, whatever the disk is like.
func (h *fullHistory) settle(s relay.Settlement) {
	h.Helper()
	done := make(chan error, 1)
	h.q.Settle(s, func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			h.Error(err)
		}
	case <-time.After(10 * time.Minute): // of the bubble's clock
		h.Fatalf("%s cannot be settled, with %d messages and %d rows: %+v", s.ID, len(h.ids), len(h.rows), h.q.FileStats())
	}
}

// listed tells senders of all rows, in lists that are shorter than these.
func (h *fullHistory) listed() {
	for some := range slices.Chunk(h.rows, 100) {
		n := relay.Notice{Message: relay.Message{ID: h.q.NextID(), Arrival: time.Now()}, Content: body("list", 300*len(some))}
		n.Message.Recipients = []relay.Recipient{{Path: mailbox("sender@example.org")}}
		h.settle(relay.Settlement{Listed: some, Notices: []relay.Notice{n}})
		h.settle(relayed(n.Message.ID, 0, 0))
	}
	h.rows = nil
}

// grow lets somebody's file take so many octets.
func (h *fullHistory) grow(n int64) {
	f, err := os.OpenFile(h.foreign(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	f.Write(make([]byte, n)) //nolint:errcheck // what fits
}
