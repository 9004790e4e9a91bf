package mx_test

import (
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
