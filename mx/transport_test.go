package mx_test

import (
	"testing"

	"dawk/mx/mxtest"
)

func TestDeliver(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	w.script("rcpt:bad@b.test", "550 5.1.1 no such user", 0)
	res := w.deliver(task(t, letter+".dot\r\n..\r\n", "one@b.test", "bad@b.test", "two@b.test"))
	if !res.Replies[0].Positive() || !res.Replies[2].Positive() {
		t.Errorf("accepted recipients: %v, %v", res.Replies[0], res.Replies[2])
	}
	if r := res.Replies[1]; r.Code != 550 || !r.Permanent() || r.MTA != "mx.b.test" || r.Addr != "127.0.0.1" {
		t.Errorf("refused recipient: %+v", r)
	}
	if res.Route != "mx" || res.Host != "mx.b.test" || !res.DSN || res.Unknown || res.Reused {
		t.Errorf("result: %+v", res)
	}
	got := w.srv.Messages()
	if len(got) != 1 || string(got[0].Data) != letter+".dot\r\n..\r\n" || len(got[0].Recipients) != 2 {
		t.Fatalf("received: %+v", got)
	}
	if res = w.deliver(task(t, letter, "one@b.test")); !res.Reused || !res.Replies[0].Positive() || w.srv.Sessions() != 1 {
		t.Errorf("second delivery: %+v", res)
	}
}
