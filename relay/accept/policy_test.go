package accept_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/accept/accepttest"
	"dawk/relay/identity"
)

// accepts submits one message of u and gives it as stored.
func accepts(t *testing.T, a *accept.Acceptor, q *accepttest.Queue, u *identity.User, content string, to ...string) accepttest.Stored {
	t.Helper()
	s := submit(t, pieces{content, 50})
	s.User = u
	if len(to) > 0 {
		s.Recipients = nil
	}
	for _, r := range to {
		s.Recipients = append(s.Recipients, relay.Recipient{Path: path(t, r)})
	}
	_, err := a.Submit(t.Context(), s)
	check(t, err)
	all := q.Messages()
	return all[len(all)-1]
}

func TestRewriteFrom(t *testing.T) {
	q := &accepttest.Queue{}
	a, _ := acceptor(t, q, nil)
	u := &identity.User{Name: "scanner", Policy: identity.Policy{RewriteFrom: path(t, "scan@example.org")}}
	m := accepts(t, a, q, u, lines("Subject: x", "From: Scanner", " <root@localhost.localdomain>", "Sender: root", "", "From: body"))
	h := m.Header()
	for _, want := range []string{"\r\nFrom: <scan@example.org>\r\n", "\r\nX-Original-From: Scanner\r\n <root@localhost.localdomain>\r\n", "\r\nX-Original-Sender: root"} {
		if !strings.Contains(h, want) {
			t.Errorf("%q lacks %q", h, want)
		}
	}
	if strings.Count(h, "\r\nFrom:") != 1 || strings.Contains(h, "\r\nSender:") || m.From.String() != "scan@example.org" || m.Body() != "From: body\r\n" {
		t.Errorf("%q %v", m.Content, m.From)
	}
	long := accepts(t, a, q, u, lines("From: "+strings.Repeat("x", 990), " more", "Subject: y", "", ""))
	for line := range strings.SplitSeq(long.Content, "\r\n") {
		if len(line) > 998 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	if !strings.Contains(long.Content, "\r\nX-Original-From:\r\n "+strings.Repeat("x", 990)+"\r\n more\r\n") {
		t.Errorf("the long field is not whole: %.100q", long.Content)
	}
	s := submit(t, pieces{"\r\n", 9})
	s.User, s.From = u, relay.Path{}
	_, err := a.Submit(t.Context(), s)
	check(t, err)
	if m := q.Messages()[2]; !m.From.IsNull() || !strings.Contains(m.Header(), "From: <scan@example.org>") {
		t.Errorf("a receipt: %v %q", m.From, m.Content)
	}
}

func TestRedirect(t *testing.T) {
	q := &accepttest.Queue{}
	a, _ := acceptor(t, q, nil)
	u := &identity.User{Name: "staging", Policy: identity.Policy{Redirect: path(t, "qa@example.org"), NoDelayNotes: true}}
	one := accepts(t, a, q, u, lines("Subject: x", "", ""), "real@example.com")
	if r := one.Recipients; len(r) != 1 || r[0].Path.String() != "qa@example.org" || r[0].ORcpt != (relay.ORcpt{Type: "rfc822", Addr: "real@example.com"}) {
		t.Errorf("%+v", r)
	}
	many := accepts(t, a, q, u, lines("Subject: x", "", ""), "real@example.com", "jürgen@example.com")
	if r := many.Recipients; len(r) != 1 || r[0].Path.String() != "qa@example.org" || !r[0].ORcpt.IsZero() || !many.NoDelayNotes {
		t.Errorf("%+v", many.Message)
	}
	h := many.Header()
	if !strings.Contains(h, "\r\nX-Original-To: <real@example.com>\r\nX-Original-To: <j\\x{FC}rgen@example.com>") || strings.Contains(h, "for <real") {
		t.Errorf("%q", h)
	}
}

// TestRedirectKeepsNotify: the one recipient asks for what any of those asked
// for whose place it takes.
func TestRedirectKeepsNotify(t *testing.T) {
	const never, failure, success = relay.NotifyNever, relay.NotifyFailure, relay.NotifySuccess
	q := &accepttest.Queue{}
	a, _ := acceptor(t, q, nil)
	u := &identity.User{Name: "staging", Policy: identity.Policy{Redirect: path(t, "qa@example.org")}}
	for i, c := range []struct {
		asked []relay.Notify
		want  relay.Notify
	}{
		{[]relay.Notify{0, 0}, 0},
		{[]relay.Notify{never}, never},
		{[]relay.Notify{never, never}, never},
		{[]relay.Notify{success, success}, success},
		{[]relay.Notify{never, failure}, failure},
		{[]relay.Notify{success, failure, never}, success | failure},
		{[]relay.Notify{success, 0}, success | failure | relay.NotifyDelay},
	} {
		s := submit(t, pieces{"\r\n", 9})
		s.User, s.Recipients = u, nil
		for j, n := range c.asked {
			s.Recipients = append(s.Recipients, relay.Recipient{Path: path(t, fmt.Sprintf("r%d@example.com", j)), Notify: n})
		}
		_, err := a.Submit(t.Context(), s)
		check(t, err)
		if r := q.Messages()[i].Recipients; len(r) != 1 || r[0].Notify != c.want {
			t.Errorf("%v: %+v", c.asked, r)
		}
	}
}

func TestHoldAll(t *testing.T) {
	q := &accepttest.Queue{}
	a, seen := acceptor(t, q, nil)
	m := accepts(t, a, q, &identity.User{Name: "new", Policy: identity.Policy{Hold: true}}, "\r\n", "a@example.com", "b@example.com")
	held := seen.Of(relay.EventHeld)
	if !strings.Contains(m.Hold, "users.toml") || len(held) != 2 || held[1].Recipient.String() != "b@example.com" || held[0].ID != m.ID || held[0].Reason != "policy" || !m.NoDelayNotes {
		t.Errorf("%q %+v", m.Hold, held)
	}
}

// The message that goes too far is taken and held, those after it are as
// well, and one event tells of the user.
func TestFloodOfCopiesIsHeld(t *testing.T) {
	q := &accepttest.Queue{}
	ledger := identity.NewLedger()
	a, seen := acceptor(t, q, func(c *accept.Config) { c.Ledger = ledger })
	u := &identity.User{Name: "alice", Policy: identity.Policy{HoldCopies: 3}}
	text := func(id, body string) string { return lines("Message-ID: <"+id+"@x>", "Subject: hi", "", body) }
	for i, c := range []struct {
		content string
		held    bool
	}{{text("1", "a"), false}, {text("2", "b"), false}, {text("3", "a"), true}, {text("4", "other"), true}} {
		m := accepts(t, a, q, u, c.content, "a@example.com", "b@example.com")
		if (m.Hold != "") != c.held || m.NoDelayNotes != c.held { // who sent it may be forged
			t.Errorf("message %d: hold %q", i+1, m.Hold)
		}
	}
	if e := seen.Of(relay.EventIdentityHeld); len(e) != 1 || e[0].Reason != "copies" || !strings.Contains(e[0].Rule, "4 recipients") {
		t.Errorf("%+v", e)
	}
	_, err := ledger.Release("Alice")
	check(t, err)
	if m := accepts(t, a, q, u, text("5", "a")); m.Hold != "" {
		t.Errorf("after the release: %q", m.Hold)
	}
}

func TestQuotaIsToldWithItsEnd(t *testing.T) {
	full := errors.New("full")
	q := &accepttest.Queue{NoEnqueue: full}
	a, seen := acceptor(t, q, nil)
	u := &identity.User{Name: "app", Policy: identity.Policy{PerHour: 2, RecipientsPerHour: 3}}
	s := submit(t, pieces{"\r\n", 9})
	s.User = u
	if _, err := a.Submit(t.Context(), s); err == nil {
		t.Fatal("accepted")
	}
	q.NoEnqueue = nil // what was not accepted costs nothing
	accepts(t, a, q, u, "\r\n", "a@example.com", "b@example.com")
	d, err := a.Decide(accept.Submission{Submitter: accept.Submitter{User: u}}, 0)
	check(t, err)
	check(t, d.Add(relay.Recipient{Path: path(t, "c@example.com")}))
	if err := d.Add(relay.Recipient{Path: path(t, "d@example.com")}); err == nil || !strings.HasPrefix(err.Error(), "452 4.7.28 this login may send 3 recipients per hour; try again in ") {
		t.Errorf("%v", err)
	}
	accepts(t, a, q, u, "\r\n", "a@example.com")
	if _, err := a.Decide(accept.Submission{Submitter: accept.Submitter{User: u}}, 0); err == nil || !strings.HasPrefix(err.Error(), "452 4.7.28 this login may send 2 messages per hour; try again in ") {
		t.Errorf("%v", err)
	}
	s = submit(t, pieces{"\r\n", 9})
	s.User = u
	var r *accept.Refusal
	if _, err := a.Submit(t.Context(), s); !errors.As(err, &r) || r.Reason != accept.ReasonQuota {
		t.Errorf("%v", err)
	}
	if e := seen.Of(relay.EventRefused); e[len(e)-1].Reason != "quota" {
		t.Errorf("%+v", e)
	}
}

// A recipient that gets no mail any more is refused for good, whatever the quota says:
// to wait for the quota would be of no use.
func TestSuppressedBeforeQuota(t *testing.T) {
	q := &accepttest.Queue{}
	a, _ := acceptor(t, q, func(c *accept.Config) {
		c.Recipient = func(_ string, to relay.Path) *accept.Refusal {
			return accept.Suppressed(map[string]string{"gone@example.com": "it is on the suppression list"}[to.String()])
		}
	})
	u := &identity.User{Name: "app", Policy: identity.Policy{PerHour: 2, RecipientsPerHour: 1}}
	accepts(t, a, q, u, "\r\n", "a@example.com")
	d, err := a.Decide(accept.Submission{Submitter: accept.Submitter{User: u}}, 0)
	check(t, err)
	for to, want := range map[string]string{"gone@example.com": "550 5.7.1 it is on the suppression list", "b@example.com": "452 4.7.28 "} {
		if err := d.Add(relay.Recipient{Path: path(t, to)}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// Whoever asks to wait until more recipients fit than ever fit at once asks for
// ever: such a message is to be divided.
func TestMoreRecipientsThanTheQuotaHas(t *testing.T) {
	a, _ := acceptor(t, &accepttest.Queue{}, nil)
	u := &identity.User{Name: "shop", Policy: identity.Policy{RecipientsPerHour: 2, RecipientsPerDay: 5}}
	s := submit(t, pieces{"Subject: x\r\n\r\n", 50})
	s.User, s.Recipients = u, nil
	for _, to := range []string{"a@b.test", "c@b.test", "d@b.test"} {
		s.Recipients = append(s.Recipients, relay.Recipient{Path: path(t, to)})
	}
	_, err := a.Submit(t.Context(), s)
	var r *accept.Refusal
	if !errors.As(err, &r) || r.Reason != accept.ReasonRecipients || r.Reply.Code != 452 || !strings.Contains(r.Reply.Text, "2 recipients per hour") {
		t.Errorf("%v", err)
	}
}

func TestMissingFromOfDevices(t *testing.T) {
	q := &accepttest.Queue{}
	a, _ := acceptor(t, q, nil)
	for _, c := range []struct {
		add           bool
		from, content string
		want          string
	}{
		{true, "dev@example.org", "Subject: x\r\n\r\n", "From: <dev@example.org>"},
		{true, "", "Subject: x\r\n\r\n", "From: <postmaster@" + hostname + ">"},
		{true, "dev@example.org", "From: me@example.org\r\n\r\n", "From: me@example.org"},
		{false, "dev@example.org", "Subject: x\r\n\r\n", ""},
	} {
		s := submit(t, pieces{c.content, 50})
		s.AddFrom = c.add
		s.From = relay.Path{}
		if c.from != "" {
			s.From = path(t, c.from)
		}
		_, err := a.Submit(t.Context(), s)
		check(t, err)
		all := q.Messages()
		got := ""
		for line := range strings.SplitSeq(all[len(all)-1].Header(), "\r\n") {
			if strings.HasPrefix(line, "From:") {
				got += line
			}
		}
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
