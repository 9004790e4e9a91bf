package mx_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/tlspolicy"
)

// policyHost is the HTTPS server of an MTA-STS policy, and what it says.
type policyHost struct {
	srv     *http.Server
	addr    string
	fetches atomic.Int32
	answer  atomic.Pointer[http.HandlerFunc]
}

func (h *policyHost) say(f http.HandlerFunc) { h.answer.Store(&f) }

func (h *policyHost) Policy(mode string, age int, mx ...string) {
	h.say(func(w http.ResponseWriter, r *http.Request) { writePolicy(w, r, mode, age, mx...) })
}

func writePolicy(w http.ResponseWriter, r *http.Request, mode string, age int, mx ...string) {
	if r.URL.Path != "/.well-known/mta-sts.txt" || r.Host != "mta-sts.b.test" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "version: STSv1\r\nmode: %s\r\nmax_age: %d\r\n", mode, age)
	for _, m := range mx {
		fmt.Fprintf(w, "mx: %s\r\n", m)
	}
}

func newPolicyHost(t testing.TB, cert *tls.Certificate) *policyHost {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &policyHost{addr: l.Addr().String()}
	h.say(http.NotFound)
	h.srv = &http.Server{ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: []tls.Certificate{*cert}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.fetches.Add(1)
			(*h.answer.Load())(w, r)
		})}
	go h.srv.ServeTLS(l, "", "") //nolint:errcheck // ends with Close
	t.Cleanup(func() { h.srv.Close() })
	return h
}

// stsWorld is b.test with a policy host at mta-sts.b.test, whose port 443 is
// led to where it listens.
type stsWorld struct {
	*world
	host *policyHost
	ca   *mxtest.CA
	cfg  mx.Config
	seen reports
	dir  string
}

func newSTSWorld(t testing.TB, srv mxtest.Config, ca *mxtest.CA, change func(*mx.Config)) *stsWorld {
	t.Helper()
	w := &stsWorld{ca: ca, dir: t.TempDir(), host: newPolicyHost(t, certificate(t, ca, time.Hour, "mta-sts.b.test"))}
	w.world = newWorld(t, srv, func(c *mx.Config) {
		c.MTASTS, c.PolicyDir, c.RootCAs, c.OnTLS, c.IdleTimeout = true, w.dir, ca.Pool(), w.seen.add, -1
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, ":443") {
				addr = w.host.addr
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
		if change != nil {
			change(c)
		}
		w.cfg = *c
	})
	w.publish("1")
	return w
}

// publish sets the TXT record to an id; "" removes it.
func (w *stsWorld) publish(id string) {
	w.t.Helper()
	records := zone + "mta-sts.b.test. A 127.0.0.1\n"
	if id != "" {
		records += "_mta-sts.b.test. TXT \"v=STSv1; id=" + id + ";\"\n"
	}
	if err := w.dns.Set(records); err != nil {
		w.t.Fatal(err)
	}
}

// restart makes a new Transport on the same directory.
func (w *stsWorld) restart() {
	w.tr.Close()
	w.tr = newTransport(w.t, w.cfg)
}

// try delivers; the answer is "verified", "tls", "clear" or "deferred".
func (w *stsWorld) try() string {
	w.t.Helper()
	res := w.deliver(task(w.t, letter, "x@b.test"))
	switch r := res.Replies[0]; {
	case !r.Positive() && r.Permanent():
		return "failed: " + r.String()
	case !r.Positive():
		return "deferred"
	case res.TLS == "":
		return "clear"
	case res.TLSPolicy == "mta-sts":
		return "verified"
	}
	return "tls"
}

// TestSTS: what a policy makes of a delivery to each kind of host.
func TestSTS(t *testing.T) {
	good, ca := certified(t, "mx.b.test")
	wrong := mxtest.Config{Certificate: certificate(t, ca, time.Hour, "other.test")}
	expired := mxtest.Config{Certificate: certificate(t, ca, -time.Minute, "mx.b.test")}
	stranger, _ := certified(t, "mx.b.test")
	none := mxtest.Config{}
	for _, c := range []struct {
		name   string
		srv    mxtest.Config
		mode   string
		mx     string
		want   string
		report string
	}{
		{"good", good, "enforce", "mx.b.test", "verified", "sts b.test successful"},
		{"by pattern", good, "enforce", "*.B.test", "verified", "sts b.test successful"},
		{"another pattern", good, "enforce", "*.test", "deferred", "sts b.test validation-failure"},
		{"another host", good, "enforce", "mx2.b.test", "deferred", "sts b.test validation-failure"},
		{"wrong name", wrong, "enforce", "mx.b.test", "deferred", "sts b.test certificate-host-mismatch"},
		{"expired", expired, "enforce", "mx.b.test", "deferred", "sts b.test certificate-expired"},
		{"unknown authority", stranger, "enforce", "mx.b.test", "deferred", "sts b.test certificate-not-trusted"},
		{"no STARTTLS", none, "enforce", "mx.b.test", "deferred", "sts b.test starttls-not-supported"},
		{"testing", good, "testing", "mx.b.test", "tls", "sts b.test successful"},
		{"testing, another host", good, "testing", "mx2.b.test", "tls", "sts b.test validation-failure"},
		{"testing, wrong name", wrong, "testing", "mx.b.test", "tls", "sts b.test certificate-host-mismatch"},
		{"testing, no STARTTLS", none, "testing", "mx.b.test", "clear", "sts b.test starttls-not-supported"},
		{"none", none, "none", "mx.b.test", "clear", "no-policy-found b.test starttls-not-supported"},
		{"bad mode", none, "strict", "mx.b.test", "clear", "sts b.test sts-policy-invalid, no-policy-found b.test starttls-not-supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newSTSWorld(t, c.srv, ca, nil)
			w.host.Policy(c.mode, 86400, c.mx)
			if got := w.try(); got != c.want || w.seen.String() != c.report {
				t.Errorf("%s, want %s; reported %s", got, c.want, &w.seen)
			}
			if c.want == "deferred" && said(w.srv, "MAIL") {
				t.Error("MAIL was said all the same")
			}
		})
	}
}

// A policy holds until its time is up, whatever happens to the TXT record and
// the policy host, and over restarts; then there is none.
func TestSTSPolicyHolds(t *testing.T) {
	good, ca := certified(t, "mx.b.test")
	w := newSTSWorld(t, good, ca, nil)
	w.host.Policy("enforce", 86400, "mx.b.test")
	expect := func(step, want string, fetches int) {
		t.Helper()
		if got := w.try(); got != want || int(w.host.fetches.Load()) != fetches {
			t.Errorf("%s: %s, want %s; %d fetches, want %d", step, got, want, w.host.fetches.Load(), fetches)
		}
	}
	expect("first", "verified", 1)
	expect("again", "verified", 1)
	w.restart()
	expect("restarted", "verified", 1)
	w.script("starttls", "454 4.7.0 not now", 0)
	w.publish("")
	expect("downgrade: no TXT record", "deferred", 1)
	w.restart()
	expect("downgrade after a restart", "deferred", 1)
	w.dns.Fault("_mta-sts.b.test", "TXT", mxtest.ServFail)
	expect("downgrade: no DNS", "deferred", 1)
	w.dns.Fault("_mta-sts.b.test", "TXT", mxtest.NoFault)
	w.cfg.Resolver = newResolver(t, w.dns) // the old one remembers the failure
	w.restart()
	w.publish("2")
	w.host.say(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	expect("policy host down", "deferred", 2)
	expect("not asked again at once", "deferred", 2)
	w.publish("3")
	w.host.Policy("none", 86400, "mx.b.test")
	expect("a new id ends it", "clear", 3)
	w.srv.ClearScript()
	w.publish("4")
	w.host.Policy("enforce", 0, "mx.b.test")
	expect("max_age 0", "verified", 4)
	w.publish("")
	w.script("starttls", "454 4.7.0 not now", 0)
	expect("expired", "clear", 4)
}

// The policy is on disk when the delivery that it decides begins; one that is
// damaged there is fetched again, and else holds the mail back.
func TestSTSStore(t *testing.T) {
	good, ca := certified(t, "mx.b.test")
	w := newSTSWorld(t, good, ca, nil)
	file := filepath.Join(w.dir, "b.test.json")
	w.host.Policy("enforce", 86400, "mx.b.test")
	w.cfg.Dial = func(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, fmt.Sprint(w.srv.Port())) {
				if data, err := os.ReadFile(file); err != nil || !strings.Contains(string(data), `"mode":"enforce"`) {
					t.Errorf("the policy is not on disk: %s %v", data, err)
				}
			}
			return dial(ctx, network, addr)
		}
	}(w.cfg.Dial)
	w.restart()
	if got := w.try(); got != "verified" {
		t.Error(got)
	}
	for _, damage := range []string{"", "{", `{"domain":"other.test","mode":"none"}`} {
		if err := os.WriteFile(file, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		w.publish("")
		w.restart()
		if got := w.try(); got != "deferred" {
			t.Errorf("%q: %s", damage, got)
		}
		w.publish("1")
		if got := w.try(); got != "verified" {
			t.Errorf("%q, fetched again: %s", damage, got)
		}
	}
	leftovers, _ := filepath.Glob(filepath.Join(w.dir, ".new*"))
	if len(leftovers) > 0 {
		t.Error(leftovers)
	}
}

// TestSTSFetch: each way in which a policy host may fail means no policy.
func TestSTSFetch(t *testing.T) {
	good, ca := certified(t, "mx.b.test")
	const fetchError, invalid, webpki = "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid"
	valid := func(w http.ResponseWriter, r *http.Request) { writePolicy(w, r, "enforce", 86400, "mx.b.test") }
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		change func(*stsWorld)
		want   string
	}{
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/other" {
				http.Redirect(w, r, "/other", http.StatusFound)
				return
			}
			r.URL.Path = "/.well-known/mta-sts.txt"
			valid(w, r)
		}, nil, fetchError},
		{"404", http.NotFound, nil, fetchError},
		{"203", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(203)
		}, nil, fetchError},
		{"HTML", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "version: STSv1\nmode: enforce\nmax_age: 1\nmx: mx.b.test\n")
		}, nil, fetchError},
		{"too long", func(w http.ResponseWriter, r *http.Request) {
			valid(w, r)
			fmt.Fprint(w, strings.Repeat("x: y\r\n", 20_000))
		}, nil, invalid},
		{"cut short", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "version: STSv1\n")
		}, nil, fetchError},
		{"wrong name", valid, func(w *stsWorld) {
			w.host = newPolicyHost(w.t, certificate(w.t, ca, time.Hour, "b.test"))
		}, webpki},
		{"unknown authority", valid, func(w *stsWorld) {
			other, err := mxtest.NewCA()
			if err != nil {
				w.t.Fatal(err)
			}
			w.host = newPolicyHost(w.t, certificate(w.t, other, time.Hour, "mta-sts.b.test"))
		}, webpki},
		{"down", valid, func(w *stsWorld) { w.host.srv.Close() }, fetchError},
		{"refused address", valid, func(w *stsWorld) {
			w.dns.Remove("mta-sts.b.test", "A")
			if err := w.dns.Add("mta-sts.b.test. A 10.0.0.1"); err != nil {
				w.t.Fatal(err)
			}
		}, fetchError},
		{"no address", valid, func(w *stsWorld) { w.dns.Remove("mta-sts.b.test", "A") }, fetchError},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newSTSWorld(t, good, ca, nil)
			if c.change != nil {
				c.change(w)
			}
			w.host.say(c.answer)
			if got := w.try(); got != "tls" || w.seen.String() != "sts b.test "+c.want+", no-policy-found b.test successful" {
				t.Errorf("%s; reported %s", got, &w.seen)
			}
			before := w.host.fetches.Load()
			if w.try(); w.host.fetches.Load() != before {
				t.Error("fetched again at once")
			}
		})
	}
}

// Usable TLSA records replace the policy for that host, also when they fail.
func TestDANEBeforeSTS(t *testing.T) {
	good, ca := certified(t, "mx.b.test")
	stranger, _ := certified(t, "mx.b.test") // not by an authority that we know
	for _, c := range []struct {
		name, mx, record, want string
		srv                    mxtest.Config
	}{
		{"the records match, the policy would not", "other.b.test", tlsa(t, 3, 1, 1, stranger.Certificate.Certificate[0]), "dane", stranger},
		{"the policy would match, the records do not", "mx.b.test", tlsa(t, 3, 1, 1, der(ca)), "deferred", good},
		{"the records are unusable, the policy fails", "mx.b.test", tlsa(t, 1, 1, 1, stranger.Certificate.Certificate[0]), "deferred", stranger},
		{"the records are unusable, the policy holds", "mx.b.test", tlsa(t, 1, 1, 1, good.Certificate.Certificate[0]), "mta-sts", good},
	} {
		w := newSTSWorld(t, c.srv, ca, func(cfg *mx.Config) { cfg.DANE = true })
		w.dns.Authentic(true)
		w.host.Policy("enforce", 86400, c.mx)
		if err := w.dns.Add(fmt.Sprintf("_%d._tcp.mx.b.test. %s", w.srv.Port(), c.record)); err != nil {
			t.Fatal(err)
		}
		res := w.deliver(task(t, letter, "x@b.test"))
		got := res.TLSPolicy
		if !res.Replies[0].Positive() {
			got = "deferred"
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s: %+v", c.name, got, c.want, res)
		}
	}
}

// Neither lowers what the configuration demands, nor touches tls = "off" and
// routes with via.
func TestPoliciesAndLevels(t *testing.T) {
	stranger, ca := certified(t, "other.test")
	for level, want := range map[tlspolicy.Level]string{tlspolicy.LevelOff: "clear", tlspolicy.LevelOpportunistic: "tls", tlspolicy.LevelRequired: "tls", tlspolicy.LevelVerified: "deferred"} {
		w := newSTSWorld(t, stranger, ca, func(c *mx.Config) { c.TLS = level })
		w.host.Policy("testing", 86400, "mx.b.test")
		if got := w.try(); got != want {
			t.Errorf("%v, testing: %s", level, got)
		}
	}
	w := newSTSWorld(t, stranger, ca, func(c *mx.Config) { c.TLS = tlspolicy.LevelOff })
	w.host.Policy("enforce", 86400, "mx.b.test")
	if got := w.try(); got != "clear" || w.host.fetches.Load() != 0 {
		t.Errorf("off: %s", got)
	}
	w = newSTSWorld(t, stranger, ca, nil)
	w.host.Policy("enforce", 86400, "mx.b.test")
	w.cfg.Routes = []mx.Route{{To: []string{"*"}, Via: []mx.Hop{{Host: "mx.b.test", Port: uint16(w.srv.Port())}}}}
	w.restart()
	if got := w.try(); got != "tls" || w.host.fetches.Load() != 0 {
		t.Errorf("via: %s", got)
	}
}

// A policy of yesterday is fetched again while it serves: by then max_age runs
// anew.
func TestSTSRefresh(t *testing.T) {
	good, ca := certified(t, "mx.b.test")
	w := newSTSWorld(t, good, ca, nil)
	file := filepath.Join(w.dir, "b.test.json")
	old := `{"domain":"b.test","id":"1","mode":"enforce","mx":["mx.b.test"],"max_age":604800000000000,"fetched":"` +
		time.Now().Add(-25*time.Hour).UTC().Format(time.RFC3339) + `"}`
	if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	w.host.Policy("enforce", 86400, "mx.b.test")
	for range 1000 { // the refresh is nobody's to wait for
		if got := w.try(); got != "verified" {
			t.Fatal(got)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != old {
			break
		}
	}
	if now, err := os.ReadFile(file); err != nil || !strings.Contains(string(now), `"max_age":86400000000000`) || w.host.fetches.Load() != 1 {
		t.Errorf("%s %v, %d fetches", now, err, w.host.fetches.Load())
	}
}
