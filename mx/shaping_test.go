package mx_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/shaping"
	"dawk/relay"
)

func TestProviderOfHost(t *testing.T) {
	s, err := shaping.New(0, []shaping.Rule{
		{Name: "partner", MX: []string{"*.example.net", "mx.customer.example"}},
		{Name: "inner", MX: []string{"*.deep.example.net", "odd.example.net"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"aspmx.l.google.com": "google", "alt4.gmail-smtp-in.l.google.com": "google", "aspmx2.googlemail.com": "google",
		"google.com":                              "google.com", // not a host below it
		"evilgoogle.com":                          "evilgoogle.com",
		"mx.google.com.evil.example":              "evil.example",
		"example-org.mail.protection.outlook.com": "microsoft",
		"outlook-com.olc.protection.outlook.com":  "outlook", // the longest match
		"mta5.am0.yahoodns.net":                   "yahoo",
		"mx.example.net":                          "partner", "a.b.deep.example.net": "inner", "odd.example.net": "inner", "x.odd.example.net": "partner",
		"mx.customer.example": "partner", "mx2.customer.example": "customer.example",
		// By registration where no rule knows: never a whole public suffix.
		"mx1.hosting.co.uk": "hosting.co.uk", "mx2.other.co.uk": "other.co.uk",
		"192.0.2.1": "192.0.2.0/24", "192.0.2.250": "192.0.2.0/24", "::ffff:192.0.2.7": "192.0.2.0/24", "localhost": "localhost",
		"2001:db8::1": "2001:db8::/64", "2001:db8::2:1": "2001:db8::/64", "2001:db8:0:1::1": "2001:db8:0:1::/64",
	} {
		if got := s.Provider(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

func TestRulesOverrideEachKnobAlone(t *testing.T) {
	minute := relay.Rate{N: 100, Per: time.Minute}
	s, err := shaping.New(20, []shaping.Rule{
		{Name: "google", Rate: minute}, {Name: "comcast", Connections: 40, MessagesPerConnection: 7},
		{Name: "mine", MX: []string{"*.example.net"}, RecipientRate: minute},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := s.Rule("google"); r.Rate != minute || r.Connections != 20 || r.MessagesPerConnection != 50 || len(r.MX) == 0 {
		t.Errorf("%+v", r)
	}
	if r := s.Rule("comcast"); r.Connections != 40 || r.MessagesPerConnection != 7 {
		t.Errorf("%+v", r)
	}
	if r := s.Rule("orange"); r.Connections != r.Documented || r.Documented == 0 {
		t.Errorf("what is documented does not lower the default: %+v", r)
	}
	if r := s.Rule("outlook"); r.Connections != 20 {
		t.Errorf("what is documented raises the default: %+v", r)
	}
	if r := s.Rule("mine"); r.RecipientRate != minute || r.Connections != 20 {
		t.Errorf("%+v", r)
	}
	if r := s.Rule("whoever.example"); r.Connections != 20 {
		t.Errorf("%+v", r)
	}
	if !s.Known("mine") || s.Known("whoever.example") || !slices.Contains(s.Names(), "mine") {
		t.Error("the closed set of names is wrong")
	}
	again, _ := shaping.New(0, []shaping.Rule{{Name: "google", Rate: relay.Rate{N: -1}}})
	if r := again.Rule("google"); r.Rate != (relay.Rate{}) {
		t.Errorf("%+v", r)
	}
}

// The shipped rules agree with each other and with their page.
func TestShippedRules(t *testing.T) {
	page, err := os.ReadFile("../docs/shaping.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shaping.New(0, nil); err != nil {
		t.Error(err)
	}
	for _, r := range shaping.ShippedRules() {
		var hosts []string
		for _, p := range r.MX {
			if err := shaping.ValidMXPattern(p); err != nil {
				t.Errorf("%s: %v", r.Name, err)
			}
			hosts = append(hosts, "`"+p+"`")
		}
		number := func(n int) string {
			if n == 0 {
				return "–"
			}
			return fmt.Sprint(n)
		}
		row := fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |", r.Name, strings.Join(hosts, " "),
			number(r.Documented), number(r.MessagesPerConnection), cmp.Or(r.Checked, "–"), cmp.Or(r.Source, "–"))
		if (r.Checked == "") != (r.Source == "") || r.Documented > 0 && r.Source == "" {
			t.Errorf("%s: a fact needs its page and its date", r.Name)
		}
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/shaping.md lacks the row\n%s", row)
		}
	}
}

// slots is a relay.Admission that allows so many at a provider.
type slots struct {
	mu    sync.Mutex
	allow map[string]bool
	has   string
	asked []string
}

func (s *slots) Provider() string { return s.has }
func (s *slots) Admit(p string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, p)
	return s.allow[p]
}

// Nothing is connected to before the provider of the host agrees; and hosts of
// another provider are tried when it does.
func TestNothingIsConnectedToWithoutLeave(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	if err := w.dns.Add("c.test. MX 10 mx.one.test.\nc.test. MX 20 mx.two.test.\nmx.one.test. A 127.0.0.3\nmx.two.test. A 127.0.0.1\n"); err != nil {
		t.Fatal(err)
	}
	to := func(s *slots) relay.Task {
		task := task(t, letter, "x@c.test")
		task.Destination, task.Admission = "c.test", s
		return task
	}
	s := &slots{}
	res := w.tr.Deliver(context.Background(), to(s))
	if res.Provider != "" || w.srv.Sessions() != 0 || !slices.Equal(s.asked, []string{"one.test"}) || w.tr.Provider("c.test") != "one.test" {
		t.Errorf("turned back: %+v, %d sessions, asked for %v, remembered %q", res, w.srv.Sessions(), s.asked, w.tr.Provider("c.test"))
	}
	s = &slots{allow: map[string]bool{"one.test": true}} // its host is down, and the other's provider is busy
	res = w.tr.Deliver(context.Background(), to(s))
	if r := res.Replies[0]; r.Positive() || r.Stage != relay.StageConnect || !strings.Contains(r.Text, "connections to provider two.test are in use") || w.srv.Sessions() != 0 {
		t.Errorf("%+v, %d sessions", res, w.srv.Sessions())
	}
	s = &slots{allow: map[string]bool{"one.test": true, "two.test": true}}
	res = w.tr.Deliver(context.Background(), to(s))
	if !res.Replies[0].Positive() || res.Provider != "two.test" || !slices.Equal(s.asked, []string{"one.test", "two.test"}) {
		t.Errorf("%+v, asked for %v", res, s.asked)
	}
}

// Of hosts that are equally good, those of the provider whose connection the
// attempt has come first: nothing is traded for no reason.
func TestHostsOfTheProviderAtHandComeFirst(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	if err := w.dns.Add("c.test. MX 10 mx.one.test.\nc.test. MX 10 mx.two.test.\nmx.one.test. A 127.0.0.1\nmx.two.test. A 127.0.0.1\n"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		s := &slots{allow: map[string]bool{"one.test": true, "two.test": true}, has: "two.test"}
		task := task(t, letter, "x@c.test")
		task.Destination, task.Admission = "c.test", s
		if res := w.tr.Deliver(context.Background(), task); res.Provider != "two.test" || !res.Replies[0].Positive() {
			t.Fatalf("%+v", res)
		}
	}
}

func TestMessagesPerConnectionByProvider(t *testing.T) {
	shaping, err := shaping.New(0, []shaping.Rule{{Name: "b", MX: []string{"*.b.test"}, MessagesPerConnection: 2}})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, mxtest.Config{}, func(c *mx.Config) { c.Shaping = shaping })
	for range 6 {
		if res := w.deliver(task(t, letter, "x@b.test")); !res.Replies[0].Positive() {
			t.Fatalf("%+v", res)
		}
	}
	if n := w.srv.Sessions(); n != 3 {
		t.Errorf("%d connections for 6 messages, want 3", n)
	}
}
