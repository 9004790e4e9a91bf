// Package accepttest is a queue in memory and a record of events, for the tests
// of acceptance and of its doors.
package accepttest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"

	"dawk/relay"
)

// Stored is a message that a Queue took.
type Stored struct {
	relay.Message
	Content string
}

// Header is the header of the content, without the CRLF of its last field.
func (s Stored) Header() string { h, _, _ := strings.Cut(s.Content, "\r\n\r\n"); return h }

// Body is the body of the content.
func (s Stored) Body() string { _, b, _ := strings.Cut(s.Content, "\r\n\r\n"); return b }

// Queue is an accept.Queue in memory that can be made to fail. Its lock guards its fields once a
// server uses it.
type Queue struct {
	sync.Mutex
	Last      uint64 // the last ID given
	Taken     []Stored
	Open      int           // drafts that have not ended
	Forget    bool          // contents go nowhere
	Panics    bool          // Enqueue does
	NoRoom    error         // of Room
	NoDraft   error         // of NewDraft
	NoWrite   error         // of writing to a draft
	NoEnqueue error         // of Enqueue
	Gate      chan struct{} // Enqueue waits for it, if set
	Entered   chan struct{} // closed when Enqueue waits
}

// Room is Queue.NoRoom.
func (q *Queue) Room() error { q.Lock(); defer q.Unlock(); return q.NoRoom }

// NewDraft gives drafts with IDs that count from 1.
func (q *Queue) NewDraft() (relay.Draft, error) {
	q.Lock()
	defer q.Unlock()
	if q.NoDraft != nil {
		return nil, q.NoDraft
	}
	q.Last++
	q.Open++
	return &draft{q: q, id: relay.QueueID{Key: q.Last, Dir: 7}}, nil
}

// Enqueue keeps the message in Taken.
func (q *Queue) Enqueue(_ context.Context, d relay.Draft, m *relay.Message) error {
	q.Lock()
	gate, err, panics := q.Gate, q.NoEnqueue, q.Panics
	q.Unlock()
	if panics {
		panic("as asked")
	}
	if gate != nil {
		close(q.Entered)
		<-gate
	}
	md := d.(*draft)
	md.Discard()
	if err != nil {
		return err
	}
	q.Lock()
	defer q.Unlock()
	if !q.Forget {
		q.Taken = append(q.Taken, Stored{*m, string(md.content)})
	}
	return nil
}

// Messages are those taken.
func (q *Queue) Messages() []Stored {
	q.Lock()
	defer q.Unlock()
	return slices.Clone(q.Taken)
}

type draft struct {
	q       *Queue
	id      relay.QueueID
	content []byte
	ended   bool
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func (d *draft) ID() relay.QueueID { return d.id }

func (d *draft) Write(p []byte) (int, error) {
	if d.q.NoWrite != nil {
		return 0, d.q.NoWrite
	}
	if !d.q.Forget {
		d.content = append(d.content, p...)
	}
	return len(p), nil
}

func (d *draft) Prepend(h []byte)       { d.content = append(slices.Clone(h), d.content...) }
func (d *draft) Size() int64            { return int64(len(d.content)) }
func (d *draft) Content() relay.Content { return memory{bytes.NewReader(d.content)} }

func (d *draft) Discard() {
	d.q.Lock()
	defer d.q.Unlock()
	if !d.ended {
		d.ended = true
		d.q.Open--
	}
}

// Recorder is a relay.Observer that keeps the events.
type Recorder struct {
	sync.Mutex
	Events []relay.Event
	Gone   chan struct{} // gets one for each connection that is gone; nil: nobody waits
	more   chan struct{} // closed and made anew with each event
}

// Observe keeps an event.
func (r *Recorder) Observe(e relay.Event) {
	if gone := r.observe(e); gone != nil && e.Kind == relay.EventGone {
		gone <- struct{}{}
	}
}

func (r *Recorder) observe(e relay.Event) (gone chan struct{}) {
	r.Lock()
	defer r.Unlock()
	r.Events = append(r.Events, e)
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	return r.Gone
}

// Wait waits for n events of a kind.
func (r *Recorder) Wait(kind relay.EventKind, n int) []relay.Event {
	for {
		r.Lock()
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.Unlock()
		if e := r.Of(kind); len(e) >= n {
			return e
		}
		<-more
	}
}

// Of are the events of a kind.
func (r *Recorder) Of(kind relay.EventKind) (found []relay.Event) {
	r.Lock()
	defer r.Unlock()
	for _, e := range r.Events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}
