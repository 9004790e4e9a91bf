package datadir

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/record"
	"dawk/relay"
)

// Where a row of corrupt came from: the first octet of its key.
const (
	KindMsg    = 'm'
	KindSched  = 's'
	KindHist   = 'h'
	KindDigest = 'd'
)

func DecodeQuarantined(k, v []byte, dir uint32) queue.Quarantined {
	var s queue.Quarantined
	if len(k) >= 9 {
		d := record.Decoder{Rest: k[1:9]}
		s.ID = relay.QueueID{Key: uint64(d.U32())<<32 | uint64(d.U32()), Dir: dir}
		s.Kind = map[byte]string{KindMsg: "message", KindSched: "delivery", KindHist: "attempt", KindDigest: "notice"}[k[0]]
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

// places is where the recipients of a message are.
type places struct {
	Open     []relay.Open   // those in no readable Delivery, and not closed in the history
	Attempts map[uint16]int // of each Delivery, as the history has them
	Bad      [][]byte       // keys of Deliveries that cannot be read
}

func PlacesOf(m *relay.Message, sched, hist *bolt.Bucket) (p places) {
	prefix := record.MessageKey(m.ID.Key)
	taken := make(map[int]bool)
	p.Attempts = make(map[uint16]int)
	EachPrefix(hist, prefix, func(k, v []byte) bool {
		a, err := record.DecodeAttempt(k, v)
		if err != nil {
			return true
		}
		_, job, _ := record.SplitKey(k)
		p.Attempts[job] = max(p.Attempts[job], a.N)
		for _, o := range a.Outcomes {
			taken[o.Recipient] = taken[o.Recipient] || o.Action.Final()
		}
		return true
	})
	EachPrefix(sched, prefix, func(k, v []byte) bool {
		d, err := record.DecodeDelivery(k, v, m.ID.Dir)
		if err == nil {
			err = CheckRecipients(&relay.Claim{Message: m, Delivery: d})
		}
		if err != nil {
			p.Bad = append(p.Bad, append([]byte(nil), k...))
			return true
		}
		for _, o := range d.Open {
			taken[o.Recipient] = true
		}
		return true
	})
	for i := range m.Recipients {
		if !taken[i] {
			p.Open = append(p.Open, relay.Open{Recipient: i})
		}
	}
	return p
}

// CheckRecipients guards those who index Message.Recipients.
func CheckRecipients(c *relay.Claim) error {
	for _, o := range c.Delivery.Open {
		if o.Recipient >= len(c.Message.Recipients) {
			return fmt.Errorf("%w: it names recipient %d of %d", ErrRow, o.Recipient, len(c.Message.Recipients))
		}
	}
	return nil
}

// OwnsFile says whether a message, queued or in quarantine, needs the spool file.
func OwnsFile(tx *bolt.Tx, id uint64) bool {
	return tx.Bucket(BucketMsg).Get(record.MessageKey(id)) != nil ||
		tx.Bucket(bucketCorrupt).Get(append([]byte{KindMsg}, record.MessageKey(id)...)) != nil
}

// ErrRow marks damage that is confined to a row of sched.
var ErrRow = fmt.Errorf("%w: its row in sched cannot be read", relay.ErrCorrupt)
