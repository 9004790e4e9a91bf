package main

import (
	"crypto/tls"
	"net/smtp"
	"testing"

	"dawk/cmd/dawkbench/load"
)

// TestSinkTakesMailOverTLS: with --sink-tls mail comes over TLS, and the sink counts the
// connections that go on with the session of an earlier one.
func TestSinkTakesMailOverTLS(t *testing.T) {
	w := work{SinkTLS: true}
	cfg, err := w.sink("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sink, err := load.NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	sent, err := load.Send(t.Context(), load.SourceConfig{Addr: sink.Addr(), Messages: 6, Clients: 2, PerConnection: 1, TLS: "starttls"})
	if err != nil || sent.Acked != 6 || sink.Messages.Load() != 6 || sink.Resumed.Load() != 0 {
		t.Errorf("%d of 6 acknowledged, %d taken, %d resumed: %v, %v", sent.Acked, sink.Messages.Load(), sink.Resumed.Load(), sent.Errors, err)
	}
	sessions := &tls.Config{InsecureSkipVerify: true, ServerName: "sink.bench.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for range 3 {
		c, err := smtp.Dial(sink.Addr())
		if err == nil {
			err = c.StartTLS(sessions) // it says EHLO afterwards
		}
		if err == nil {
			err = c.Quit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := sink.Resumed.Load(); n != 2 {
		t.Errorf("%d of 3 sessions were resumed, want 2", n)
	}
}
