package record

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"

	"dawk/relay"
)

// ErrRecord is what every decoder returns for octets that no encoder wrote.
var ErrRecord = errors.New("not a record of this version")

var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum includes the key: a value under a wrong key is damage.
func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, Castagnoli), Castagnoli, value)
}

// enc appends values to a record: varints, and strings after their length.
type enc struct{ b []byte }

func (e *enc) U8(v byte)        { e.b = append(e.b, v) }
func (e *enc) U32(v uint32)     { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *enc) uint(v uint64)    { e.b = binary.AppendUvarint(e.b, v) }
func (e *enc) int(v int64)      { e.b = binary.AppendVarint(e.b, v) }
func (e *enc) str(s string)     { e.uint(uint64(len(s))); e.b = append(e.b, s...) }
func (e *enc) time(t time.Time) { e.int(micros(t)) }

// Decoder takes values off a record. After the first failure bad is set and
// everything reads as zero, so that only the end needs a check.
type Decoder struct {
	Rest    []byte
	Bad     bool
	version byte // of the row
}

func (d *Decoder) fail() { d.Bad, d.Rest = true, nil }

func (d *Decoder) U8() byte {
	if len(d.Rest) < 1 {
		d.fail()
		return 0
	}
	v := d.Rest[0]
	d.Rest = d.Rest[1:]
	return v
}

func (d *Decoder) U32() uint32 {
	if len(d.Rest) < 4 {
		d.fail()
		return 0
	}
	v := binary.BigEndian.Uint32(d.Rest)
	d.Rest = d.Rest[4:]
	return v
}

func (d *Decoder) uint() uint64 {
	v, n := binary.Uvarint(d.Rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.Rest = d.Rest[n:]
	return v
}

// small is an unsigned number that must not exceed limit.
func (d *Decoder) small(limit int) int {
	v := d.uint()
	if v > uint64(limit) {
		d.fail()
		return 0
	}
	return int(v)
}

// count is the number of things that follow, each at least one octet long: a
// damaged count can never make us allocate more than the record is big.
func (d *Decoder) count() int {
	v := d.uint()
	if v > uint64(len(d.Rest)) {
		d.fail()
		return 0
	}
	return int(v)
}

func (d *Decoder) int() int64 {
	v, n := binary.Varint(d.Rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.Rest = d.Rest[n:]
	return v
}

func (d *Decoder) Bytes() []byte {
	n := d.count()
	if d.Bad {
		return nil
	}
	v := d.Rest[:n]
	d.Rest = d.Rest[n:]
	return v
}

func (d *Decoder) str() string     { return string(d.Bytes()) }
func (d *Decoder) time() time.Time { return fromMicros(d.int()) }

func (d *Decoder) path() relay.Path {
	p, err := relay.ParsePath(d.str())
	if err != nil {
		d.fail()
	}
	return p
}

// end is nil when everything was read and nothing is left.
func (d *Decoder) end() error {
	if d.Bad || len(d.Rest) != 0 {
		return ErrRecord
	}
	return nil
}

// micros is a time as stored: µs since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	if v := t.UnixMicro(); v != 0 {
		return v
	}
	return 1
}

func fromMicros(v int64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

// Stored is t as it will be read back from the store, so that a value from memory and one from disk
// never differ.
func Stored(t time.Time) time.Time { return fromMicros(micros(t)) }

func (e *enc) reply(r relay.Reply) {
	e.int(int64(r.Code))
	e.int(int64(r.Status.Class))
	e.int(int64(r.Status.Subject))
	e.int(int64(r.Status.Detail))
	e.str(r.Text)
	e.str(string(r.Stage))
	e.str(r.MTA)
	e.str(r.Addr)
	e.str(string(r.Cause))
	e.str(r.Remedy)
}

// reply reads one of this version, or of the first.
func (d *Decoder) reply() relay.Reply {
	r := relay.Reply{
		Code:   d.short(),
		Status: relay.Status{Class: d.short(), Subject: d.short(), Detail: d.short()},
		Text:   d.str(),
		Stage:  relay.Stage(d.str()),
		MTA:    d.str(),
		Addr:   d.str(),
	}
	if d.version > 1 {
		r.Cause, r.Remedy = relay.Cause(d.str()), d.str()
		return r
	}
	return r.Parted()
}

// short is a signed number of at most 16 bits: codes and their parts.
func (d *Decoder) short() int {
	v := d.int()
	if v < math.MinInt16 || v > math.MaxInt16 {
		d.fail()
		return 0
	}
	return int(v)
}
