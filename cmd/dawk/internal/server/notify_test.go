package server

import (
	"net"
	"path/filepath"
	"testing"
)

// A service manager that takes nothing does not stop the relay.
func TestNotifyWaitsForNobody(t *testing.T) {
	at := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", at)
	for range 12 { // more than Linux queues, unless net.unix.max_dgram_qlen says so
		notify("STATUS=ok")
	}
}
