package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/server"
	bench "dawk/cmd/dawkbench/load"
)

// rig is a whole relay with the shipped defaults in this process, a sink that
// takes its mail, and the address of its front door.
type rig struct {
	instance *server.Server
	sink     *bench.Sink
	ledger   atomic.Pointer[bench.Ledger] // of the messages being sent
	addr     string
	next     int
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	g := &rig{}
	var err error
	if g.sink, err = bench.NewSink(bench.SinkConfig{Addr: "127.0.0.1:0", Observe: func(a bench.Arrival) { g.ledger.Load().Observe(a) }}); err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	file := filepath.Join(dir, "dawk.toml")
	text := fmt.Sprintf(`hostname = "dawk.bench.test"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.0/8"]
[limits]
max_connections_per_ip = 0
[http]
address = "127.0.0.1:0"
[[route]]
to = ["*"]
via = [%q]
`, g.sink.Addr())
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		tb.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	if g.instance, err = server.New(context.Background(), cfg, server.Host{Log: cfg.Log.Logger(log)}); err != nil {
		tb.Fatal(err)
	}
	if err := g.instance.Listen(); err != nil {
		tb.Fatal(err)
	}
	g.addr = g.instance.Addrs()[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.instance.Run(ctx) }()
	<-g.instance.Ready()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
		if err := g.sink.Close(); err != nil {
			tb.Error(err)
		}
		log.Close()
	})
	return g
}

// send sends n messages through the relay and waits until they have arrived.
func (g *rig) send(tb testing.TB, n, clients int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	ledger := bench.NewLedger(g.next+n, 1)
	g.ledger.Store(ledger)
	sent, err := bench.Send(ctx, bench.SourceConfig{Addr: g.addr, First: g.next, Messages: n, Clients: clients, Acked: ledger.Acked})
	if err != nil || sent.Acked != n {
		tb.Fatalf("%d of %d messages taken: %v %v %v", sent.Acked, n, err, sent.Refused, sent.Errors)
	}
	g.next += n
	ledger.SourceEnded()
	ledger.Wait(ctx)
	if c, _ := ledger.Counts(); c.Arrived != n || c.Fault() != "" {
		tb.Fatalf("%+v of %d messages", c, n)
	}
}

// BenchmarkRelay takes 4 KiB messages through the whole relay: SMTP in, disk,
// SMTP out. What it counts includes source and sink; in a profile,
// -focus='submission|queue|delivery|mx' leaves the relay.
func BenchmarkRelay(b *testing.B) {
	for _, clients := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			const warm = 200
			g := newRig(b)
			g.send(b, warm, clients)
			b.ReportAllocs()
			b.ResetTimer()
			g.send(b, b.N, clients)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
