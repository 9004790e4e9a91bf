package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bench "dawk/cmd/dawkbench/load"
)

// BenchmarkWebhookCost is the CPU that a message of 4 KiB costs the process of the relay: without a
// webhook, with one that takes an event a request, and with one that takes many. A message has two
// events, and all have been told when the time is taken.
func BenchmarkWebhookCost(b *testing.B) {
	for name, batch := range map[string]int{"none": 0, "one": 1, "batch": 100} {
		b.Run(name, func(b *testing.B) {
			const warm = 500
			w := newHooked(b, batch)
			w.send(b, warm)
			before := w.cpu(b)
			w.send(b, b.N)
			b.ReportMetric((w.cpu(b)-before).Seconds()*1e6/float64(b.N), "cpu-µs/msg")
		})
	}
}

// hooked is a relay in a process of its own, between a source and a sink, which tells a webhook.
type hooked struct {
	relay  *process
	smtp   string
	hook   bool
	told   atomic.Int64 // events
	ledger atomic.Pointer[bench.Ledger]
	next   int
}

func newHooked(b *testing.B, batch int) *hooked {
	w := &hooked{smtp: free(b), hook: batch > 0}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Type string
			Data json.RawMessage
		}
		var list []json.RawMessage
		n := 1
		if json.NewDecoder(r.Body).Decode(&body) == nil && body.Type == "batch" && json.Unmarshal(body.Data, &list) == nil {
			n = len(list)
		}
		w.told.Add(int64(n))
	}))
	b.Cleanup(receiver.Close)
	sink, err := bench.NewSink(bench.SinkConfig{Addr: "127.0.0.1:0", Observe: func(a bench.Arrival) { w.ledger.Load().Observe(a) }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { sink.Close() })
	dir := b.TempDir()
	text := fmt.Sprintf("hostname = \"dawk.bench.test\"\ndata_dir = \"data\"\n[http]\naddress = \"\"\n[limits]\nmax_connections_per_ip = 0\n"+
		"[[listener]]\naddress = %q\ntls = \"off\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\n[[route]]\nto = [\"*\"]\nvia = [%q]\n", w.smtp, sink.Addr())
	if w.hook {
		text += fmt.Sprintf("[[webhook]]\nname = \"crm\"\nurl = %q\nsecret_file = \"secret\"\nallow_networks = [\"127.0.0.0/8\"]\nbatch = %d\n", receiver.URL, batch)
	}
	for name, text := range map[string]string{"dawk.toml": text, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	if w.relay, err = startProgram(dir, "serve", "-c", filepath.Join(dir, "dawk.toml")); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.relay.end(syscall.SIGTERM) }) //nolint:errcheck // it has done its work
	if !w.relay.log.wait(literal("msg=ready"), w.relay.exited) {
		b.Fatal(w.relay.log.text())
	}
	return w
}

// send sends n messages and waits until they have arrived and everything was told.
func (w *hooked) send(b *testing.B, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	ledger := bench.NewLedger(w.next+n, 1)
	w.ledger.Store(ledger)
	sent, err := bench.Send(ctx, bench.SourceConfig{Addr: w.smtp, First: w.next, Messages: n, Clients: 20, Acked: ledger.Acked})
	if err != nil || sent.Acked != n {
		b.Fatalf("%d of %d messages taken: %v", sent.Acked, n, err)
	}
	w.next += n
	ledger.SourceEnded()
	ledger.Wait(ctx)
	for w.hook && w.told.Load() < int64(2*w.next) {
		if ctx.Err() != nil {
			b.Fatalf("%d events of %d messages were told", w.told.Load(), w.next)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// cpu is what the relay's process has used.
func (w *hooked) cpu(b *testing.B) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.relay.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}
