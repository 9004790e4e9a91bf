package relay

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is so many in a span of time. The zero value is no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// maxRate bounds the number of a rate: more is no limit for any relay.
const maxRate = 1_000_000_000

var errRate = errors.New(`is not a number in a time: write it like "100/m", "1000/h" or "20/10m", or "0" for no limit`)

// ParseRate reads "100/m", "1000/h", "20/10m". "0" is the zero value; "" is
// none of these. Its error goes on after the name of what was read.
func ParseRate(s string) (Rate, error) {
	if s == "0" {
		return Rate{}, nil
	}
	number, unit, _ := strings.Cut(s, "/")
	if unit != "" && strings.Trim(unit[:1], "0123456789") != "" {
		unit = "1" + unit
	}
	n, err := strconv.Atoi(number)
	per, err2 := ParseDuration(unit)
	if err != nil || err2 != nil || n < 1 || n > maxRate || per < Duration(time.Millisecond) || per > Duration(366*day) {
		return Rate{}, fmt.Errorf("%q %w", s, errRate)
	}
	return Rate{n, time.Duration(per)}, nil
}

// Each is the time that an event has, if they come evenly; 0: there is no limit.
func (r Rate) Each() time.Duration { return r.Per / time.Duration(max(1, r.N)) }

// String is the form that ParseRate reads; "" for the zero value.
func (r Rate) String() string {
	if r.N == 0 {
		return ""
	}
	per := Duration(r.Per).String()
	if len(per) == len("1h") {
		per = strings.TrimPrefix(per, "1")
	}
	return strconv.Itoa(r.N) + "/" + per
}

// MarshalText uses the form of String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is ParseRate; an empty text is the zero value.
func (r *Rate) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*r = Rate{}
		return nil
	}
	return unmarshal(r, b, ParseRate)
}
