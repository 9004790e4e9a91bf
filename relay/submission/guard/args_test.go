package guard

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"dawk/relay"
)

func mustPath(t *testing.T, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestParseMail(t *testing.T) {
	cfg := &Config{MaxSize: 1000, RequireTLS: true, MaxHold: time.Hour}
	for _, c := range []struct {
		arg  string
		want Mail
	}{
		{"FROM:<>", Mail{}},
		{"from:<a@example.org>", Mail{From: mustPath(t, "a@example.org")}},
		{"FROM:  <@x.test,@y.test:a@example.org>  SIZE=1000  ", Mail{From: mustPath(t, "a@example.org"), Size: 1000}},
		{`FROM:<"a>b\"c"@example.org> RET=full`, Mail{From: mustPath(t, `"a>b\"c"@example.org`), Ret: relay.RetFull}},
		{"FROM:<a@[192.0.2.1]> BODY=7bit ENVID=a+2Bb+20c", Mail{From: mustPath(t, "a@[192.0.2.1]"), Body: relay.Body7Bit, EnvID: "a+b c"}},
		{"FROM:<দূত@example.org> SMTPUTF8", Mail{From: mustPath(t, "দূত@example.org"), SMTPUTF8: true}},
		{"FROM:<a@例え.test> smtputf8 BODY=8BITMIME", Mail{From: mustPath(t, "a@xn--r8jz45g.test"), SMTPUTF8: true, Body: relay.Body8BitMIME}},
		{"FROM:<a@example.org> AUTH=a+40b.test AUTHX", Mail{}},
		{`FROM:<a@example.org> AUTH=<a b> AUTH="c d" AUTH= AUTH=e=f AUTH=<g SIZE=7`, Mail{From: mustPath(t, "a@example.org"), Size: 7}},
		{"FROM \t:\ta@example.org\tSIZE=7", Mail{From: mustPath(t, "a@example.org"), Size: 7}},
		{`FROM:"a b"@example.org SIZE=7`, Mail{From: mustPath(t, `"a b"@example.org`), Size: 7}},
		{"FROM:< a@example.org > SIZE=7", Mail{From: mustPath(t, "a@example.org"), Size: 7}},
		{"FROM:< >", Mail{From: mustPath(t, "")}},
		{"FROM: SIZE=7", Mail{}},
		{"FROM:<a@example.org> AUTH=b@example.org REQUIRETLS", Mail{From: mustPath(t, "a@example.org"), RequireTLS: true}},
		{"FROM:<a@example.org> HOLDFOR=60", Mail{From: mustPath(t, "a@example.org"), NotBefore: noon.Add(time.Minute)}},
		{"FROM:<a@example.org> HOLDUNTIL=2026-01-01T14:30:00+02:00", Mail{From: mustPath(t, "a@example.org"), NotBefore: noon.Add(30 * time.Minute)}},
	} {
		got, bad := parseMail(c.arg, cfg, standing{tls: true, now: noon})
		if c.want == (Mail{}) && c.arg != "FROM:<>" && c.arg != "FROM:< >" {
			if bad == nil {
				t.Errorf("%s: accepted", c.arg)
			}
			continue
		}
		if bad != nil || !got.NotBefore.Equal(c.want.NotBefore) {
			t.Errorf("%s: %v %v", c.arg, got, bad)
		}
		got.NotBefore = c.want.NotBefore
		if got != c.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.arg, got, c.want)
		}
	}
}

func TestMailRefusals(t *testing.T) {
	cfg := &Config{MaxSize: 1000, RequireTLS: true, MaxHold: time.Hour}
	for arg, want := range map[string]string{
		"FROM:<a@example.org> SIZE=-1":                           "501 5.5.4",
		"FROM:<a@example.org> SIZE=":                             "501 5.5.4 parameter SIZE ",
		"FROM:<a@example.org> envid=":                            "501 5.5.4 parameter ENVID ",
		"FROM:Foo <a@example.org>":                               "501 5.5.4 expected one address",
		"FROM:<a@example.org> SIZE=1001":                         "552 5.3.4",
		"FROM:<a@example.org> SIZE=123456789012345678901":        "501 5.5.4",
		"FROM:<a@example.org> =1":                                "501 5.5.4",
		"FROM:<a@example.org> A=b=c":                             "501 5.5.4 parameter A ",
		"FROM:<a@example.org> SMTPUTF8=yes":                      "501 5.5.4",
		"FROM:<a@example.org> SMTPUTF8 smtputf8":                 "501 5.5.4",
		"FROM:<a@example.org> RET=BODY":                          "501 5.5.4",
		"FROM:<a@example.org> ENVID=a+2":                         "501 5.5.4",
		"FROM:<a@example.org> ENVID=a+2b":                        "501 5.5.4",
		"FROM:<a@example.org> ENVID=a+0A":                        "501 5.5.4",
		"FROM:<a@example.org> ENVID=" + strings.Repeat("x", 101): "501 5.5.4",
		"FROM:<a@example.org> REQUIRETLS=1":                      "501 5.5.4",
		"FROM:<a@example.org> REQUIRETLS":                        "530 5.7.10",
		"FROM:<a@example.org> HOLDFOR=0":                         "501 5.5.4",
		"FROM:<a@example.org> HOLDFOR=3601":                      "501 5.5.4",
		"FROM:<a@example.org> HOLDUNTIL=tomorrow":                "501 5.5.4",
		"FROM:<a@example.org> BY=60;R":                           "555 5.5.4",
		"FROM:<a@example.org> XVERP":                             "555 5.5.4",
		"FROM:<" + strings.Repeat("x", 998) + "@example.org>":    "501 5.1.3",
		"FROM:a":                   "501 5.1.3",
		"FROM:<a>":                 "501 5.1.3",
		"FROM:<a@example.org":      "501 5.5.4",
		"FROM:a@example.org>":      "501 5.1.3",
		"FROM:A <a@example.org>":   "501 5.5.4",
		"FROM:<A <a@example.org>>": "501 5.1.3",
		"FROM":                     "501 5.5.4",
		"FROM <a@example.org>":     "501 5.5.4",
		"FROM:<a@" + strings.Repeat("x.", 130) + "org>":                "501 5.1.3",
		"FROM:<a@example.org> <b@example.org>":                         "501 5.5.4",
		"FROM:<a@例え.test>":                                             "553 5.6.7",
		`FROM:<"a@example.org>`:                                        "501 5.5.4",
		"FROM:<a@example.org>\u00a0SIZE=1":                             "501 5.5.4",
		"FROM:<a@example.org> ORCPT=rfc822;b@example.org NOTIFY=NEVER": "555 5.5.4",
	} {
		if m, bad := parseMail(arg, cfg, standing{now: noon}); bad == nil || !strings.HasPrefix(bad.String(), want) {
			t.Errorf("%s: %v (%+v), wanted %s", arg, bad, m, want)
		}
	}
}

func TestParseRcpt(t *testing.T) {
	for _, c := range []struct {
		arg  string
		utf8 bool
		want *relay.Recipient
	}{
		{"TO:<b@example.com>", false, &relay.Recipient{Path: mustPath(t, "b@example.com")}},
		{"to:<Postmaster> notify=success,FAILURE", false, &relay.Recipient{Path: mustPath(t, "Postmaster"), Notify: relay.NotifySuccess | relay.NotifyFailure}},
		{"TO:<b@example.com> ORCPT=RFC822;Bob+2B1@example.org", false,
			&relay.Recipient{Path: mustPath(t, "b@example.com"), ORcpt: relay.ORcpt{Type: "rfc822", Addr: "Bob+1@example.org"}}},
		{"TO:<b@example.com> ORCPT=x400;/C=de/", false, nil}, // "=" must be encoded
		{"TO:<b@example.com> ORCPT=x400;/C+3Dde/", false,
			&relay.Recipient{Path: mustPath(t, "b@example.com"), ORcpt: relay.ORcpt{Type: "x400", Addr: "/C=de/"}}},
		{`TO:<b@example.com> ORCPT=utf-8;\x{9A6}\x{9C2}@example.org`, false,
			&relay.Recipient{Path: mustPath(t, "b@example.com"), ORcpt: relay.ORcpt{Type: "utf-8", Addr: "দূ@example.org"}}},
		{"TO:<দূত@example.com> ORCPT=utf-8;দূ@example.org", true,
			&relay.Recipient{Path: mustPath(t, "দূত@example.com"), ORcpt: relay.ORcpt{Type: "utf-8", Addr: "দূ@example.org"}}},
		{"TO:<b@example.com> ORCPT=utf-8;দূ@example.org", false, nil},
		{`TO:<b@example.com> ORCPT=utf-8;a\x{A}b`, false, nil},
		{`TO:<b@example.com> ORCPT=utf-8;a\x{D800}b`, false, nil},
		{`TO:<b@example.com> ORCPT=utf-8;a\x{2028}b`, false, nil},
		{`TO:<b@example.com> ORCPT=utf-8;a\x{41`, false, nil},
		{"TO:<b@example.com> ORCPT=rfc822;a+0D+0Ab", false, nil},
		{"TO:<b@example.com> ORCPT=rfc 822;a", false, nil},
		{"TO:<b@example.com> ORCPT=;a", false, nil},
		{"TO:<b@example.com> ORCPT=rfc822;" + strings.Repeat("x", 500), false, nil},
		{"TO:<b@example.com> NOTIFY", false, nil},
		{"TO:<b@example.com> NOTIFY=", false, nil},
		{"TO:<b@example.com> NOTIFY=NEVER,SUCCESS", false, nil},
		{"TO:<>", false, nil},
	} {
		got, bad := parseRcpt(c.arg, &Config{}, c.utf8)
		if c.want == nil {
			if bad == nil {
				t.Errorf("%s: accepted: %+v", c.arg, got)
			}
		} else if bad != nil || !reflect.DeepEqual(got, *c.want) {
			t.Errorf("%s: %+v %v", c.arg, got, bad)
		}
	}
}

// What is taken from clients that are known by their address.
func TestUntidyPaths(t *testing.T) {
	cfg := &Config{Untidy: true, Domain: "relay.example.org"}
	for arg, want := range map[string]string{
		"FROM:<root>":                         "root@relay.example.org",
		"FROM: root":                          "root@relay.example.org",
		"FROM:\t<root> SIZE=7":                "root@relay.example.org",
		`FROM:<"Cron Daemon">`:                `"Cron Daemon"@relay.example.org`,
		"FROM:<a@example.org":                 "a@example.org",
		"FROM:a@example.org> SIZE=7":          "a@example.org",
		"FROM:<a@example.org SIZE=7":          "a@example.org",
		"FROM:<Scan to Mail <a@example.org>>": "a@example.org",
		"FROM:<<a@example.org>>":              "a@example.org",
		"FROM:<postmaster>":                   "postmaster",
		"FROM:<>":                             "",

		"FROM:":                                "501 5.5.4",
		"FROM: SIZE=7":                         "501 5.5.4",
		"FROM:Scan <a@example.org>":            "501 5.5.4",
		"FROM:<a b>":                           "501 5.1.3",
		"FROM:<a@b@c>":                         "501 5.1.3",
		"FROM:<a@example.net <a@example.org>>": "a@example.org",
		"FROM:<a@>":                            "501 5.1.3",
	} {
		m, bad := parseMail(arg, cfg, standing{now: noon})
		if bad != nil && !strings.HasPrefix(bad.String(), want) || bad == nil && m.From.String() != want {
			t.Errorf("%s: %v %v, wanted %s", arg, m.From, bad, want)
		}
	}
}

// FuzzCommand: whatever the line, the parts that the tokenizer cuts are parts
// of it, in its order, and no cut makes it panic.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{"MAIL FROM:<a@b> SIZE=1", "\tRCPT\tTO :\t\"a b\"@c X=<y z> =", "AUTH  PLAIN\t =", "mail from:<<a>", `rcpt to:<"\`} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, line string, untidy bool) {
		verb, arg := cutCommand(line)
		if verb != strings.ToUpper(verb) || strings.ContainsAny(verb, blanks) || strings.Trim(arg, blanks) != arg || !strings.Contains(line, arg) {
			t.Fatalf("%q: %q %q", line, verb, arg)
		}
		for _, keyword := range []string{"FROM", "TO"} {
			path, params, bad := cutPath(keyword, arg, untidy)
			if bad != nil {
				continue
			}
			at := strings.Index(arg, path)
			if at < 0 {
				t.Fatalf("%q: the path %q is not in it", line, path)
			}
			for _, p := range params {
				if p.key == "AUTH" || p.given == (p.value == "") || strings.ContainsAny(p.value, "= \t") {
					t.Fatalf("%q: %+v", line, p)
				}
				if !relay.ASCII(arg) {
					continue
				}
				i := strings.Index(strings.ToUpper(arg[at:]), p.key)
				if i < 0 {
					t.Fatalf("%q: the parameter %+v is not in it", line, p)
				}
				at += i
			}
		}
	})
}

// FuzzArgs: what is accepted holds no control character, survives being
// written and read again, and no argument makes the parser panic.
func FuzzArgs(f *testing.F) {
	for _, s := range []string{"FROM:<a@example.org> SIZE=1", `FROM:<"a>\" b"@x.test> ENVID=a+2Bb`, "TO:<b@x.test> ORCPT=utf-8;\\x{9A6} NOTIFY=NEVER", "TO:<@a:b@c>", "FROM:<\u2028@x.test>", "FROM:<\u202e@x.test> SMTPUTF8"} {
		f.Add(s, true)
	}
	cfg := &Config{RequireTLS: true, MaxHold: time.Hour}
	f.Fuzz(func(t *testing.T, arg string, utf8OK bool) {
		check := func(p relay.Path, more ...string) {
			again, err := relay.ParsePath(p.String())
			if err != nil || again != p {
				t.Fatalf("%q: %v, %v", p, again, err)
			}
			for _, s := range append(more, p.String()) {
				if strings.ContainsFunc(s, unicode.IsControl) {
					t.Fatalf("control characters in %q", s)
				}
			}
		}
		if m, bad := parseMail(arg, cfg, standing{tls: true, now: noon}); bad == nil {
			check(m.From, m.EnvID)
			if !m.SMTPUTF8 && !m.From.ASCII() {
				t.Fatalf("%q needs SMTPUTF8", m.From)
			}
		}
		if r, bad := parseRcpt(arg, cfg, utf8OK); bad == nil {
			check(r.Path, r.ORcpt.Addr)
		}
	})
}
