package tlspolicy

import (
	"strings"
	"testing"
	"time"
)

func TestSTSRecord(t *testing.T) {
	for record, want := range map[string]string{
		"v=STSv1; id=20160831085700Z;":           "20160831085700Z",
		"v=STSv1;id=1":                           "1",
		"v=STSv1 ; x=y; id = a":                  "a",
		"v=STSv1; id=;":                          "",
		"v=STSv1;":                               "",
		"v=STSv1":                                "",
		"v=STSv2; id=1":                          "",
		"v=STSv10; id=1":                         "",
		"id=1; v=STSv1":                          "",
		"v=STSv1; id=a-b":                        "",
		"v=STSv1; id=" + strings.Repeat("a", 33): "",
		"":                                       "",
	} {
		if id, ok := parseSTSRecord([]string{"v=spf1 -all", record}); id != want || ok != (want != "") {
			t.Errorf("%q: %q %v", record, id, ok)
		}
	}
	if id, ok := parseSTSRecord([]string{"v=STSv1; id=1", "v=STSv1; id=2"}); ok {
		t.Errorf("two records: %q", id)
	}
}

func TestSTSPolicyText(t *testing.T) {
	const good = "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 86400\n"
	for name, c := range map[string]struct {
		body string
		ok   bool
	}{
		"good":           {good, true},
		"CRLF":           {strings.ReplaceAll(good, "\n", "\r\n"), true},
		"no end":         {strings.TrimSpace(good), true},
		"more fields":    {good + "new: x\n\n", true},
		"no version":     {strings.Replace(good, "version: STSv1\n", "", 1), false},
		"version":        {strings.Replace(good, "STSv1", "STSv2", 1), false},
		"no mx":          {strings.Replace(good, "mx: a.test\n", "", 1), false},
		"none, no mx":    {"version: STSv1\nmode: none\nmax_age: 1\n", true},
		"mx *":           {strings.Replace(good, "a.test", "*", 1), false},
		"mx *.*.test":    {strings.Replace(good, "a.test", "*.*.test", 1), false},
		"mx a.*.test":    {strings.Replace(good, "a.test", "a.*.test", 1), false},
		"mx [192.0.2.1]": {strings.Replace(good, "a.test", "[192.0.2.1]", 1), false},
		"no max_age":     {strings.Replace(good, "max_age", "max", 1), false},
		"negative":       {strings.Replace(good, "86400", "-1", 1), false},
		"huge":           {strings.Replace(good, "86400", "4000000000", 1), true},
		"overflow":       {strings.Replace(good, "86400", "99999999999999999999", 1), false},
		"no colon":       {good + "what\n", false},
		"HTML":           {"<html>", false},
		"too long":       {good + strings.Repeat("x: y\n", 20_000), false},
		"too many":       {good + strings.Repeat("mx: a.test\n", 2000), false},
	} {
		p, err := parseSTSPolicy([]byte(c.body))
		if (err == nil) != c.ok {
			t.Errorf("%s: %+v %v", name, p, err)
		}
		if err == nil && p.MaxAge > maxPolicyAge {
			t.Errorf("%s: %v", name, p.MaxAge)
		}
	}
}

func TestSTSPatterns(t *testing.T) {
	p := &STSPolicy{MX: []string{"mx.a.test", "*.b.test"}}
	for host, want := range map[string]bool{
		"mx.a.test": true, "MX.A.test.": true, "a.test": false, "x.mx.a.test": false,
		"1.b.test": true, "b.test": false, "1.2.b.test": false, "xb.test": false, "": false, ".b.test": true, "*.b.test": true,
	} {
		if p.Allows(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}

func TestSTSExpiry(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := &STSPolicy{Fetched: now, MaxAge: time.Hour}
	for after, want := range map[time.Duration]bool{0: false, time.Hour: false, time.Hour + 1: true, -59 * time.Minute: false, -2 * time.Hour: true} {
		if p.expired(now.Add(after)) != want {
			t.Errorf("after %v: %v", after, !want)
		}
	}
}

func FuzzSTSPolicy(f *testing.F) {
	f.Add([]byte("version: STSv1\nmode: enforce\nmx: *.a.test\nmax_age: 86400\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parseSTSPolicy(body)
		if err != nil {
			return
		}
		again, err := parseSTSPolicy([]byte(strings.Join(p.lines(), "\n")))
		if err != nil || again.Mode != p.Mode || len(again.MX) != len(p.MX) || again.MaxAge != p.MaxAge {
			t.Errorf("%+v became %+v: %v", p, again, err)
		}
	})
}
