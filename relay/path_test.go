package relay_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"dawk/relay"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		in, wire string // wire "" with err set: refused
		err      error
	}{
		{"", "<>", nil},
		{"user@example.org", "<user@example.org>", nil},
		{"User.Name+tag@EXAMPLE.org.", "<User.Name+tag@example.org>", nil},
		{"postmaster", "<postmaster>", nil},
		{"PostMaster", "<PostMaster>", nil},
		{`"a b"@example.org`, `<"a b"@example.org>`, nil},
		{`"plain"@example.org`, "<plain@example.org>", nil},
		{`"q\"uote"@example.org`, `<"q\"uote"@example.org>`, nil},
		{`"back\\slash"@example.org`, `<"back\\slash"@example.org>`, nil},
		// The address that a careless relay turns into parameters (RFC 5321 §4.1.2).
		{`"b> NOTIFY=NEVER ORCPT=rfc822;q"@example.org`, `<"b> NOTIFY=NEVER ORCPT=rfc822;q"@example.org>`, nil},
		{"@hop.example.net,@hop2.example.net:user@example.org", "<user@example.org>", nil},
		{"user@[192.0.2.1]", "<user@[192.0.2.1]>", nil},
		{"user@[IPv6:2001:DB8::0:1]", "<user@[IPv6:2001:db8::1]>", nil},
		{"ব্যবহারকারী@example.org", "<ব্যবহারকারী@example.org>", nil},
		{"用户@例子.test", "<用户@xn--fsqu00a.test>", nil},
		{"user@münchen.example", "<user@xn--mnchen-3ya.example>", nil},
		{"user@_spf.example.org", "<user@_spf.example.org>", nil},

		{"user", "", relay.ErrPathSyntax},
		{"@example.org", "", relay.ErrPathSyntax},
		{"@:user@example.org", "", relay.ErrPathSyntax}, // a route has a domain at least
		{"@hop.example.net,:user@example.org", "", relay.ErrPathSyntax},
		{"@hop.example.net,hop2.example.net:user@example.org", "", relay.ErrPathSyntax},
		{"@hop example.net:user@example.org", "", relay.ErrPathSyntax},
		{"@[192.0.2.1]:user@example.org", "", relay.ErrPathSyntax},
		{"@hop.example.net:", "", relay.ErrPathSyntax},
		{"@hop.example.net:postmaster", "", relay.ErrPathSyntax},
		{"user@", "", relay.ErrDomain},
		{"a@b@example.org", "", relay.ErrDomain},
		{".user@example.org", `<".user"@example.org>`, nil},
		{"user.@example.org", `<"user."@example.org>`, nil},
		{"us..er@example.org", `<"us..er"@example.org>`, nil},
		{`"us..er"@example.org`, `<"us..er"@example.org>`, nil},
		{`""@example.org`, `<""@example.org>`, nil},
		{`""`, "", relay.ErrPathSyntax},
		{"us er@example.org", "", relay.ErrPathSyntax},
		{"user@exa mple.org", "", relay.ErrDomain},
		{"user@-example.org", "", relay.ErrDomain},
		{"user@example..org", "", relay.ErrDomain},
		{"user@[192.0.2.256]", "", relay.ErrDomain},
		{"user@[IPv6:::ffff%eth0]", "", relay.ErrDomain},
		{`"open@example.org`, "", relay.ErrPathSyntax},
		{`"open\`, "", relay.ErrPathSyntax},
		{"us\r\ner@example.org", "", relay.ErrPathSyntax},
		{"\"us\r\ner\"@example.org", "", relay.ErrPathSyntax},
		{"us\x00er@example.org", "", relay.ErrPathSyntax},
		{"us\u2028er@example.org", "", relay.ErrPathSyntax},
		{"\xff@example.org", "", relay.ErrPathSyntax},
		{strings.Repeat("a", 65) + "@example.org", "<" + strings.Repeat("a", 65) + "@example.org>", nil},
		{strings.Repeat("a", 986) + "@example.org", "<" + strings.Repeat("a", 986) + "@example.org>", nil},
		{strings.Repeat("a", 987) + "@example.org", "", relay.ErrPathTooBig},
		{"." + strings.Repeat("a", 984) + "@example.org", "", relay.ErrPathTooBig}, // its quotes count
		{"a@" + strings.Repeat("a.", 128) + "org", "", relay.ErrDomain},
	} {
		p, err := relay.ParsePath(c.in)
		if !errors.Is(err, c.err) {
			t.Errorf("ParsePath(%q): error %v, want %v", c.in, err, c.err)
		}
		if err == nil && p.Wire() != c.wire {
			t.Errorf("ParsePath(%q).Wire() = %s, want %s", c.in, p.Wire(), c.wire)
		}
	}
}

// Whatever is accepted must come back from its own wire form, and hold nothing
// that could end a command line or a parameter.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"", "user@example.org", `"a\"b> X=Y"@example.org`, "用户@例子.test",
		"user@[IPv6:2001:db8::1]", "@a.test:b@c.test", "postmaster", "a\r\nb@c.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := relay.ParsePath(s)
		if err != nil {
			return
		}
		w := p.String()
		if strings.ContainsFunc(w, unicode.IsControl) {
			t.Fatalf("control character in %q", w)
		}
		q, err := relay.ParsePath(w)
		if err != nil || q != p {
			t.Fatalf("%q gives %q, which gives %q, %v", s, w, q, err)
		}
		// Outside quotes there is no space and no angle bracket.
		quoted := false
		for i := 0; i < len(w); i++ {
			switch c := w[i]; {
			case c == '"':
				quoted = !quoted
			case c == '\\' && quoted:
				i++
			case !quoted && strings.IndexByte(" <>", c) >= 0:
				t.Fatalf("%q has %q outside quotes", w, c)
			}
		}
		if quoted {
			t.Fatalf("%q: a quote stays open", w)
		}
	})
}

func TestUDomain(t *testing.T) {
	p, err := relay.ParsePath("x@xn--mnchen-3ya.example")
	if err != nil || p.UDomain() != "münchen.example" {
		t.Errorf("%q, %v", p.UDomain(), err)
	}
}
