package config

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"dawk/cmd/dawk/internal/config/section"
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
	one := parse("data_dir = \"/a\"\n[queue]\nretry = [\"5m\"]\n[delivery.timeouts]\nconnect = \"30s\"\n" + route)
	two := parse("data_dir = \"/b\"\n[queue]\nretry = [\"1m\", \"1h\"]\nmax_age = \"1d\"\n[delivery.timeouts]\nconnect = \"20s\"\n" +
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
		"data_dir: /a → /b (restart)",
		"delivery.timeouts.connect: 30s → 20s",
		"dkim[example.org].domain:  → example.org", "dkim[example.org].key:  → k", "dkim[example.org].selector:  → a",
		"queue.max_age: 5d → 1d", "queue.retry: [5m] → [1m 1h]",
		"route[office].ip:  → 4",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(next.Queue.Retry) != 2 || next.Delivery.Timeouts != two.Delivery.Timeouts || len(next.DKIM) != 1 || next.DataDir != "/a" {
		t.Errorf("in force: %+v", next)
	}
	if _, changes := two.TakeOver(two); len(changes) != 0 {
		t.Errorf("a configuration differs from itself: %v", changes)
	}
}

// Every key that needs a restart is one of the file, and keeping its value leaves no
// difference in it.
func TestRestartKeys(t *testing.T) {
	from := newConfig()
	from.Queue.DSNFile, from.Queue.AllowAsync, from.Cluster.Node = "f", true, 1
	from.Queue.MinFree, from.Queue.MaxSize, from.Admin.Socket, from.Admin.Group = 1, 1, "s", "g"
	from.ReturnPath = ReturnPathConfig{Domain: "d", Listener: "l", Complaints: "c", Valid: 1, Forward: true}
	all := map[string]string{}
	section.Values(reflect.ValueOf(*from), "", all)
	for key, keep := range restart {
		if _, ok := all[key]; !ok {
			t.Errorf("%s is no key", key)
		}
		var out Config
		keep(&out, from)
		for _, c := range out.changes(from) {
			if c.Key == key {
				t.Errorf("%s was not kept: %+v", key, c)
			}
		}
	}
}

// docs/lifecycle.md names every key that needs a restart.
func TestRestartKeysAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/lifecycle.md")
	if err != nil {
		t.Fatal(err)
	}
	_, row, _ := strings.Cut(string(page), "| `data_dir`; ")
	row, _, _ = strings.Cut("`data_dir`; "+row, " | ")
	for key := range restart {
		section, name, in := strings.Cut(key, ".")
		if !in && strings.Contains(row, "`"+section+"`") || in && strings.Contains(row, "`["+section+"]`; ") && !strings.Contains(row, " of `["+section+"]`") {
			continue // by itself, or with its whole section
		}
		if !strings.Contains(row, "`["+section+"] "+name+"`") && !(strings.Contains(row, "`"+name+"`") && strings.Contains(row, " of `["+section+"]`")) {
			t.Errorf("docs/lifecycle.md does not say that %s needs a restart", key)
		}
	}
}
