package load_test

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"dawk/cmd/dawkbench/load"
)

// run sends through a sink whose reports pass through tamper.
func run(t *testing.T, cfg load.SourceConfig, sink load.SinkConfig, tamper func(load.Arrival, func(load.Arrival))) (load.Counts, *load.Sent) {
	t.Helper()
	ledger := load.NewLedger(cfg.First+cfg.Messages, max(1, cfg.Recipients))
	sink.Addr, sink.Observe = "127.0.0.1:0", ledger.Observe
	if tamper != nil {
		sink.Observe = func(a load.Arrival) { tamper(a, ledger.Observe) }
	}
	s, err := load.NewSink(sink)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Addr, cfg.Acked = s.Addr(), ledger.Acked
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sent, err := load.Send(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ledger.SourceEnded()
	if tamper == nil && sink.Permanent == 0 {
		ledger.Wait(ctx)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	counts, _ := ledger.Counts()
	return counts, sent
}

func TestEveryMessageArrivesOnce(t *testing.T) {
	for name, cfg := range map[string]load.SourceConfig{
		"one client":        {Messages: 30, Clients: 1},
		"many clients":      {Messages: 200, Clients: 20, PerConnection: 3},
		"pipelining":        {Messages: 100, Clients: 4, Pipelining: true},
		"recipients":        {Messages: 20, Clients: 4, Recipients: 50, Domains: 7, Pipelining: true},
		"a mix of sizes":    {Messages: 50, Clients: 4, Sizes: []load.Size{{Bytes: 1, Share: 2}, {Bytes: 1000, Share: 2}, {Bytes: 300_000, Share: 1}}},
		"after a warm-up":   {Messages: 10, First: 10, Clients: 2},
		"more than is sent": {Messages: 2, Clients: 50},
	} {
		t.Run(name, func(t *testing.T) {
			c, sent := run(t, cfg, load.SinkConfig{}, nil)
			want := load.Counts{Acknowledged: cfg.Messages, Arrived: cfg.Messages * max(1, cfg.Recipients)}
			if c != want || sent.Acked != cfg.Messages || len(sent.Errors)+len(sent.Refused) > 0 {
				t.Errorf("%+v, %d acknowledged, errors %v, refused %v; want %+v", c, sent.Acked, sent.Errors, sent.Refused, want)
			}
			if c.Fault() != "" {
				t.Errorf("fault %q", c.Fault())
			}
		})
	}
}

func TestLossAndDuplicatesAreReported(t *testing.T) {
	cfg := load.SourceConfig{Messages: 100, Clients: 5}
	for name, test := range map[string]struct {
		tamper func(load.Arrival, func(load.Arrival))
		want   load.Counts
	}{
		"lost": {func(a load.Arrival, observe func(load.Arrival)) {
			if a.ID%10 != 3 {
				observe(a)
			}
		}, load.Counts{Acknowledged: 100, Arrived: 90, Missing: 10}},
		"doubled": {func(a load.Arrival, observe func(load.Arrival)) {
			observe(a)
			if a.ID%20 == 0 {
				observe(a)
			}
		}, load.Counts{Acknowledged: 100, Arrived: 100, Duplicate: 5}},
		"doubled and lost": {func(a load.Arrival, observe func(load.Arrival)) {
			if a.ID == 7 { // as many copies as promises, and yet one is missing
				a.ID = 8
			}
			observe(a)
		}, load.Counts{Acknowledged: 100, Arrived: 99, Missing: 1, Duplicate: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := run(t, cfg, load.SinkConfig{}, test.tamper)
			if c != test.want {
				t.Errorf("%+v, want %+v", c, test.want)
			}
			if c.Fault() == "" {
				t.Error("no fault was found")
			}
		})
	}
}

// TestDamageIsReported stands between source and sink and changes a letter.
func TestDamageIsReported(t *testing.T) {
	ledger := load.NewLedger(10, 1)
	sink, err := load.NewSink(load.SinkConfig{Addr: "127.0.0.1:0", Observe: ledger.Observe})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", sink.Addr())
		if err != nil {
			return
		}
		go func() { defer in.Close(); copyLines(out, in, nil) }()
		copyLines(in, out, strings.NewReplacer("ghij", "GHIJ"))
		out.Close()
	}()
	sent, err := load.Send(t.Context(), load.SourceConfig{Addr: l.Addr().String(), Messages: 10, Clients: 1, Acked: ledger.Acked})
	if err != nil || sent.Acked != 10 {
		t.Fatalf("%+v %v", sent, err)
	}
	if c, _ := ledger.Counts(); c.Damaged != 10 || !strings.Contains(c.Fault(), "damaged") {
		t.Errorf("%+v", c)
	}
}

func copyLines(from, to net.Conn, change *strings.Replacer) {
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadString('\n')
		if change != nil {
			line = change.Replace(line)
		}
		if _, werr := to.Write([]byte(line)); err != nil || werr != nil {
			return
		}
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	c, sent := run(t, load.SourceConfig{Messages: 200, Clients: 3}, load.SinkConfig{Permanent: 10, Temporary: 10}, nil)
	if sent.Refused["550 5.1.1"] != c.Refused || c.Refused == 0 || sent.Refused["450 4.2.1"] == 0 {
		t.Errorf("%v, %+v", sent.Refused, c)
	}
	if c.Missing != 0 || sent.Acked+sent.Refused["550 5.1.1"]+sent.Refused["450 4.2.1"] != 200 {
		t.Errorf("%+v %+v", c, sent.Refused)
	}
}

func TestForeignMailIsKeptApart(t *testing.T) {
	l := load.NewLedger(1, 1)
	l.Observe(load.Arrival{Foreign: true})
	l.Observe(load.Arrival{ID: 5})
	l.Observe(load.Arrival{ID: 0, Whole: true})
	l.SourceEnded()
	if c, _ := l.Counts(); c != (load.Counts{Foreign: 2, Arrived: 1, Unpromised: 1}) {
		t.Errorf("%+v", c)
	}
}

func TestOnlyLoopback(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:25", "[2001:db8::1]:25", "0.0.0.0:25", "example.org:25", "localhost:25", "127.0.0.1"} {
		if _, err := load.Send(t.Context(), load.SourceConfig{Addr: addr, Messages: 1, Clients: 1}); err == nil {
			t.Errorf("a source for %s", addr)
		}
		if s, err := load.NewSink(load.SinkConfig{Addr: addr}); err == nil {
			s.Close()
			t.Errorf("a sink on %s", addr)
		}
	}
	for _, cfg := range []load.SourceConfig{
		{Messages: 0, Clients: 1}, {Messages: load.MaxMessages + 1, Clients: 1}, {Messages: 1, Clients: load.MaxClients + 1},
		{Messages: load.MaxMessages, Recipients: 1000, Clients: 1}, {Messages: 1, Clients: 1, Sizes: []load.Size{{Bytes: load.MaxBytes + 1, Share: 1}}},
	} {
		cfg.Addr = "127.0.0.1:9"
		if _, err := load.Send(t.Context(), cfg); err == nil {
			t.Errorf("%+v is without bounds", cfg)
		}
	}
}

func TestPercentiles(t *testing.T) {
	var s load.Sent
	if s.Percentile(50) != 0 {
		t.Error("a percentile of nothing")
	}
	for i := range 100 {
		s.Latencies = append(s.Latencies, time.Duration(i+1))
	}
	if s.Percentile(50) != 50 || s.Percentile(99) != 99 || s.Percentile(100) != 100 || s.Percentile(0) != 1 {
		t.Error(s.Percentile(50), s.Percentile(99), s.Percentile(100))
	}
}
