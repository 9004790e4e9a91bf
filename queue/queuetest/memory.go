package queuetest

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"dawk/queue"
	"dawk/relay"
)

// Memory is a store that keeps everything in memory: the reference, and a
// queue for tests of other packages that need no disk.
type Memory struct {
	mu    sync.Mutex
	model *Model
	last  uint64
	watch func([]relay.Entry)

	outbox memoryOutbox
}

// NewMemory is an empty one.
func NewMemory() *Memory {
	m := &Memory{model: NewModel()}
	m.outbox.Memory = m
	return m
}

type memoryContent struct{ *bytes.Reader }

func (memoryContent) Close() error { return nil }

type memoryDraft struct {
	id  relay.QueueID
	buf []byte
}

func (d *memoryDraft) ID() relay.QueueID           { return d.id }
func (d *memoryDraft) Write(p []byte) (int, error) { d.buf = append(d.buf, p...); return len(p), nil }
func (d *memoryDraft) Prepend(h []byte)            { d.buf = slices.Concat(h, d.buf) }
func (d *memoryDraft) Size() int64                 { return int64(len(d.buf)) }
func (d *memoryDraft) Content() relay.Content      { return memoryContent{bytes.NewReader(d.buf)} }
func (d *memoryDraft) Discard()                    {}

// Watch sets who is told of new Deliveries.
func (m *Memory) Watch(f func([]relay.Entry)) { m.watch = f }

// Room always returns nil.
func (m *Memory) Room() error { return nil }

// Stats counts what is queued.
func (m *Memory) Stats() queue.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.model.Stats()
}

// Close does nothing: what is in memory stays.
func (m *Memory) Close() error { return nil }

// NextID reserves an ID.
func (m *Memory) NextID() relay.QueueID {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = max(m.last+1, uint64(time.Now().UnixMicro()))
	return relay.QueueID{Key: m.last, Dir: 1}
}

// NewDraft begins a message.
func (m *Memory) NewDraft() (relay.Draft, error) { return &memoryDraft{id: m.NextID()}, nil }

// Enqueue accepts it.
func (m *Memory) Enqueue(_ context.Context, d relay.Draft, msg *relay.Message) error {
	own, ok := d.(*memoryDraft)
	if !ok || msg.ID != own.id || len(msg.Recipients) == 0 {
		return errors.New("enqueue: not a draft of this store, or no recipients")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	msg.Size = own.Size()
	m.tell(m.model.Accept(*msg, own.buf))
	defer m.outbox.woken()
	return nil
}

func (m *Memory) tell(e []relay.Entry) {
	if m.watch != nil && len(e) > 0 {
		m.watch(e)
	}
}

// Claim gets one Delivery.
func (m *Memory) Claim(id relay.QueueID, job uint16) (*relay.Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.model.delivery(id, job)
	if d == nil {
		return nil, notFound(id)
	}
	msg, own := m.model.Item(id).Message, *d
	own.Open = slices.Clone(d.Open)
	return &relay.Claim{Message: &msg, Delivery: &own, Content: memoryContent{bytes.NewReader(m.model.Content(id))}}, nil
}

// Settle applies a settlement at once.
func (m *Memory) Settle(s relay.Settlement, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries, err := m.model.Settle(s)
	m.tell(entries)
	m.outbox.woken()
	if done != nil {
		done(err)
	}
}

// DigestRows streams what senders are still to be told.
func (m *Memory) DigestRows() iter.Seq2[relay.DigestRow, error] {
	return func(yield func(relay.DigestRow, error) bool) {
		m.mu.Lock()
		all := m.model.Rows()
		m.mu.Unlock()
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Content opens the content of a message.
func (m *Memory) Content(id relay.QueueID) (relay.Content, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.model.Item(id) == nil {
		return nil, notFound(id)
	}
	return memoryContent{bytes.NewReader(m.model.Content(id))}, nil
}

// Item is one message.
func (m *Memory) Item(id relay.QueueID) (*relay.Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if item := m.model.clone().Item(id); item != nil {
		return item, nil
	}
	return nil, notFound(id)
}

// Entries streams the Deliveries.
func (m *Memory) Entries() iter.Seq2[relay.Entry, error] {
	return func(yield func(relay.Entry, error) bool) {
		m.mu.Lock()
		all := m.model.Entries()
		m.mu.Unlock()
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Items streams the messages after one, without their history.
func (m *Memory) Items(_ context.Context, after relay.QueueID) iter.Seq2[*relay.Item, error] {
	return func(yield func(*relay.Item, error) bool) {
		m.mu.Lock()
		all := m.model.clone().Items()
		m.mu.Unlock()
		for _, item := range all {
			item.Attempts = nil
			if item.Message.ID.Key > after.Key && !yield(item, nil) {
				return
			}
		}
	}
}
