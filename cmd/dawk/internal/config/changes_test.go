package config

import (
	"reflect"
	"strings"
	"testing"
)

// Every key that differs is named, in its section, with both values.
func TestChanges(t *testing.T) {
	parse := func(text string) *Config {
		t.Helper()
		c, err := parseConfig("dawk.toml", []byte("hostname = \"relay.example.org\"\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const route = "[[route]]\nname = \"office\"\nto = [\"*\"]\nvia = [\"smtp.example.net\"]\nuser = \"a\"\n"
	one := parse("[queue]\nretry = [\"5m\"]\n[delivery.timeouts]\nconnect = \"30s\"\n" + route)
	two := parse("[queue]\nretry = [\"1m\", \"1h\"]\nmax_age = \"1d\"\n[delivery.timeouts]\nconnect = \"20s\"\n" +
		route + "ip = \"4\"\n[[dkim]]\ndomain = \"example.org\"\nselector = \"a\"\nkey = \"k\"\n")
	next, changes := one.TakeOver(two)
	var got []string
	for _, c := range changes {
		line := c.Key + ": " + c.From + " → " + c.To
		if c.Restart {
			line += " (restart)"
		}
		got = append(got, line)
	}
	want := []string{
		"delivery.timeouts.connect: 30s → 20s (restart)",
		"dkim[example.org].domain:  → example.org (restart)", "dkim[example.org].key:  → k (restart)", "dkim[example.org].selector:  → a (restart)",
		"queue.max_age: 5d → 1d", "queue.retry: [5m] → [1m 1h]",
		"route[office].ip:  → 4 (restart)",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(next.Queue.Retry) != 2 || next.Delivery.Timeouts != one.Delivery.Timeouts || len(next.DKIM) != 0 {
		t.Errorf("in force: %+v", next)
	}
	if _, changes := two.TakeOver(two); len(changes) != 0 {
		t.Errorf("a configuration differs from itself: %v", changes)
	}
}

// Every key that a running relay takes over is one of the file, and taking it over
// leaves no difference in it.
func TestLiveKeys(t *testing.T) {
	next := &Config{Queue: newQueueConfig(), Delivery: newDeliveryConfig(), Bounce: BounceConfig{Language: "de", Templates: "t", Limit: "1/h", DelayEnded: true}}
	all := map[string]string{}
	valuesOf(reflect.ValueOf(*next), "", all)
	for key, take := range live {
		if _, ok := all[key]; !ok {
			t.Errorf("%s is no key", key)
		}
		var out Config
		take(&out, next)
		for _, c := range out.changes(next) {
			if c.Key == key {
				t.Errorf("%s was not taken over: %+v", key, c)
			}
		}
	}
}
