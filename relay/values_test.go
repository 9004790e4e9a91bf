package relay_test

import (
	"cmp"
	"flag"
	"io"
	"testing"
	"time"

	"dawk/relay"
)

func TestDurationsAndSizesReadBack(t *testing.T) {
	for s, want := range map[string]time.Duration{"0": 0, "90s": 90 * time.Second, "5d": 120 * time.Hour, "1d12h": 36 * time.Hour, "2h": 2 * time.Hour, "1h30m": 90 * time.Minute} {
		d, err := relay.ParseDuration(s)
		if err != nil || time.Duration(d) != want {
			t.Errorf("%q: %v, %v", s, d, err)
		}
		if back, err := relay.ParseDuration(d.String()); err != nil || back != d {
			t.Errorf("%q became %q: %v", s, d, err)
		}
	}
	for _, s := range []string{"", "d", "5", "1.5", "-1d", "1d-1h", "1h1d", "d5", "106752d", "9999999999d", "1y", "1d1d"} {
		if d, err := relay.ParseDuration(s); err == nil {
			t.Errorf("%q was taken as %v", s, d)
		}
	}
	for s, want := range map[string]relay.Size{"0": 0, "1000": 1000, "64KiB": 65536, "50 MiB": 50 << 20, "1GiB": 1 << 30, "3mib": 3 << 20} {
		z, err := relay.ParseSize(s)
		if err != nil || z != want {
			t.Errorf("%q: %v, %v", s, z, err)
		}
		if back, err := relay.ParseSize(z.String()); err != nil || back != z {
			t.Errorf("%q became %q: %v", s, z, err)
		}
	}
	for _, s := range []string{"", "MiB", " MiB", "-1", "1.5MiB", "1MB", "1k", "9999999999GiB", "9223372036854775808"} {
		if z, err := relay.ParseSize(s); err == nil {
			t.Errorf("%q was taken as %v", s, z)
		}
	}
}

func TestNetworks(t *testing.T) {
	for s, want := range map[string]string{"192.0.2.7/24": "192.0.2.0/24", "192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8::1": "2001:db8::1/128"} {
		if n, err := relay.ParseNetwork(s); err != nil || n.String() != want {
			t.Errorf("%q: %v, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "192.0.2.0/33", "fe80::1%eth0", "::ffff:192.0.2.0/120", "example.com"} {
		if n, err := relay.ParseNetwork(s); err == nil {
			t.Errorf("%q was taken as %v", s, n)
		}
	}
}

func TestRates(t *testing.T) {
	for s, want := range map[string]relay.Rate{"0": {}, "100/m": {N: 100, Per: time.Minute}, "20/10m": {N: 20, Per: 10 * time.Minute}, "5/2d": {N: 5, Per: 48 * time.Hour}} {
		r, err := relay.ParseRate(s)
		if err != nil || r != want {
			t.Errorf("%q: %v, %v", s, r, err)
		}
		if back, err := relay.ParseRate(cmp.Or(r.String(), "0")); err != nil || back != r {
			t.Errorf("%q became %q: %v", s, r, err)
		}
	}
	for _, s := range []string{"", "5", "5/", "5/0", "0/m", "-1/m", "5/us", "5/367d", "5/-1h", "5/x", "2000000000/s"} {
		if r, err := relay.ParseRate(s); err == nil {
			t.Errorf("%q was taken as %v", s, r)
		}
	}
}

// An error leaves the value as it was, and every value fits a flag.
func TestUnmarshalText(t *testing.T) {
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	d, z, r := relay.Duration(time.Hour), relay.Size(1<<20), relay.Rate{N: 1, Per: time.Hour}
	flags.TextVar(&d, "d", d, "")
	flags.TextVar(&z, "z", z, "")
	flags.TextVar(&r, "r", r, "")
	for _, bad := range []string{"-d=x", "-z=x", "-r=x"} {
		if err := flags.Parse([]string{bad}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	if d.String() != "1h" || z.String() != "1MiB" || r.String() != "1/h" {
		t.Errorf("values changed: %v %v %v", d, z, r)
	}
	if err := flags.Parse([]string{"-d=2d", "-z=3KiB", "-r=5/m"}); err != nil || d.String() != "2d" || z.String() != "3KiB" || r.String() != "5/m" {
		t.Errorf("%v: %v %v %v", err, d, z, r)
	}
}
