package relay

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time as people write it: a Go duration ("90s",
// "1h30m") to which "d" adds days ("5d", "1d12h"). Never negative.
type Duration time.Duration

const day = 24 * time.Hour

// ParseDuration reads the form of Duration; "0" needs no unit. Its error
// quotes s.
func ParseDuration(s string) (Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if strings.HasPrefix(s, "-") {
		return 0, fmt.Errorf("the duration %q is negative", Clip(s))
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, fmt.Errorf("the duration %q has no unit: write \"%[1]ss\" for seconds, \"%[1]sm\" for minutes, or h or d", Clip(s))
	}
	bad := fmt.Errorf("%q is not a duration: write it like \"90s\", \"5m\", \"1h30m\" or \"5d\"", Clip(s))
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		days, rest = "0", s
	}
	n, err := strconv.ParseUint(days, 10, 32)
	if err != nil {
		return 0, bad
	}
	total := time.Duration(0)
	if rest != "" || !ok {
		if total, err = time.ParseDuration(rest); err != nil || total < 0 {
			return 0, bad
		}
	}
	if n > uint64((math.MaxInt64-total)/day) {
		return 0, fmt.Errorf("the duration %q is too long", Clip(s))
	}
	return Duration(time.Duration(n)*day + total), nil
}

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(b []byte) error { return unmarshal(d, b, ParseDuration) }

// String is the shortest form that reads back: "5d", "1h30m", "0".
func (d Duration) String() string {
	days, rest := time.Duration(d)/day, time.Duration(d)%day
	s := ""
	if days > 0 {
		s = strconv.FormatInt(int64(days), 10) + "d"
	}
	switch {
	case rest != 0:
		s += shortest(rest)
	case days == 0:
		s = "0"
	}
	return s
}

// shortest is time.Duration's String without the units that are 0 at its end.
func shortest(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Size is a number of octets as people write it: "50MiB", "1GiB", "64KiB", in
// capitals or not, or a bare number of octets. Never negative.
type Size int64

var sizeUnits = []struct {
	name  string
	shift uint
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}}

// ParseSize reads the form of Size. Its error quotes s.
func ParseSize(s string) (Size, error) {
	digits, shift := s, uint(0)
	for _, u := range sizeUnits {
		if n := len(s) - len(u.name); n > 0 && strings.EqualFold(s[n:], u.name) {
			digits, shift = strings.TrimRight(s[:n], " "), u.shift
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && n > math.MaxInt64>>shift:
		return 0, fmt.Errorf("the size %q is too large", Clip(s))
	case err != nil && strings.HasPrefix(s, "-"):
		return 0, fmt.Errorf("the size %q is negative", Clip(s))
	case err != nil:
		return 0, fmt.Errorf("%q is not a size: write it like \"64KiB\", \"50MiB\" or \"1GiB\"", Clip(s))
	}
	return Size(n << shift), nil
}

// UnmarshalText is ParseSize.
func (z *Size) UnmarshalText(b []byte) error { return unmarshal(z, b, ParseSize) }

// String is the shortest form that reads back: "50MiB", "1000".
func (z Size) String() string {
	for i := len(sizeUnits) - 1; i >= 0; i-- {
		if u := sizeUnits[i]; z != 0 && z&(1<<u.shift-1) == 0 {
			return strconv.FormatInt(int64(z)>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(z), 10)
}

// MarshalText is String.
func (z Size) MarshalText() ([]byte, error) { return []byte(z.String()), nil }

// Network is a range of addresses as people write it: "192.0.2.0/24",
// "2001:db8::/32", or one address. The bits behind the prefix are dropped.
type Network netip.Prefix

// ParseNetwork reads the form of Network. Its error quotes s.
func ParseNetwork(s string) (Network, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return Network(netip.PrefixFrom(a, a.BitLen())), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Network{}, fmt.Errorf("%q is not a network: write it like \"192.0.2.0/24\" or \"2001:db8::/32\"", Clip(s))
	}
	if p.Addr().Is4In6() {
		// A prefix of ::ffff:0:0/96 would never match: addresses are compared unmapped.
		return Network{}, fmt.Errorf("%q is an IPv4 network in IPv6 form: write it as IPv4", Clip(s))
	}
	return Network(p.Masked()), nil
}

// UnmarshalText is ParseNetwork.
func (n *Network) UnmarshalText(b []byte) error { return unmarshal(n, b, ParseNetwork) }

// Prefix is n for package netip.
func (n Network) Prefix() netip.Prefix { return netip.Prefix(n) }

// String is the canonical form.
func (n Network) String() string { return netip.Prefix(n).String() }

// MarshalText is String.
func (n Network) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// Prefixes is a list of networks for package netip.
func Prefixes(list []Network) []netip.Prefix {
	p := make([]netip.Prefix, len(list))
	for i, n := range list {
		p[i] = n.Prefix()
	}
	return p
}

// unmarshal puts what parse makes of b into v; an error leaves v as it was.
func unmarshal[T any](v *T, b []byte, parse func(string) (T, error)) error {
	t, err := parse(string(b))
	if err == nil {
		*v = t
	}
	return err
}
