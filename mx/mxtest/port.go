package mxtest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
)

// Ports that a test will listen on again, or on several addresses, must not be
// those that the kernel gives away: between two uses any client on the machine
// may get such a port as its own.
const (
	firstPort = 10_000
	kernels   = 32_768 // where Linux begins unless it is told otherwise
)

// guard is where a port is marked as taken, by UDP, which nobody else speaks
// there: so tests of other processes, which look there too, take another one.
const guard = "127.255.255.254"

// FreePort finds a TCP port that nobody listens on and that the kernel gives
// to nobody. It belongs to the caller on all loopback addresses until claim is
// closed.
func FreePort() (port int, claim io.Closer, err error) {
	low := kernels
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		fmt.Sscan(string(b), &low) //nolint:errcheck // then it stays
	}
	if low < firstPort+1000 { // this kernel gives away nearly all
		low = 1 << 16
	}
	span := low - firstPort
	start := rand.IntN(span)
	for i := range span {
		port = firstPort + (start+i)%span
		if claim, err = net.ListenPacket("udp4", fmt.Sprintf("%s:%d", guard, port)); err != nil {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, claim, l.Close()
		}
		claim.Close()
	}
	return 0, nil, fmt.Errorf("no port is free: %w", err)
}
