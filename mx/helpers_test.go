package mx_test

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dawk/mx"
	"dawk/mx/dns"
	"dawk/mx/mxtest"
	"dawk/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// content is relay.Content in memory.
type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

func newContent(s string) relay.Content { return content{bytes.NewReader([]byte(s))} }

const letter = "From: a@example.org\r\nTo: b@b.test\r\nSubject: hello\r\n\r\nhello\r\n"

func path(t testing.TB, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// task is a message from a@example.org to the recipients, all in one Task.
func task(t testing.TB, body string, to ...string) relay.Task {
	t.Helper()
	m := &relay.Message{Size: int64(len(body))}
	m.From = path(t, "a@example.org")
	task := relay.Task{Message: m, Content: newContent(body), Attempt: 1}
	for i, r := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: path(t, r)})
		task.Recipients = append(task.Recipients, i)
	}
	return task
}

// world is a DNS server, an SMTP server and a Transport between them.
type world struct {
	t   testing.TB
	dns *mxtest.DNS
	srv *mxtest.Server
	tr  *mx.Transport
}

const zone = "b.test. MX 10 mx.b.test.\nmx.b.test. A 127.0.0.1\n"

func newDNS(t testing.TB, records string) *mxtest.DNS {
	t.Helper()
	d, err := mxtest.NewDNS(records)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func newServer(t testing.TB, cfg mxtest.Config) *mxtest.Server {
	t.Helper()
	s, err := mxtest.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newResolver(t testing.TB, d *mxtest.DNS) *dns.Resolver {
	t.Helper()
	r, err := dns.NewResolver(dns.Config{Servers: []string{d.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// newWorld delivers to b.test at a server made from cfg; change, if not nil,
// has the last word on the Transport's configuration.
func newWorld(t testing.TB, cfg mxtest.Config, change func(*mx.Config)) *world {
	t.Helper()
	w := &world{t: t, dns: newDNS(t, zone), srv: newServer(t, cfg)}
	c := mx.Config{Hostname: "relay.example.org", Port: w.srv.Port(), AllowNetworks: loopback, Resolver: newResolver(t, w.dns)}
	if change != nil {
		change(&c)
	}
	w.tr = newTransport(t, c)
	return w
}

func newTransport(t testing.TB, c mx.Config) *mx.Transport {
	t.Helper()
	tr, err := mx.NewTransport(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

func (w *world) script(match, action string, times int) {
	w.t.Helper()
	if err := w.srv.Script(match, action, times); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) deliver(task relay.Task) relay.Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	res := w.tr.Deliver(ctx, task)
	if len(res.Replies) != len(task.Recipients) {
		w.t.Fatalf("%d replies for %d recipients", len(res.Replies), len(task.Recipients))
	}
	for i, r := range res.Replies {
		if r.IsZero() {
			w.t.Fatalf("recipient %d has no reply", i)
		}
	}
	return res
}
