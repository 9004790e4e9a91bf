package dns_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/mx/dns"
	"dawk/mx/mxtest"
)

// Silence of all servers is an outage at once, SERVFAIL to everything from the third name
// on, and neither is silence or SERVFAIL about one name. The next answer ends it; names
// that cannot be asked for are no answer.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newZone(t, "$ORIGIN test.\ngood 0 MX 10 a\nhome 0 MX 10 a\n")
		dead := false
		var out bytes.Buffer
		r := piped(t, dns.Config{Log: slog.New(slog.NewTextHandler(&out, nil)), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dead {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return pipeDNS(d)(ctx, network, addr)
		}}, d)
		ask := func(name string) {
			r.LookupMX(context.Background(), name) //nolint:errcheck // what it means for the servers is asked
			time.Sleep(time.Minute)
		}
		want := func(since time.Time, words string) {
			t.Helper()
			o, on := r.Outage()
			if on != (words != "") || on && (!o.Since.Equal(since) || o.Last.Before(o.Since) || !strings.Contains(o.Err.Error(), words)) {
				t.Errorf("%v %+v", on, o)
			}
		}
		ask("good.test")
		want(time.Time{}, "")

		d.Fault("hole.test", "", mxtest.Silent)
		ask("hole.test")
		want(time.Time{}, "")

		dead = true
		ask("good.test") // not yet known as the first of its kind: hole.test is
		ask("other.test")
		began, _ := r.Outage()
		want(began.Since, "timeout for other.test")
		dead = false
		ask(strings.Repeat("a", 64) + ".test")
		want(began.Since, "timeout for other.test")
		ask("good.test")
		want(time.Time{}, "")

		dead = true
		began.Since = time.Now()
		ask("home.test")
		began, _ = r.Outage()
		want(began.Since, "timeout for home.test")
		dead = false
		ask("good.test")

		first := time.Now()
		for _, name := range []string{"one.test", "two.test", "two.test", "three.test"} {
			d.Fault(name, "", mxtest.ServFail)
			want(time.Time{}, "")
			ask(name)
		}
		want(first, "SERVFAIL for three.test")
		if n := strings.Count(out.String(), "no name server gives a useful answer"); n != 3 || strings.Count(out.String(), "answer again") != 2 {
			t.Errorf("logged:\n%s", out.String())
		}
	})
}
