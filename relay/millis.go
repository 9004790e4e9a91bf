package relay

import (
	"strconv"
	"time"
)

// Millis is a length of time that JSON has as a number of milliseconds, under a key
// that ends in _ms.
type Millis time.Duration

// Duration is m for package time.
func (m Millis) Duration() time.Duration { return time.Duration(m) }

// String is that of a time.Duration.
func (m Millis) String() string { return time.Duration(m).String() }

// MarshalJSON writes whole milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, time.Duration(m).Milliseconds(), 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Millis) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 64)
	*m = Millis(time.Duration(n) * time.Millisecond)
	return err
}
