package mx_test

import (
	"slices"
	"strings"
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// TestParameters: what goes behind MAIL and RCPT, given what is offered.
func TestParameters(t *testing.T) {
	dsn := func(m *relay.Message) {
		m.Ret, m.EnvID = relay.RetHdrs, "id+1"
		m.Recipients[0].Notify = relay.NotifySuccess | relay.NotifyDelay
		m.Recipients[0].ORcpt = relay.ORcpt{Type: "rfc822", Addr: "old@example.org"}
	}
	for _, c := range []struct {
		name       string
		ext        []string
		change     func(*relay.Message)
		mail, rcpt string
		dsn        bool
	}{
		{"nothing offered", []string{}, nil, "", "", false},
		{"SIZE", []string{"SIZE"}, nil, "SIZE=60", "", false},
		{"8BITMIME", []string{"8BITMIME"}, func(m *relay.Message) { m.EightBit = true }, "BODY=8BITMIME", "", false},
		{"8BITMIME declared", []string{"8BITMIME"}, func(m *relay.Message) { m.Body = relay.Body8BitMIME }, "BODY=8BITMIME", "", false},
		{"7BIT", []string{"8BITMIME"}, func(m *relay.Message) { m.Body = relay.Body7Bit }, "BODY=7BIT", "", false},
		{"declared, but not needed", []string{}, func(m *relay.Message) { m.Body, m.SMTPUTF8 = relay.Body8BitMIME, true }, "", "", false},
		{"SMTPUTF8", []string{"SMTPUTF8"}, func(m *relay.Message) { m.SMTPUTF8 = true }, "SMTPUTF8", "", false},
		{"DSN", []string{"DSN"}, dsn, "RET=HDRS ENVID=id+2B1", "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old@example.org", true},
		{"DSN not offered", []string{}, dsn, "", "", false},
		{"injection", []string{"DSN"}, func(m *relay.Message) {
			m.EnvID = "x\r\nRCPT TO:<victim@b.test>"
			m.Recipients[0].ORcpt = relay.ORcpt{Type: "rfc822", Addr: "a b\r\nDATA"}
		}, "ENVID=x+0D+0ARCPT+20TO:<victim@b.test>", "ORCPT=rfc822;a+20b+0D+0ADATA", true},
	} {
		for _, pipelining := range []bool{true, false} {
			ext := slices.Clone(c.ext)
			if pipelining {
				ext = append(ext, "PIPELINING")
			}
			w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
			tk := task(t, letter, "x@b.test")
			if c.change != nil {
				c.change(tk.Message)
			}
			res := w.deliver(tk)
			if !res.Replies[0].Positive() || res.DSN != c.dsn {
				t.Errorf("%s: %+v", c.name, res)
				continue
			}
			if m := w.srv.Messages()[0]; m.MailParams != c.mail || m.Recipients[0].Params != c.rcpt {
				t.Errorf("%s: %q %q", c.name, m.MailParams, m.Recipients[0].Params)
			}
		}
	}
}

// TestUnfit: what a server cannot take is not sent, and the sender hears why
// at once.
func TestUnfit(t *testing.T) {
	for _, c := range []struct {
		name   string
		ext    []string
		change func(*relay.Message)
		status string
	}{
		{"too big", []string{"SIZE 59"}, nil, "5.3.4"},
		{"SIZE exactly", []string{"SIZE 60"}, nil, ""},
		{"SIZE 0 is no limit", []string{"SIZE 0"}, nil, ""},
		{"8-bit", []string{"SMTPUTF8"}, func(m *relay.Message) { m.EightBit = true }, "5.6.3"},
		{"UTF-8 header", []string{"8BITMIME"}, func(m *relay.Message) { m.UTF8Header = true }, "5.6.7"},
		{"UTF-8 sender", []string{"8BITMIME"}, func(m *relay.Message) { m.From = path(t, "é@example.org") }, "5.6.7"},
	} {
		w := newWorld(t, mxtest.Config{Extensions: c.ext}, nil)
		tk := task(t, letter, "x@b.test")
		if c.change != nil {
			c.change(tk.Message)
		}
		r := w.deliver(tk).Replies[0]
		if c.status == "" {
			if !r.Positive() {
				t.Errorf("%s: %+v", c.name, r)
			}
			continue
		}
		if r.Status.String() != c.status || !r.Permanent() || r.MTA != "mx.b.test" {
			t.Errorf("%s: %+v", c.name, r)
		}
		for _, cmd := range w.srv.Commands() {
			if strings.Contains(cmd, "MAIL") {
				t.Errorf("%s: %s", c.name, cmd)
			}
		}
	}
	// Only the recipient that needs it fails.
	w := newWorld(t, mxtest.Config{Extensions: []string{}}, nil)
	res := w.deliver(task(t, letter, "伊@b.test", "x@b.test"))
	if res.Replies[0].Status.String() != "5.6.7" || !res.Replies[1].Positive() {
		t.Errorf("%+v", res.Replies)
	}
	// And where it is offered, the address goes as it is.
	w = newWorld(t, mxtest.Config{}, nil)
	res = w.deliver(task(t, letter, "伊@b.test"))
	if m := w.srv.Messages(); !res.Replies[0].Positive() || len(m) != 1 || m[0].Recipients[0].Path != "伊@b.test" || !strings.Contains(m[0].MailParams, "SMTPUTF8") {
		t.Errorf("%+v %+v", res.Replies, m)
	}
}

// TestUnfitForNow: a host that answered HELO only, or in the clear where TLS failed,
// may offer what the mail needs another time. It waits.
func TestUnfitForNow(t *testing.T) {
	cfg, _ := certified(t, "mx.b.test")
	cfg.Extensions = []string{"8BITMIME"}
	for _, c := range []struct {
		name, event, says string
		level             tlspolicy.Level
		status            string
	}{
		{"STARTTLS is refused", "starttls", "454 4.7.0 not now", tlspolicy.LevelOpportunistic, "4.6.7"},
		{"the handshake fails", "tls", "reset", tlspolicy.LevelOpportunistic, "4.6.7"},
		{"HELO only", "ehlo", "500 what?", tlspolicy.LevelOpportunistic, "4.6.7"},
		{"within TLS", "", "", tlspolicy.LevelOpportunistic, "5.6.7"},
		{"we want no TLS", "", "", tlspolicy.LevelOff, "5.6.7"},
	} {
		w := newWorld(t, cfg, func(m *mx.Config) { m.TLS = c.level })
		if c.event != "" {
			w.script(c.event, c.says, map[string]int{"ehlo": 1}[c.event]) // HELO is taken
		}
		tk := task(t, letter, "x@b.test")
		tk.Message.UTF8Header = true
		if r := w.deliver(tk).Replies[0]; r.Status.String() != c.status || r.Permanent() != (c.status[0] == '5') {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// TestDSNRefused: a server that offers DSN and then refuses its parameters
// gets the message without them, in the same session.
func TestDSNRefused(t *testing.T) {
	for _, ext := range [][]string{{"PIPELINING", "DSN"}, {"DSN"}} {
		for _, event := range []string{"mail", "rcpt"} {
			w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
			w.script(event, "555 5.5.4 what parameter?", 1)
			tk := task(t, letter, "x@b.test", "y@b.test")
			for i := range tk.Message.Recipients {
				tk.Message.Recipients[i].Notify = relay.NotifySuccess
			}
			tk.Message.Ret = relay.RetFull
			res := w.deliver(tk)
			if !res.Replies[0].Positive() || !res.Replies[1].Positive() || res.DSN || w.srv.Sessions() != 1 {
				t.Errorf("%v %s: %+v", ext, event, res)
			}
			for _, m := range w.srv.Messages() {
				if m.Recipients[0].Path == "x@b.test" && (m.Recipients[0].Params != "" || m.MailParams != "") {
					t.Errorf("%v %s: %+v", ext, event, m)
				}
			}
		}
	}
	// Also where each connection takes but one message.
	w := newWorld(t, mxtest.Config{Extensions: []string{"DSN", "LIMITS MAILMAX=1"}}, nil)
	w.script("rcpt", "555 5.5.4 what parameter?", 1)
	tk := task(t, letter, "x@b.test")
	tk.Message.Recipients[0].Notify = relay.NotifyNever
	if res := w.deliver(tk); !res.Replies[0].Positive() || w.srv.Sessions() != 2 || w.srv.Messages()[0].Recipients[0].Params != "" {
		t.Errorf("%+v in %d sessions", res, w.srv.Sessions())
	}
	// Without parameters of ours a 555 is the server's last word.
	w = newWorld(t, mxtest.Config{}, nil)
	w.script("rcpt", "555 5.5.4 odd", 0)
	if r := w.deliver(task(t, letter, "x@b.test")).Replies[0]; r.Code != 555 || !r.Permanent() {
		t.Errorf("%+v", r)
	}
}

// TestHELO: a server that does not know EHLO.
func TestHELO(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	w.script("ehlo", "502 5.5.2 unknown command", 0)
	res := w.deliver(task(t, letter, "x@b.test", "y@b.test"))
	if m := w.srv.Messages(); !res.Replies[1].Positive() || len(m) != 1 || m[0].MailParams != "" || w.srv.Sessions() != 1 {
		t.Errorf("%+v %+v", res, m)
	}
}

// TestLoopByName: an MX that greets with our own name.
func TestLoopByName(t *testing.T) {
	w := newWorld(t, mxtest.Config{Hostname: "Relay.Example.org"}, nil)
	if r := w.deliver(task(t, letter, "x@b.test")).Replies[0]; r.Status.String() != "5.4.6" || len(w.srv.Messages()) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestEightBitPassesUnchanged through both ends.
func TestContentPassesUnchanged(t *testing.T) {
	for _, body := range []string{"", "\r\n", letter + "\x80\xff\x00é伊\r\n", ".\r\n..\r\n...\r\n", letter + strings.Repeat(".", 998) + "\r\n",
		letter + strings.Repeat(strings.Repeat("x", 997)+"\r\n.\r\n", 500)} {
		w := newWorld(t, mxtest.Config{}, nil)
		if r := w.deliver(task(t, body, "x@b.test")).Replies[0]; !r.Positive() {
			t.Errorf("%+v", r)
			continue
		}
		if got := string(w.srv.Messages()[0].Data); got != body {
			t.Errorf("%.60q came as %.60q", body, got)
		}
	}
}
