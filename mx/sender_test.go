package mx_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/replies"
)

// tokens gives one after the other, then an error.
type tokens struct {
	mu   sync.Mutex
	left []string
	err  error
}

func (s *tokens) Token(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) == 0 {
		return "", s.err
	}
	return s.left[0], nil
}

func (s *tokens) Refused(string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = s.left[1:]
	return true
}

// Two tokens were fetched while the login was good and ended with it: what is
// told is why there is no third, not that the second was refused.
func TestTheReasonForNoTokenIsTold(t *testing.T) {
	s := &tokens{left: []string{"bad1", "bad2"}, err: errors.New("AADSTS7000215: wrong secret")}
	tr, srv, h := smartHost(t, mxtest.Config{Auth: "XOAUTH2", Good: isGood, Users: map[string]string{}}, mx.Route{Token: true, Credential: s}, 0)
	r := tr.Deliver(t.Context(), task(t, letter, "b@b.test"))
	if r.HeldSince.IsZero() || !strings.Contains(r.Replies[0].Text, "AADSTS7000215") || srv.Sessions() != 2 || len(h.told) != 1 {
		t.Errorf("%+v, %d sessions, %v", r, srv.Sessions(), h.told)
	}
}

// A host that accepts no token is not asked for ever.
func TestLoginsEnd(t *testing.T) {
	s := &tokens{left: []string{"bad1", "bad2", "bad3", "bad4", "bad5"}}
	tr, srv, _ := smartHost(t, mxtest.Config{Auth: "XOAUTH2", Good: isGood, Users: map[string]string{}}, mx.Route{Token: true, Credential: s}, 0)
	if r := tr.Deliver(t.Context(), task(t, letter, "b@b.test")); r.HeldSince.IsZero() || srv.Sessions() != 3 {
		t.Errorf("%+v, %d sessions", r, srv.Sessions())
	}
}

// What a rewritten message looks like, octet by octet.
func TestRewrittenFrom(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"a name", "From: \"The <Boss>\" <boss@example.net>\r\nSubject: x\r\n\r\nbody\r\n",
			"From: \"The <Boss>\" <scanner@example.org>\r\nReply-To: \"The <Boss>\" <boss@example.net>\r\nX-Original-From: \"The <Boss>\" <boss@example.net>\r\nSubject: x\r\n\r\nbody\r\n"},
		{"folded, with a Sender and signatures", "DKIM-Signature: v=1;\r\n b=abc\r\nFrom: Boss\r\n <boss@example.net>\r\nSender: x@example.net\r\n\r\nbody\r\n",
			"From: Boss <scanner@example.org>\r\nReply-To: Boss\r\n <boss@example.net>\r\nX-Original-From: Boss\r\n <boss@example.net>\r\nX-Original-Sender: x@example.net\r\n\r\nbody\r\n"},
		{"a name that is an address", "From: \"boss@bank.example\" <boss@example.net>\r\n\r\n",
			"From: <scanner@example.org>\r\nReply-To: \"boss@bank.example\" <boss@example.net>\r\nX-Original-From: \"boss@bank.example\" <boss@example.net>\r\n\r\n"},
		{"no From", "Subject: x\r\n\r\nbody\r\n", "Subject: x\r\nFrom: <scanner@example.org>\r\n\r\nbody\r\n"},
		{"a From that is none", "From: nobody\r\n\r\nbody\r\n", "From: <scanner@example.org>\r\nX-Original-From: nobody\r\n\r\nbody\r\n"},
		{"answers elsewhere", "From: boss@example.net\r\nReply-To: desk@example.net\r\n\r\n",
			"From: <scanner@example.org>\r\nX-Original-From: boss@example.net\r\nReply-To: desk@example.net\r\n\r\n"},
		{"the mailbox's own", "From: Scanner <SCANNER@example.org>\r\n\r\nbody\r\n", "From: Scanner <SCANNER@example.org>\r\n\r\nbody\r\n"},
		{"large", "From: boss@example.net\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 5000),
			"From: <scanner@example.org>\r\nReply-To: boss@example.net\r\nX-Original-From: boss@example.net\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 5000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, srv, _ := smartHost(t, mxtest.Config{Users: map[string]string{"scanner@example.org": "p"}}, mx.Route{Password: "p", Rewrite: mx.RewriteAlways}, 0)
			k := task(t, c.in, "b@b.test")
			k.Message.From = path(t, "scanner@example.org")
			if r := tr.Deliver(t.Context(), k); !r.Replies[0].Positive() {
				t.Fatal(r.Replies[0])
			}
			if got := string(srv.Messages()[0].Data); got != c.out {
				t.Errorf("got  %q\nwant %q", clip(got), clip(c.out))
			}
			if k.Message.From != path(t, "scanner@example.org") {
				t.Error("the message itself was changed")
			}
		})
	}
}

func clip(s string) string { return s[:min(len(s), 400)] }

// What was converted for a host without 8BITMIME, and is then refused for its
// sender, is converted anew as it goes out.
func TestRewrittenFromIsConvertedAnew(t *testing.T) {
	srv, err := mxtest.NewServer(mxtest.Config{Users: map[string]string{"scanner@example.org": "p"}, Extensions: []string{"PIPELINING"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	if err := srv.Script("mail:boss@example.net", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", 0); err != nil {
		t.Fatal(err)
	}
	converted := 0
	tr, err := mx.NewTransport(mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, IdleTimeout: -1,
		SevenBit: func(_ *relay.Message, c relay.Content) (relay.Content, error) {
			converted++
			b := make([]byte, c.Size())
			_, err := c.ReadAt(b, 0)
			return newContent("X-Converted: yes\r\n" + strings.ReplaceAll(string(b), "\xff", "?")), err
		},
		Routes: []mx.Route{{Name: "office", To: []string{"*"}, User: "scanner@example.org", Password: "p", Provider: replies.ProviderMicrosoft,
			Rewrite: mx.RewriteDenied, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(srv.Port())}}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	k := task(t, "From: boss@example.net\r\n\r\nGr\xff\xff\r\n", "b@b.test")
	k.Message.From, k.Message.EightBit = path(t, "boss@example.net"), true
	if r := tr.Deliver(t.Context(), k); !r.Replies[0].Positive() {
		t.Fatal(r.Replies[0])
	}
	if got := string(srv.Messages()[0].Data); converted != 2 || !strings.HasPrefix(got, "X-Converted: yes\r\nFrom: <scanner@example.org>\r\n") {
		t.Errorf("converted %d times: %q", converted, got)
	}
}

// Whose mail is refused for its sender is known by the configuration alone.
func TestRefusedSenders(t *testing.T) {
	for _, c := range []struct {
		route      mx.Route
		path, from string
		refused    bool
	}{
		{mx.Route{}, "a@example.net", "a@example.net", false}, // nobody knows
		{mx.Route{SendAsKnown: true}, "scanner@EXAMPLE.org", "Scanner@example.org", false},
		{mx.Route{SendAsKnown: true}, "a@example.net", "scanner@example.org", true},
		{mx.Route{SendAsKnown: true}, "scanner@example.org", "a@example.net", true},
		{mx.Route{SendAsKnown: true, SendAs: []string{"example.net"}}, "a@example.net", "b@example.net", false},
		{mx.Route{SendAsKnown: true, SendAs: []string{"*"}}, "a@example.net", "b@example.com", false},
		{mx.Route{SendAsKnown: true, Rewrite: mx.RewriteDenied}, "a@example.net", "a@example.net", false},
	} {
		c.route.Password = "p"
		tr, _, _ := smartHost(t, mxtest.Config{}, c.route, 0)
		k := task(t, "From: "+c.from+"\r\n\r\n", "b@b.test")
		k.Message.From = path(t, c.path)
		why, err := tr.Refuses(k.Message, k.Content)
		if err != nil || (why != "") != c.refused {
			t.Errorf("%+v: %q, %v", c, why, err)
		}
		notice := &relay.Message{Notice: true, Envelope: relay.Envelope{Recipients: k.Message.Recipients}}
		if why, err := tr.Refuses(notice, k.Content); why != "" || err != nil {
			t.Errorf("a notice of ours is refused: %q, %v", why, err)
		}
	}
}

// 9,990 of 10,000 recipients are gone when the relay restarts: ten are left.
func TestBudgetOutlivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "budgets.json")
		open := func() *mx.Transport {
			tr, err := mx.NewTransport(mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, BudgetFile: file, Routes: []mx.Route{{
				Name: "a", To: []string{"*"}, User: "one@example.org", Password: "x", Via: []mx.Hop{{Host: "127.0.0.1", Port: 25}},
				Provider: replies.ProviderGoogle, Budget: shaping.Budget{MessagesPerDay: 1000}}}})
			if err != nil {
				t.Fatal(err)
			}
			return tr
		}
		tr := open()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go tr.Run(ctx)
		for range 990 {
			if wait := tr.Reserve("route:a"); !wait.IsZero() {
				t.Fatal(wait)
			}
		}
		time.Sleep(11 * time.Second) // the bubble's clock: they are on disk
		saved, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tr.Reserve("route:a")
		stop()
		synctest.Wait() // Run has ended
		tr.Close()
		if err := os.WriteFile(file, saved, 0o600); err != nil { // as after a power cut
			t.Fatal(err)
		}
		tr = open()
		for range 10 {
			if wait := tr.Reserve("route:a"); !wait.IsZero() {
				t.Fatal("fewer than ten were left")
			}
		}
		wait := tr.Reserve("route:a")
		if d := time.Until(wait); d < 23*time.Hour || d > 24*time.Hour+2*time.Minute {
			t.Errorf("the next waits %v", d)
		}
		if got := tr.Budgets(); len(got) != 1 || got[0].Used.MessagesPerDay != 1000 || !got[0].Until.Equal(wait) {
			t.Errorf("%+v", got)
		}
		tr.Close()
		time.Sleep(25 * time.Hour)
		tr = open()
		if wait := tr.Reserve("route:a"); !wait.IsZero() {
			t.Errorf("it waits until %v for what is older than a day", wait)
		}
		tr.Close()
		if err := os.WriteFile(file, []byte("{damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		tr = open()
		if wait := tr.Reserve("route:a"); !wait.IsZero() {
			t.Error("a damaged file stops the mail")
		}
		tr.Close()
	})
}

// A process that is killed has counted everything that it began to send; a power
// cut may leave what was written without a sync in any form.
func TestBudgetOutlivesAKill(t *testing.T) {
	for _, c := range []struct {
		name   string
		latest func([]byte) []byte // what is found of the second file
		used   int
	}{
		{"killed", func(b []byte) []byte { return b }, 7},
		{"killed before it was ever synced", nil, 7},
		{"power cut", func([]byte) []byte { return nil }, 5},
		{"power cut in the middle of it", func(b []byte) []byte { return b[:len(b)/2] }, 5},
		{"power cut, and it is older", func([]byte) []byte { return []byte(`{}`) }, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, after := t.TempDir(), t.TempDir()
				open := func(dir string) *mx.Transport {
					tr, err := mx.NewTransport(mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, BudgetFile: filepath.Join(dir, "budgets.json"), Routes: []mx.Route{{
						Name: "a", To: []string{"*"}, User: "one@example.org", Password: "x", Via: []mx.Hop{{Host: "127.0.0.1", Port: 25}},
						Provider: replies.ProviderGoogle, Budget: shaping.Budget{MessagesPerDay: 1000, PerMinute: 100}}}})
					if err != nil {
						t.Fatal(err)
					}
					return tr
				}
				tr := open(dir)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				go tr.Run(ctx)
				for range 5 {
					tr.Reserve("route:a")
				}
				time.Sleep(11 * time.Second) // the bubble's clock: they are synced
				tr.Reserve("route:a")
				tr.Reserve("route:a")
				synctest.Wait()
				for _, name := range []string{"budgets.json", "budgets.json.latest"} {
					b, err := os.ReadFile(filepath.Join(dir, name))
					if err != nil {
						t.Fatal(err)
					}
					if name == "budgets.json" && c.latest == nil {
						continue
					}
					if name != "budgets.json" && c.latest != nil {
						b = c.latest(b)
					}
					if err := os.WriteFile(filepath.Join(after, name), b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				stop()
				synctest.Wait() // Run has ended
				tr.Close()
				tr = open(after)
				defer tr.Close()
				if got := tr.Budgets()[0].Used; got.MessagesPerDay != c.used || got.PerMinute != c.used {
					t.Errorf("%+v are counted, want %d", got, c.used)
				}
			})
		})
	}
}
