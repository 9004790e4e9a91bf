package submission

import (
	"net"
	"testing"
)

func TestCovers(t *testing.T) {
	tcp := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct {
		own, local string
		want       bool
	}{
		{"192.0.2.1:25", "192.0.2.1:25", true},
		{"192.0.2.1:25", "192.0.2.2:25", false},
		{"192.0.2.1:25", "192.0.2.1:587", false},
		{"0.0.0.0:25", "192.0.2.1:25", true},
		{"0.0.0.0:25", "192.0.2.1:587", false},
		{"0.0.0.0:25", "[2001:db8::1]:25", false},
		{"[::]:25", "192.0.2.1:25", true},
		{"[::]:25", "[::ffff:192.0.2.1]:25", true},
		{"[::]:25", "[2001:db8::1]:25", true},
		{"[2001:db8::1]:25", "[2001:db8::1]:25", true},
	} {
		if got := covers(tcp(c.own), tcp(c.local)); got != c.want {
			t.Errorf("covers(%s, %s) is %v", c.own, c.local, got)
		}
	}
	path := &net.UnixAddr{Name: "/run/x", Net: "unix"}
	if covers(path, path) || covers(tcp("[::]:25"), path) {
		t.Error("a unix socket takes nothing over")
	}
}
