package mx_test

import (
	"strings"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/relay"
)

// What a smart host says of our account there holds the route, whether it has a
// login and a type or not, and names what an administrator can set.
func TestRepliesAboutTheAccountHoldTheRoute(t *testing.T) {
	for _, c := range []struct{ event, reply, remedy string }{
		{"rcpt", "550 5.7.64 TenantAttribution; Relay Access Denied", "inbound connector"},
		{"dot", "550 5.7.705 Access denied, tenant has exceeded threshold", "Restricted entities"},
		{"dot", "550 5.7.708 Access denied, traffic not accepted from this IP", "another address"},
		{"dot", "550 5.7.232 trial tenant limit", "licences"},
		{"dot", "550 5.7.233 tenant external recipient limit", "licences"},
		{"dot", "554 5.2.0 STOREDRV.Submission.Exception:OutboundSpamException; failed", "Restricted entities"},
		{"dot", "550 5.1.8 Access denied, bad outbound sender AS(42004)", "change its password"},
		{"dot", "554 Message rejected: Sending paused for this account.", "SES console"},
		{"dot", "550 Maximum credits exceeded", "credits of the account"},
		{"mail", "451 4.7.1 Your account has been temporarily suspended", "web site"},
		{"rcpt", "554 5.7.1 <b@b.test>: Relay access denied", "public address"},
		{"rcpt", "504 5.5.2 <relay>: Helo command rejected: need fully-qualified hostname", "hostname"},
		{"ehlo", "421 4.7.0 Try again later, closing connection. (EHLO)", "hostname"},
		{"mail", "550 5.7.1 Invalid credentials for relay", "hostname"},
		{"mail", "530 5.7.0 Authentication required", "set user"},
		{"mail", "530 Must issue SMTP AUTH command first", "set user"},
		{"rcpt", "530 5.7.1 log in first", "set user"},
		{"rcpt", "550 5.7.1 authentication required", "set user"},
		{"dot", "550 5.4.6 Unusual sending activity detected. Please try after sometime.", "web site"},
		{"dot", "550 Your account has been locked", "web site"},
		{"mail", "550 5.7.1 account locked for user", "web site"},
		{"rcpt", "550 You have exceeded your plan limit", "larger plan"},
		{"dot", "554 Sending from this account is blocked", "web site"},
		{"mail", "550 Account under review, sending is not possible", "web site"},
		{"rcpt", "550 5.7.1 Account pending approval", "web site"},
		{"mail", "550 Your IP is not whitelisted", "public address"},
		{"mail", "550 Your trial has expired", "larger plan"},
		{"rcpt", "550 5.7.1 Unconfigured Sending Domain <home.test>", "verification"},
		{"dot", "530 5.7.57 Client not authenticated to send mail", "set user"},
	} {
		tr, srv, h := openHost(t, mxtest.Config{}, time.Hour)
		if err := srv.Script(c.event, c.reply, 1); err != nil {
			t.Fatal(err)
		}
		r := tr.Deliver(t.Context(), task(t, letter, "b@b.test"))
		if reply := r.Replies[0]; reply.Permanent() || reply.Positive() || r.HeldSince.IsZero() || !strings.Contains(reply.Remedy, c.remedy) || reply.Cause != relay.CauseLogin {
			t.Errorf("%s: %+v, held since %v", c.reply, reply, r.HeldSince)
		}
		if len(h.told) != 1 || len(tr.HeldRoutes()) != 1 {
			t.Errorf("%s: told %v", c.reply, h.told)
		}
	}
}

// Limits of the account rest the route, whatever its type.
func TestLimitsOfTheAccountRestTheRoute(t *testing.T) {
	for _, c := range []struct{ event, reply string }{
		{"dot", "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits"},
		{"rcpt", "550 5.7.1 Daily SMTP relay limit exceeded for customer."},
		{"dot", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"},
		{"mail", "454 Throttling failure: Daily message quota exceeded"},
		{"data", "550 You have exceeded your daily limit"},
	} {
		tr, srv, _ := openHost(t, mxtest.Config{}, time.Hour)
		if err := srv.Script(c.event, c.reply, 1); err != nil {
			t.Fatal(err)
		}
		r := tr.Deliver(t.Context(), task(t, letter, "b@b.test"))
		if r.Replies[0].Permanent() || r.Replies[0].Positive() || tr.Reserve("route:office").IsZero() {
			t.Errorf("%s: %+v, rests until %v", c.reply, r.Replies[0], tr.Reserve("route:office"))
		}
	}
}

// What is no account's trouble is a verdict on the mail as before.
func TestRepliesAboutMailHoldNothing(t *testing.T) {
	for _, c := range []struct{ event, reply string }{
		{"rcpt", "550 5.1.1 no such user"},
		{"rcpt", "550 5.2.1 this account has been suspended"},
		{"dot", "554 5.7.1 message looks like spam"},
		{"dot", "550 5.7.703 Your message can't be delivered because messages to b@b.test are blocked by your organization using Tenant Allow Block List."},
		{"rcpt", "550 5.1.1 callout: remote host said: 550 daily user sending limit exceeded"},
		{"mail", "550 5.1.8 sender domain not found"},
	} {
		tr, srv, _ := openHost(t, mxtest.Config{}, time.Hour)
		if err := srv.Script(c.event, c.reply, 1); err != nil {
			t.Fatal(err)
		}
		if r := tr.Deliver(t.Context(), task(t, letter, "b@b.test")); !r.Replies[0].Permanent() || !r.HeldSince.IsZero() {
			t.Errorf("%s: %+v", c.reply, r)
		}
	}
}

// A message that a provider takes for the account's trouble goes back to its
// sender once it is plain that others pass.
func TestOneBadMessageIsReturned(t *testing.T) {
	const no = "554 5.2.0 STOREDRV.Submission.Exception:OutboundSpamException; failed"
	tr, srv, h := openHost(t, mxtest.Config{}, time.Nanosecond)
	deliver := func(id uint64, says string) relay.Result {
		t.Helper()
		if says != "" {
			if err := srv.Script("dot", says, 1); err != nil {
				t.Fatal(err)
			}
		}
		job := task(t, letter, "b@b.test")
		job.Message.ID = relay.QueueID{Key: id}
		return tr.Deliver(t.Context(), job)
	}
	if r := deliver(1, no); r.Replies[0].Permanent() || r.HeldSince.IsZero() {
		t.Fatalf("the first time: %+v", r)
	}
	if r := deliver(2, ""); !r.Replies[0].Positive() {
		t.Fatalf("the other: %+v", r)
	}
	r := deliver(1, no)
	if !r.Replies[0].Permanent() || r.Replies[0].Stage != relay.StageBody || !r.HeldSince.IsZero() {
		t.Errorf("the second time: %+v", r)
	}
	if len(h.told) != 2 || !h.told[0] || h.told[1] || len(tr.HeldRoutes()) != 0 {
		t.Errorf("told %v, held %v", h.told, tr.HeldRoutes())
	}
}

// Many messages of one identity that the smart host refuses in such words hold
// others' mail once; each of them waits alone, then is returned.
func TestManyBadMessagesOfAnIdentity(t *testing.T) {
	tr, srv, h := openHost(t, mxtest.Config{}, time.Nanosecond)
	deliver := func(id uint64, identity, to string) relay.Result {
		t.Helper()
		job := task(t, letter, to)
		job.Message.ID, job.Message.Identity = relay.QueueID{Key: id}, identity
		return tr.Deliver(t.Context(), job)
	}
	if err := srv.Script("rcpt:*@bad.test", "554 5.7.1 Relay access denied", 0); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(20) {
		bad := deliver(10+i, "shop", "x@bad.test")
		if bad.Replies[0].Permanent() || bad.HeldSince.IsZero() == (i == 0) {
			t.Fatalf("bad message %d: %+v", i, bad)
		}
		if r := deliver(100+i, "office", "b@good.test"); !r.Replies[0].Positive() {
			t.Fatalf("good message %d: %+v", i, r)
		}
	}
	if r := deliver(10, "shop", "x@bad.test"); !r.Replies[0].Permanent() || r.Replies[0].Code != 554 {
		t.Errorf("the second time: %+v", r)
	}
	if len(h.told) != 2 {
		t.Errorf("told %v", h.told)
	}
}

// A recipient that is refused beside others who are taken is no trouble of the
// account, but waits once before the refusal stands.
func TestOneRecipientHoldsNothing(t *testing.T) {
	tr, srv, _ := openHost(t, mxtest.Config{}, time.Nanosecond)
	if err := srv.Script("rcpt:*@bad.test", "554 5.7.1 Relay access denied", 0); err != nil {
		t.Fatal(err)
	}
	job := task(t, letter, "x@bad.test", "y@bad.test", "b@good.test")
	job.Message.ID.Key = 1
	r := tr.Deliver(t.Context(), job)
	if !r.HeldSince.IsZero() || len(tr.HeldRoutes()) != 0 || r.Replies[0].Permanent() || r.Replies[1].Permanent() || !r.Replies[2].Positive() {
		t.Errorf("%+v", r)
	}
}

// openHost is a transport with one route without a login to a server.
func openHost(t *testing.T, cfg mxtest.Config, probe time.Duration) (*mx.Transport, *mxtest.Server, *holds) {
	t.Helper()
	srv, err := mxtest.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	h := &holds{}
	tr, err := mx.NewTransport(mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, HoldProbe: probe, OnHold: h.note, IdleTimeout: -1,
		OwnAddress: path(t, "a@example.org"), Routes: []mx.Route{{Name: "office", To: []string{"*"}, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(srv.Port())}}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr, srv, h
}
