package mx_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/dns"
)

// nullReceiver answers yes to everything and forgets it. Its answers take a
// whole round trip, and what it hears none.
func nullReceiver(nc net.Conn, trip time.Duration) {
	defer nc.Close()
	say := func(s string) { io.WriteString(nc, s) } //nolint:errcheck // seen by the client
	if trip > 0 {
		later := delayed(nc, trip)
		defer close(later)
		say = func(s string) { later <- s }
	}
	r := bufio.NewReader(nc)
	say("220 null.test\r\n")
	for inData := false; ; {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case inData:
			if inData = !bytes.Equal(line, []byte(".\r\n")); !inData {
				say("250 2.0.0 forgotten\r\n")
			}
		case bytes.HasPrefix(line, []byte("EHLO")):
			say("250-null.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			inData = true
			say("354 go\r\n")
		case bytes.HasPrefix(line, []byte("QUIT")):
			return
		default:
			say("250 2.0.0 ok\r\n")
		}
	}
}

// delayed writes what it is given one round trip later: for the client it is
// the same whether the way there or the way back is the long one.
func delayed(w io.Writer, trip time.Duration) chan<- string {
	type word struct {
		at time.Time
		s  string
	}
	in, queue := make(chan string), make(chan word, 64)
	go func() {
		for s := range in {
			queue <- word{time.Now().Add(trip), s}
		}
		close(queue)
	}()
	go func() {
		for each := range queue {
			time.Sleep(time.Until(each.at))
			io.WriteString(w, each.s) //nolint:errcheck // seen by the client
		}
	}()
	return in
}

// here is a Lookup for which every host is on this machine.
type here struct{ oneHost }

func (here) LookupAddrs(context.Context, string, string) (dns.Answer[netip.Addr], error) {
	return dns.Answer[netip.Addr]{Records: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, nil
}

// BenchmarkClient sends 4 KiB to one recipient over real sockets, one message
// after the other: what reuse is worth, near and far.
func BenchmarkClient(b *testing.B) {
	body := letter + string(bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890123456789\r\n"), 56))
	for _, c := range []struct {
		name  string
		trip  time.Duration
		reuse bool
	}{
		{"rtt=0/reuse=yes", 0, true}, {"rtt=0/reuse=no", 0, false},
		{"rtt=20ms/reuse=yes", 20 * time.Millisecond, true}, {"rtt=20ms/reuse=no", 20 * time.Millisecond, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					nc, err := l.Accept()
					if err != nil {
						return
					}
					go nullReceiver(nc, c.trip)
				}
			}()
			cfg := mx.Config{Hostname: "relay.example.org", Port: l.Addr().(*net.TCPAddr).Port, AllowNetworks: loopback,
				Resolver: here{}, MessagesPerConnection: 1 << 30,
				Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
					time.Sleep(c.trip) // SYN and its answer
					return new(net.Dialer).DialContext(ctx, network, addr)
				}}
			if !c.reuse {
				cfg.IdleTimeout = -1
			}
			tr := newTransport(b, cfg)
			one := task(b, body, "x@b.test")
			b.ReportAllocs()
			for b.Loop() {
				if r := tr.Deliver(context.Background(), one).Replies[0]; !r.Positive() {
					b.Fatal(r)
				}
			}
		})
	}
}
