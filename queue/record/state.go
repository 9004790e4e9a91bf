package record

import (
	"encoding/binary"
	"math"
	"strings"

	"dawk/relay"
)

// Values of sched and hist begin with a version octet and the CRC-32C of the
// key and everything after it.
const RowHeader = 5

// Flags of a Delivery.
const (
	jobHeld = 1 << iota
	jobDelayNoticed
	jobUnknown
)

// Seal puts version and checksum into the first octets of row.
func Seal(version byte, key, row []byte) []byte {
	row[0] = version
	binary.BigEndian.PutUint32(row[1:], checksum(key, row[RowHeader:]))
	return row
}

// Unseal checks both and gives what lies after them. A row of an older version
// is read as well.
func Unseal(version byte, key, row []byte) (Decoder, bool) {
	if len(row) < RowHeader || row[0] < 1 || row[0] > version ||
		binary.BigEndian.Uint32(row[1:]) != checksum(key, row[RowHeader:]) {
		return Decoder{}, false
	}
	return Decoder{Rest: row[RowHeader:], version: row[0]}, true
}

// EncodeDelivery is the value of sched for d. What the scheduler loads at start
// comes first, so that a scan can stop there.
func EncodeDelivery(key []byte, d *relay.Delivery) []byte {
	e := enc{b: make([]byte, RowHeader, 160)}
	var flags byte
	if d.Held {
		flags |= jobHeld
	}
	if d.DelayNoticed {
		flags |= jobDelayNoticed
	}
	if d.Unknown {
		flags |= jobUnknown
	}
	e.U8(flags)
	e.time(d.Arrival)
	e.time(d.Due)
	e.uint(uint64(d.Attempts))
	e.str(d.Destination)
	e.str(withPeer(d.Identity, d.Peer))
	// Up to here: DecodeEntry.
	e.int(int64(d.HeldFor))
	e.time(d.HeldAt)
	e.str(d.Rule)
	replies := make(map[relay.Reply]int, 1)
	var table []relay.Reply
	for _, o := range d.Open {
		if _, ok := replies[o.Last]; !ok {
			replies[o.Last] = len(table)
			table = append(table, o.Last)
		}
	}
	e.uint(uint64(len(table)))
	for _, r := range table {
		e.reply(r)
	}
	e.uint(uint64(len(d.Open)))
	for _, o := range d.Open {
		e.uint(uint64(o.Recipient))
		e.uint(uint64(replies[o.Last]))
	}
	if d.Route != "" { // else as it was before there was this
		e.str(d.Route)
	}
	return Seal(schedVersion, key, e.b)
}

// withPeer is an identity and its peer as one text: a network's name has no space.
func withPeer(identity, peer string) string {
	if peer == "" {
		return identity
	}
	return identity + " " + peer
}

// DecodeEntry reads what the scheduler needs. text turns octets into strings:
// a scan of a million rows shares those that it has seen.
func DecodeEntry(k, v []byte, dir uint32, text func([]byte) string) (entry relay.Entry, rest Decoder, flags byte, err error) {
	id, job, ok := SplitKey(k)
	d, sealed := Unseal(schedVersion, k, v)
	if !ok || len(k) != 10 || !sealed {
		return entry, rest, 0, ErrRecord
	}
	flags = d.U8()
	entry = relay.Entry{
		ID:          relay.QueueID{Key: id, Dir: dir},
		Job:         job,
		Arrival:     d.time(),
		Due:         d.time(),
		Attempts:    d.small(math.MaxInt32),
		Destination: text(d.Bytes()),
		Identity:    text(d.Bytes()),
		Held:        flags&jobHeld != 0,

		DelayNoticed: flags&jobDelayNoticed != 0,
	}
	if strings.HasPrefix(entry.Identity, relay.NetworkIdentity) {
		entry.Identity, entry.Peer, _ = strings.Cut(entry.Identity, " ")
	}
	if d.Bad {
		return entry, d, flags, ErrRecord
	}
	return entry, d, flags, nil
}

func Copied(b []byte) string { return string(b) }

func DecodeDelivery(k, v []byte, dir uint32) (*relay.Delivery, error) {
	entry, d, flags, err := DecodeEntry(k, v, dir, Copied)
	if err != nil {
		return nil, err
	}
	j := &relay.Delivery{Entry: entry, Unknown: flags&jobUnknown != 0}
	j.HeldFor = relay.Millis(d.int())
	j.HeldAt = d.time()
	j.Rule = d.str()
	table := make([]relay.Reply, d.count())
	for i := range table {
		table[i] = d.reply()
	}
	j.Open = make([]relay.Open, d.count())
	for i := range j.Open {
		j.Open[i].Recipient = d.small(MaxRecipients)
		if at := d.small(MaxRecipients); at < len(table) {
			j.Open[i].Last = table[at]
		} else {
			d.fail()
		}
	}
	if len(d.Rest) > 0 {
		j.Route = d.str()
	}
	return j, d.end()
}

// AttemptKey is the key of one attempt: of one Delivery, oldest first.
func AttemptKey(id uint64, job uint16, n uint32) []byte {
	return binary.BigEndian.AppendUint32(DeliveryKey(id, job), n)
}

// NoDelivery stands where a Delivery's number does in the key of the counter that
// says which number the next split of a message gets.
const NoDelivery = math.MaxUint16

func EncodeAttempt(key []byte, a *relay.Attempt) []byte {
	e := enc{b: make([]byte, RowHeader, 192)}
	e.uint(uint64(a.N))
	e.time(a.At)
	e.int(int64(a.Took))
	e.str(a.Route)
	e.str(a.Host)
	e.str(a.Addr)
	e.str(a.TLS)
	e.time(a.Next)
	e.str(a.Rule)
	e.uint(uint64(len(a.Outcomes)))
	for _, o := range a.Outcomes {
		e.uint(uint64(o.Recipient))
		e.str(string(o.Action))
		e.reply(o.Reply)
	}
	if a.Source != "" || len(a.Visits) > 0 { // else as it was before there were these
		e.str(a.Source)
	}
	if len(a.Visits) > 0 {
		e.visits(a.Visits)
	}
	return Seal(histVersion, key, e.b)
}

func DecodeAttempt(k, v []byte) (*relay.Attempt, error) {
	d, ok := Unseal(histVersion, k, v)
	if !ok {
		return nil, ErrRecord
	}
	a := &relay.Attempt{
		N:     d.small(math.MaxInt32),
		At:    d.time(),
		Took:  relay.Millis(d.int()),
		Route: d.str(),
		Host:  d.str(),
		Addr:  d.str(),
		TLS:   d.str(),
		Next:  d.time(),
		Rule:  d.str(),
	}
	a.Outcomes = make([]relay.Outcome, d.count())
	for i := range a.Outcomes {
		a.Outcomes[i] = relay.Outcome{
			Recipient: d.small(MaxRecipients),
			Action:    relay.Action(d.str()),
			Reply:     d.reply(),
		}
	}
	if len(d.Rest) > 0 {
		a.Source = d.str()
	}
	if len(d.Rest) > 0 {
		a.Visits = d.visits()
	}
	return a, d.end()
}

func (e *enc) visits(all []relay.Visit) {
	e.uint(uint64(len(all)))
	for _, v := range all {
		e.str(v.Host)
		e.str(v.Addr)
		e.str(v.TLS)
		e.str(string(v.TLSLevel))
		e.str(v.TLSPolicy)
		e.reply(v.Reply)
	}
}

func (d *Decoder) visits() []relay.Visit {
	all := make([]relay.Visit, d.count())
	for i := range all {
		all[i] = relay.Visit{Host: d.str(), Addr: d.str(), TLS: d.str(), TLSLevel: relay.TLSLevel(d.str()), TLSPolicy: d.str(), Reply: d.reply()}
	}
	return all
}
