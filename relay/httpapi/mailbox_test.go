package httpapi

import (
	"strings"
	"testing"
)

// A name is taken as it stands; what could mean two things is refused with what
// to write. No word is lost.
func TestMailboxes(t *testing.T) {
	for in, want := range map[string]string{
		"a@b.test":                           "|a@b.test",
		" <a@b.test> ":                       "|a@b.test",
		"ACME, Inc. <a@b.test>":              "ACME, Inc.|a@b.test",
		"Müller, Jörg <a@b.test>":            "Müller, Jörg|a@b.test",
		"Support: Billing <a@b.test>":        "Support: Billing|a@b.test",
		"Jörg [extern] <a@b.test>":           "Jörg [extern]|a@b.test",
		"John (Sales) <a@b.test>":            "John (Sales)|a@b.test",
		"a@b.test <a@b.test>":                "a@b.test|a@b.test",
		"O'Neil; Co. <a@b.test>":             "O'Neil; Co.|a@b.test",
		`"ACME, Inc." <a@b.test>`:            "ACME, Inc.|a@b.test",
		`"A \"B\" (C)" <a@b.test>`:           `A "B" (C)|a@b.test`,
		"=?utf-8?q?J=C3=BCrgen?= <a@b.test>": "Jürgen|a@b.test",
		"a@b.test (Ann)":                     "Ann|a@b.test",
		`"c d"@b.test`:                       `|"c d"@b.test`,
		"Ann <a@münchen.test>":               "Ann|a@xn--mnchen-3ya.test",
		"a@b.test, c@b.test":                 "",
		"A <a@b.test>, B <c@b.test>":         "",
		"a@b.test, B <c@b.test>":             "",
		"team: a@b.test;":                    "",
		`Bob "the" (boss) <a@b.test>`:        "",
		"Ann <a>":                            "",
		"Ann <a@b.test":                      "",
		"Ann":                                "",
	} {
		b, err := parseMailbox(in)
		got := ""
		if err == nil {
			got = b.Name + "|" + b.Path.String()
		}
		if got != want {
			t.Errorf("%q is %q, %v; not %q", in, got, err, want)
		}
		if err != nil && (!strings.Contains(err.Error(), "quote the name") || !strings.Contains(err.Error(), "list")) {
			t.Errorf("%q: %v does not say what to write", in, err)
		}
	}
}

// What cannot be seen in an address is refused by its name; in a name it stands.
func TestInvisibleCharacters(t *testing.T) {
	for in, ok := range map[string]bool{
		"\ufeffa@b.test": false, "a\u200b@b.test": false, "a@b\u200b.test": false, "A <a\u00ad@b.test>": false, "a\u00a0@b.test": false, `"A" <a@b.test` + "\u200b>": false,
		"A\u200bB <a@b.test>": true, "na\u200cme@b.test": true,
	} {
		if _, err := parseMailbox(in); ok != (err == nil) || !ok && !strings.Contains(err.Error(), "cannot be seen, U+") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// FuzzMailbox: what is taken keeps every word.
func FuzzMailbox(f *testing.F) {
	f.Add(`ACME, "x" (y) <a@b.test>`)
	f.Add("a: b@c.test;")
	f.Fuzz(func(t *testing.T, in string) {
		b, err := parseMailbox(in)
		if err != nil || strings.ContainsAny(in, `"\`) || strings.Contains(in, "=?") {
			return
		}
		for _, word := range strings.FieldsFunc(in, func(r rune) bool { return strings.ContainsRune(" <>()", r) || r == 0x3000 || r == 0xA0 }) {
			if !strings.Contains(b.Name, word) && !strings.Contains(word, "@") {
				t.Errorf("%q became %q %s: %q is lost", in, b.Name, b.Path, word)
			}
		}
	})
}
