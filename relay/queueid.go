package relay

import (
	"fmt"
	"strings"
	"time"
)

// QueueID is our name for an accepted message: sortable by age, never reused,
// and never called Message-ID. Two data directories never give the same one.
type QueueID struct {
	Key uint64 // max(last + 1, unix µs); also the key in the store. Below 2^55
	Dir uint32 // random number of the data directory, 20 bits
}

// Crockford's base 32: no I, L, O or U to misread on the telephone, and it
// sorts as the numbers do.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	keyDigits = 11 // 55 bits of µs last until the year 3111
	dirDigits = 4  // 20 bits
)

// IsZero says whether id names no message.
func (id QueueID) IsZero() bool { return id == QueueID{} }

// String is eleven digits, a dash and four digits: "1RK3ZC8Q9D4-7ABC".
func (id QueueID) String() string {
	if id.IsZero() {
		return ""
	}
	var b [keyDigits + 1 + dirDigits]byte
	put32(b[:keyDigits], id.Key)
	b[keyDigits] = '-'
	put32(b[keyDigits+1:], uint64(id.Dir))
	return string(b[:])
}

// Time is when the ID was given, to the µs; later than the truth only after
// the clock was set back.
func (id QueueID) Time() time.Time { return time.UnixMicro(int64(id.Key)) }

// ParseQueueID reads the form of String, in either case, with O for 0 and I or
// L for 1 as people write them.
func ParseQueueID(s string) (QueueID, error) {
	if len(s) != keyDigits+1+dirDigits || s[keyDigits] != '-' {
		return QueueID{}, fmt.Errorf("%q is not a queue ID: it looks like 1RK3ZC8Q9D4-7ABC", Clip(s))
	}
	key, ok1 := get32(s[:keyDigits])
	dir, ok2 := get32(s[keyDigits+1:])
	if !ok1 || !ok2 || key == 0 {
		return QueueID{}, fmt.Errorf("%q is not a queue ID: it looks like 1RK3ZC8Q9D4-7ABC", Clip(s))
	}
	return QueueID{Key: key, Dir: uint32(dir)}, nil
}

// MarshalText and UnmarshalText use the form of String.
func (id QueueID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseQueueID; an empty text is the zero ID.
func (id *QueueID) UnmarshalText(b []byte) (err error) {
	*id = QueueID{}
	if len(b) > 0 {
		*id, err = ParseQueueID(string(b))
	}
	return err
}

func put32(b []byte, v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = crockford[v&31]
		v >>= 5
	}
}

func get32(s string) (v uint64, ok bool) {
	for i := range len(s) {
		c := s[i]
		switch c {
		case 'O', 'o':
			c = '0'
		case 'I', 'i', 'L', 'l':
			c = '1'
		}
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		d := strings.IndexByte(crockford, c)
		if d < 0 {
			return 0, false
		}
		v = v<<5 | uint64(d)
	}
	return v, true
}
