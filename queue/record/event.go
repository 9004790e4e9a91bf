package record

import (
	"math"

	"dawk/relay"
)

const eventVersion = 1

// AppendEvent appends the row of an event in the outbox to b. It keeps the part of the event that
// consumers of the outbox get.
func AppendEvent(b, key []byte, ev *relay.Event) []byte {
	start := len(b)
	e := enc{b: append(b, make([]byte, RowHeader)...)}
	e.str(string(ev.Kind))
	e.time(ev.Time)
	e.uint(ev.ID.Key)
	e.uint(uint64(ev.ID.Dir))
	e.str(ev.From.String())
	e.str(ev.Recipient.String())
	e.uint(uint64(len(ev.To)))
	for _, p := range ev.To {
		e.str(p.String())
	}
	e.str(ev.Identity)
	e.str(ev.MessageID)
	e.uint(uint64(ev.Size))
	e.str(ev.Destination)
	e.str(ev.Route)
	e.str(ev.Host)
	e.reply(ev.Reply)
	e.str(ev.Reason)
	e.str(ev.Rule)
	e.uint(uint64(ev.Attempt))
	e.time(ev.Next)
	Seal(eventVersion, key, e.b[start:])
	return e.b
}

// DecodeEvent reads what AppendEvent wrote.
func DecodeEvent(key, row []byte) (ev relay.Event, err error) {
	d, ok := Unseal(eventVersion, key, row)
	if !ok {
		return ev, ErrRecord
	}
	d.version = 2 // of replies
	ev.Kind, ev.Time = relay.EventKind(d.str()), d.time()
	ev.ID = relay.QueueID{Key: d.uint(), Dir: uint32(d.small(math.MaxUint32))}
	ev.From, ev.Recipient = d.path(), d.path()
	if n := d.count(); n > 0 {
		ev.To = make([]relay.Path, n)
		for i := range ev.To {
			ev.To[i] = d.path()
		}
		ev.Count = n
	}
	ev.Identity, ev.MessageID, ev.Size = d.str(), d.str(), int64(d.uint())
	ev.Destination, ev.Route, ev.Host = d.str(), d.str(), d.str()
	ev.Reply, ev.Reason, ev.Rule = d.reply(), d.str(), d.str()
	ev.Attempt, ev.Next = d.small(math.MaxInt32), d.time()
	return ev, d.end()
}
