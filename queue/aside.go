package queue

import (
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/relay"
)

// Where a row of corrupt came from: the first octet of its key.
const (
	asideMsg   = 'm'
	asideSched = 's'
	asideHist  = 'h'
)

// repair deals with a message that has an unreadable record. When the message
// itself is sound, the Deliveries that cannot be read are rebuilt from it and
// from its history; what was unreadable is kept in corrupt. When it is not, or
// whole says so, everything of it moves to corrupt. Nothing is ever
// deleted. found is false when the message has ended meanwhile.
func (q *Queue) repair(id uint64, whole bool, reason string) (found bool, err error) {
	done := make(chan error, 1)
	err = q.hand(context.Background(), &op{id: id, done: func(err error) { done <- err },
		apply: func(t *txn) error { found = t.repair(id, whole, reason); return nil }})
	if err == nil {
		err = <-done
	}
	if err != nil {
		q.log.Error("a damaged message could not be set aside", "id", q.name(id), "reason", reason, "error", err)
		return false, err
	}
	if found {
		q.log.Error("a damaged message was found; `dawk queue verify` tells more", "id", q.name(id), "reason", reason)
	}
	return found, nil
}

func (q *Queue) name(id uint64) relay.QueueID { return relay.QueueID{Key: id, Dir: q.dirID} }

func (t *txn) repair(id uint64, whole bool, reason string) (found bool) {
	key := idKey(id)
	v := t.msg.Get(key)
	m, _, inline, err := decodeMsg(key, v, t.q.dirID)
	if !whole && err == nil && checkInline(v, inline) && t.rebuild(m, reason) {
		return true
	}
	for kind, b := range map[byte]*bolt.Bucket{asideMsg: t.msg, asideSched: t.sched, asideHist: t.hist} {
		for _, k := range keysWithPrefix(b, key) {
			t.moveAside(kind, b, k, reason)
			found = true
		}
	}
	t.gone = append(t.gone, id)
	return found
}

// moveAside moves one row to corrupt: the reason, a zero octet, and the value
// as it was.
func (t *txn) moveAside(kind byte, b *bolt.Bucket, k []byte, reason string) {
	v := append(append([]byte(reason), 0), b.Get(k)...)
	t.put(t.corrupt, append([]byte{kind}, k...), v)
	t.setAside++
	t.delete(b, k)
	switch kind {
	case asideMsg:
		t.messages--
	case asideSched:
		t.deliveries--
	}
}

// rebuild replaces the unreadable Deliveries of m by one with every recipient
// that is neither open in a readable one nor closed in the history. false: no
// recipient is left over, or none of the rows is unreadable.
func (t *txn) rebuild(m *relay.Message, reason string) bool {
	prefix := idKey(m.ID.Key)
	taken := make(map[int]bool)
	attempts := make(map[uint16]int)
	eachPrefix(t.hist, prefix, func(k, v []byte) bool {
		a, err := decodeAttempt(k, v)
		if err != nil {
			return true
		}
		_, job, _ := splitJobKey(k)
		attempts[job] = max(attempts[job], a.N)
		for _, o := range a.Outcomes {
			taken[o.Recipient] = taken[o.Recipient] || o.Action.Final()
		}
		return true
	})
	var bad [][]byte
	for _, k := range keysWithPrefix(t.sched, prefix) {
		d, err := decodeJob(k, t.sched.Get(k), t.q.dirID)
		if err == nil {
			err = checkRecipients(&relay.Claim{Message: m, Delivery: d})
		}
		if err != nil {
			bad = append(bad, k)
			continue
		}
		for _, o := range d.Open {
			taken[o.Recipient] = true
		}
	}
	d := &relay.Delivery{Entry: relay.Entry{ID: m.ID, Identity: m.Identity, Arrival: m.Arrival, Due: stored(time.Now())}}
	for i := range m.Recipients {
		if !taken[i] {
			d.Open = append(d.Open, relay.Open{Recipient: i})
		}
	}
	if len(bad) == 0 || len(d.Open) == 0 {
		return false
	}
	for _, k := range bad {
		t.moveAside(asideSched, t.sched, k, reason)
	}
	_, d.Job, _ = splitJobKey(bad[0])
	d.Attempts = attempts[d.Job]
	d.Destination = t.q.opt.Destination(m, m.Recipients[d.Open[0].Recipient].Path)
	d.Rule = "rebuilt after its record was found damaged"
	t.put(t.sched, bad[0], encodeJob(bad[0], d))
	t.deliveries++
	return true
}

// SetAside is a row that could not be read and was kept.
type SetAside struct {
	ID     relay.QueueID
	Kind   string // "message", "delivery" or "attempt"
	Reason string
	Octets int
}

func (s SetAside) String() string {
	return fmt.Sprintf("%s: %s of %d octets set aside: %s", s.ID, s.Kind, s.Octets, s.Reason)
}

func readAside(k, v []byte, dir uint32) SetAside {
	var s SetAside
	if len(k) >= 9 {
		d := dec{b: k[1:9]}
		s.ID = relay.QueueID{Key: uint64(d.u32())<<32 | uint64(d.u32()), Dir: dir}
		s.Kind = map[byte]string{asideMsg: "message", asideSched: "delivery", asideHist: "attempt"}[k[0]]
	}
	s.Octets = len(v)
	for i, c := range v {
		if c == 0 {
			s.Reason, s.Octets = string(v[:i]), len(v)-i-1
			break
		}
	}
	return s
}
