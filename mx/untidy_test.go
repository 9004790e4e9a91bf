package mx_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// TestRefusedRSET: the answer to RSET is about an earlier transaction. Whoever
// was not offered yet is offered on a new connection.
func TestRefusedRSET(t *testing.T) {
	for _, ext := range [][]string{{"PIPELINING"}, {}} {
		for _, no := range []string{"502 5.5.1 what", "503 5.5.1 no", "554 5.7.0 too many commands"} {
			w := newWorld(t, mxtest.Config{Extensions: ext}, func(c *mx.Config) { c.RecipientsPerMessage = 1 })
			w.script("rcpt:no@b.test", "550 5.1.1 unknown", 0)
			w.script("rset", no, 0)
			res := w.deliver(task(t, letter, "no@b.test", "a@b.test", "c@b.test"))
			if res.Replies[0].Code != 550 || !res.Replies[1].Positive() || !res.Replies[2].Positive() {
				t.Errorf("%v, %s: %v", ext, no, res.Replies)
			}
		}
	}
}

// TestTLSForTheMoment: a server whose STARTTLS fails and that takes no mail in
// the clear is tried again later.
func TestTLSForTheMoment(t *testing.T) {
	for at, no := range map[string]string{"mail": "530 5.7.0 Must issue a STARTTLS command first",
		"rcpt": "550 5.7.1 use STARTTLS", "data": "554 5.7.10 encryption needed"} {
		w := newWorld(t, mxtest.Config{Extensions: []string{"STARTTLS"}}, func(c *mx.Config) { c.TLS = tlspolicy.LevelOpportunistic })
		w.script("starttls", "454 4.7.0 not now", 0)
		w.script(at, no, 0)
		r := w.deliver(task(t, letter, "a@b.test")).Replies[0]
		if r.Permanent() || r.Stage != relay.StageTLS || w.srv.Sessions() > 2 {
			t.Errorf("%s: %v, %d sessions", at, r, w.srv.Sessions())
		}
	}
}

// TestDeniedMX: NXDOMAIN for MX without proof is not believed where the address
// exists, and the address is used only inside the allowed networks.
func TestDeniedMX(t *testing.T) {
	for addr, status := range map[string]string{"127.0.0.1": "", "192.0.2.7": "4.4.3", "": "5.1.2"} {
		w := newWorld(t, mxtest.Config{}, nil)
		w.dns.Fault("d.test", "MX", mxtest.NXDomain)
		if addr != "" {
			if err := w.dns.Add("d.test. A " + addr); err != nil {
				t.Fatal(err)
			}
		}
		r := w.deliver(task(t, letter, "a@d.test")).Replies[0]
		if status == "" && !r.Positive() || status != "" && r.Status.String() != status {
			t.Errorf("%q: %v", addr, r)
		}
	}
}

// TestTheFamilyThatIsLeftOut: mail for a host whose addresses are all of the
// family that a setting of ours leaves out is returned naming the setting, and
// never called a domain that does not exist.
func TestTheFamilyThatIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		to, records, ip, status, says string
		nxdomain                      bool
	}{
		{"a@six.test", "six.test. AAAA 2001:db8::1", "4", "5.4.4", `ip = "4"`, false},
		{"a@six.test", "six.test. AAAA 2001:db8::1", "4", "4.4.3", "gives its address", true},
		{"a@in.test", "in.test. AAAA ::1", "4", "5.4.4", `ip = "4"`, true},
		{"a@mx6.test", "mx6.test. MX 10 h.mx6.test.\nh.mx6.test. AAAA 2001:db8::1", "4", "5.4.4", `ip = "4"`, false},
		{"a@mx4.test", "mx4.test. MX 10 h.mx4.test.\nh.mx4.test. A 192.0.2.1", "6", "5.4.4", `ip = "6"`, false},
		{"a@[IPv6:2001:db8::1]", "x.test. A 192.0.2.1", "4", "5.4.4", `ip = "4"`, false},
		{"a@none.test", "none.test. TXT x", "4", "5.4.4", "neither an MX nor an address", false},
	} {
		w := newWorld(t, mxtest.Config{}, func(m *mx.Config) {
			m.IP, m.AllowNetworks = c.ip, append(slices.Clone(loopback), netip.MustParsePrefix("::1/128"))
		})
		if err := w.dns.Add(c.records); err != nil {
			t.Fatal(err)
		}
		if c.nxdomain {
			_, domain, _ := strings.Cut(c.to, "@")
			w.dns.Fault(domain, "MX", mxtest.NXDomain)
		}
		if r := w.deliver(task(t, letter, c.to)).Replies[0]; r.Status.String() != c.status || !strings.Contains(r.Text, c.says) {
			t.Errorf("%s, ip = %s: %v", c.to, c.ip, r)
		}
	}
}

// TestLocalhostOfOneFamily: `ip` counts for localhost, too.
func TestLocalhostOfOneFamily(t *testing.T) {
	for _, at := range []string{"delivery", "route"} {
		tr := newTransport(t, mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, IP: map[string]string{"delivery": "6"}[at], TLS: tlspolicy.LevelOff,
			Routes: []mx.Route{{To: []string{"*"}, Via: []mx.Hop{{Host: "localhost", Port: 1}}, IP: map[string]string{"route": "6"}[at]}}})
		res := tr.Deliver(t.Context(), task(t, letter, "a@b.test"))
		for _, v := range res.Visits {
			if v.Addr != "::1" {
				t.Errorf("%s: %s is dialled", at, v.Addr)
			}
		}
		if len(res.Visits) == 0 {
			t.Errorf("%s: nothing is dialled", at)
		}
	}
}

// TestTextBehindSTARTTLS: what came in the clear behind the answer to STARTTLS is
// never taken for something said through TLS (RFC 3207 §4.2).
func TestTextBehindSTARTTLS(t *testing.T) {
	for _, behind := range []string{`injected\r\n`, `\r\n`, `250 injected\r\n`, `injec`, `250-injected`} {
		cfg, ca := certified(t, "mx.b.test")
		w := newWorld(t, cfg, func(c *mx.Config) { c.TLS, c.RootCAs = tlspolicy.LevelVerified, ca.Pool() })
		w.script("starttls", `raw "220 go\r\n`+behind+`"`, 0)
		res := w.deliver(task(t, letter, "x@b.test"))
		if thrownAway := res.Replies[0].Positive() && res.TLS != ""; strings.Contains(res.Replies[0].Text, "injec") || !thrownAway && (!deferred(res) || said(w.srv, "MAIL")) {
			t.Errorf("%q: %+v", behind, res)
		}
	}
}
