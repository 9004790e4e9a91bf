package server

import (
	"strings"
	"testing"
)

// 0.0.0.0 is all addresses of IPv4, and none of IPv6.
func TestListenOnIPv4Alone(t *testing.T) {
	ln, err := (&inherited{}).listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if got := ln.Addr().String(); !strings.HasPrefix(got, "0.0.0.0:") {
		t.Errorf("it listens on %s", got)
	}
}
