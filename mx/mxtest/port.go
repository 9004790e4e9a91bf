package mxtest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
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
		if listenedOn(port) {
			continue
		}
		if claim, err = net.ListenPacket("udp4", fmt.Sprintf("%s:%d", guard, port)); err == nil {
			return port, claim, nil
		}
	}
	return 0, nil, fmt.Errorf("no port is free: %w", err)
}

// listenedOn asks the kernel. To listen and to close would not do: a process
// that is forked in between holds the port until it has become its program.
func listenedOn(port int) bool {
	local := fmt.Sprintf(":%04X", port)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, _ := os.ReadFile(table) // elsewhere than on Linux nobody knows
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line) // number, local address, remote address, state
			if len(f) > 3 && strings.HasSuffix(f[1], local) && f[3] == "0A" {
				return true
			}
		}
	}
	return false
}

// listen is net.Listen on a port that may have been ours a moment ago, when a
// process was forked that has not become its program yet.
func listen(addr string) (l net.Listener, err error) {
	for range 500 {
		if l, err = net.Listen("tcp", addr); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return l, err
}
