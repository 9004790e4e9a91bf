package mailtext_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dawk/relay"
	"dawk/relay/mailtext"
)

func texts(value string) (list []string) {
	for _, a := range mailtext.Addresses(value) {
		list = append(list, a.Text)
	}
	return list
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string][]string{
		"": nil, " , ,": nil, "<>": nil, "undisclosed-recipients:;": nil, "Undisclosed recipients: ;": nil,
		"a@b.test":                         {"a@b.test"},
		"a@b.test, c@d.test":               {"a@b.test", "c@d.test"},
		",, a@b.test ,; ,c@d.test,":        {"a@b.test", "c@d.test"},
		"a@b.test; c@d.test":               {"a@b.test", "c@d.test"},
		`"Last, First" <a@b.test>, root`:   {"a@b.test", "root"},
		"a@b.test (it's (me), really)":     {"a@b.test"},
		"team: a@b.test, <c@d.test>;":      {"a@b.test", "c@d.test"},
		"A: a@b.test; x@y.test, B: z;":     {"a@b.test", "x@y.test", "z"},
		`"a,b"@c.test`:                     {`"a,b"@c.test`},
		`"a \" , b" <x@y.test>`:            {"x@y.test"},
		"\r\n a@b.test,\r\n\tc@d.test":     {"a@b.test", "c@d.test"},
		"A B <a@b.test> (x), (y) c@d.test": {"a@b.test", "c@d.test"},
		// A comma is missing.
		"a@b.test c@d.test":                 {"a@b.test", "c@d.test"},
		"A <a@b.test> C <c@d.test>":         {"a@b.test", "c@d.test"},
		"<a@b.test><c@d.test>":              {"a@b.test", "c@d.test"},
		"<a@b.test> c@d.test":               {"a@b.test", "c@d.test"},
		"root admin":                        {"root", "admin"},
		`"a b"@c.test d@e.test`:             {`"a b"@c.test`, "d@e.test"},
		"a@b.test\r\n c@d.test":             {"a@b.test", "c@d.test"},
		"<a@b.test, c@d.test>":              {"a@b.test", "c@d.test"},
		"a@b.test Bob <c@d.test>":           {"a@b.test", "c@d.test"},
		`a@b.test "B" <c@d.test>`:           {"a@b.test", "c@d.test"},
		"a@b.test (work)Bob <c@d.test>":     {"a@b.test", "c@d.test"},
		"a@b.test\r\n Bob Smith <c@d.test>": {"a@b.test", "c@d.test"},
		"a@b.test <c@d.test> e@f.test":      {"a@b.test", "c@d.test", "e@f.test"},
		"a@b.test Team: c@d.test;":          {"a@b.test", "c@d.test"},
		"a@b.test Bob <c@d.test":            {"a@b.test", "c@d.test"},
		"a@b.test <>":                       {"a@b.test"},
		// It is a name.
		"A@b.test <a@b.test>":                   {"a@b.test"},
		"Bob 'a@b.test' <a@b.test>":             {"a@b.test"},
		`"x@y.test" <a@b.test>`:                 {"a@b.test"},
		"Sales @ Example <a@b.test>":            {"a@b.test"},
		"Bob @bob <a@b.test>":                   {"a@b.test"},
		"=?utf-8?q?x@y.test?= <a@b.test>":       {"a@b.test"},
		"a @ b.test":                            {"a@b.test"},
		"a . b @ c . test":                      {"a.b@c.test"},
		"mailto:a@b.test":                       {"a@b.test"},
		"a@b.test: c@d.test":                    {"a@b.test", "c@d.test"},
		"a@[IPv6:2001:db8::1], <b@[192.0.2.1]>": {"a@[IPv6:2001:db8::1]", "b@[192.0.2.1]"},
		"<@x.test,@y.test:a@b.test>":            {"@x.test,@y.test:a@b.test"},
		"=?utf-8?q?Meier,_J=2E?= <a@b.test>":    {"a@b.test"},
		"Jürgen Meier <a@b.test>":               {"a@b.test"},
		"good@b.test, jim@, other@b.test":       {"good@b.test", "jim@", "other@b.test"},
		// A quote that nothing closes: nobody is guessed from what it quotes.
		`"Jim <jim@b.test>, bob@b.test`:             {`"Jim <jim@b.test>, bob@b.test`},
		`good@b.test, "no end@b.test, x@b.test`:     {"good@b.test", `"no end@b.test, x@b.test`},
		`good@b.test, "no end`:                      {"good@b.test", `"no end`},
		`<"no end@b.test>, x@b.test`:                {`"no end@b.test`, "x@b.test"},
		"a@b.test (home, c@d.test":                  {"a@b.test", "(home", "c@d.test"},
		"<a@b.test, c@d.test":                       {"a@b.test", "c@d.test"},
		"a@b.test>, c@d.test":                       {"a@b.test", "c@d.test"},
		"@b.test, c@d.test":                         {"@b.test", "c@d.test"},
		`"" <a@b.test>, ""@b.test`:                  {"a@b.test", `""@b.test`},
		`back\ slash@b.test, x`:                     {`back\ slash@b.test`, "x"},
		"a@b.test (one) (two), (three)\t<c@d.test>": {"a@b.test", "c@d.test"},
	} {
		if diff := cmp.Diff(want, texts(in)); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

func TestComplete(t *testing.T) {
	for in, want := range map[string]string{
		" root (Cron Daemon)\r\n":             " root@d.test (Cron Daemon)\r\n",
		" Logwatch":                           " Logwatch@d.test",
		" Anacron <root>":                     " Anacron <root@d.test>",
		" postmaster":                         " postmaster@d.test",
		" a@b.test, root,\r\n \"x y\" (z), c": " a@b.test, root@d.test,\r\n \"x y\"@d.test (z), c@d.test",
		" root admin":                         " root@d.test, admin@d.test",
		" A <a@b.test> root <c@b.test>":       " A <a@b.test>, root <c@b.test>",
		" a@b.test (x) c@b.test":              " a@b.test, (x) c@b.test",
		" team: root, a@b.test;":              " team: root@d.test, a@b.test;",
		" <root, a@b.test>":                   " <root@d.test, a@b.test>",
		` "a@b"`:                              ` "a@b"@d.test`,
		" a@b.test Bob <c@b.test>":            " a@b.test, Bob <c@b.test>",
		" Bob a@b.test <c@b.test>":            " Bob a@b.test <c@b.test>",
		// These are nothing to complete.
		" a@b.test":                   " a@b.test",
		" jim@, (x), <>":              " jim@, (x), <>",
		" undisclosed-recipients:;":   " undisclosed-recipients:;",
		" =?utf-8?q?J=C3=BCrgen?=":    " =?utf-8?q?J=C3=BCrgen?=",
		" Jürgen":                     " Jürgen",
		" a@[IPv6:2001:db8::1]\r\n":   " a@[IPv6:2001:db8::1]\r\n",
		" a@b (c, d@e.test":           " a@b, (c, d@e.test",
		" <@x.test,@y.test:a@b.test>": " <@x.test,@y.test:a@b.test>",
	} {
		if diff := cmp.Diff(want, string(mailtext.Complete("To", []byte(in), "d.test"))); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

// A name alone is no author, and one author does not become two.
func TestCompleteAuthor(t *testing.T) {
	for in, want := range map[string]string{
		" root":                     " root@d.test",
		" Anacron <root>":           " Anacron <root@d.test>",
		" a@b.test, c@d.test":       " a@b.test, c@d.test",
		" root, a@b.test, c@d.test": " root@d.test, a@b.test, c@d.test",
		// Beside one address words are its name.
		" x@y.test Bob <a@b.test>":        ` "x@y.test Bob" <a@b.test>`,
		" Scanner a@b.test\r\n":           " Scanner <a@b.test>\r\n",
		" a@b.test\r\n Scanner\r\n":       " Scanner <a@b.test>\r\n",
		" Meier, Hans <a@b.test> (x)":     ` "Meier, Hans (x)" <a@b.test>`,
		` "Meier, Hans" a@b.test`:         ` "Meier, Hans" <a@b.test>`,
		` "Meier", Hans a@b.test`:         ` "Meier, Hans" <a@b.test>`,
		" Meier, Hans <root>":             ` "Meier, Hans" <root@d.test>`,
		" =?utf-8?q?B=C3=BCro?= a@b.test": " =?utf-8?q?B=C3=BCro?= <a@b.test>",
		" B\xfcro, 2. Stock <a@b.test>":   " \"B\xfcro, 2. Stock\" <a@b.test>",
		" Team: root, a@b.test;":          ` "Team: root" <a@b.test>`,
		" Scanner jim@":                   " Scanner jim@",
		" Meier, Hans":                    "",
		" root, admin":                    "",
		" HP LaserJet":                    "",
		" \"HP LaserJet\"":                "",
		" B\xfcro":                        "",
		" B\u00fcro <>":                   "",
		" =?utf-8?q?Scanner?=":            "",
		" =?utf-8?q?a?= =?x?b?c?=":        "",
		" (x)":                            "",
		"":                                "",
	} {
		if has := mailtext.HasAuthor(in); has != (want != "") {
			t.Errorf("%q has an author: %v", in, has)
		}
		if want == "" {
			want = in
		}
		if diff := cmp.Diff(want, string(mailtext.Complete("from", []byte(in), "d.test"))); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

// FuzzAddresses: nothing is found that was not there and nothing that was there
// is lost but names, comments and separators; no address that can be read holds
// a line end; completing a list twice changes it once.
func FuzzAddresses(f *testing.F) {
	f.Add(`"a" <b@c.test>, d (e) : f; "`)
	f.Add("a@b.test c@d.test <x> (y) =?utf-8?q?,?= [IPv6:::1] \\")
	f.Add("<@a,@b:c@d> root admin\r\n \"x")
	f.Fuzz(func(t *testing.T, in string) {
		for _, a := range mailtext.Addresses(in) {
			p, err := relay.ParsePath(a.Text)
			if err == nil && strings.ContainsAny(p.Wire(), "\r\n\x00") {
				t.Errorf("%q from %q", a.Text, in)
			}
			if a.Text == "" || !strings.Contains(squeezed(in), squeezed(a.Text)) && !strings.Contains(in, "(") {
				t.Errorf("%q is not in %q", a.Text, in)
			}
		}
		from := mailtext.Complete("From", []byte(in), "d.test")
		if again := mailtext.Complete("From", from, "d.test"); string(again) != string(from) {
			t.Errorf("%q became %q and then %q", in, from, again)
		}
		if string(from) != in && (strings.Count(string(from), "\n") > strings.Count(in, "\n") || !mailtext.HasAuthor(in)) {
			t.Errorf("%q became %q", in, from)
		}
		once := mailtext.Complete("To", []byte(in), "d.test")
		if twice := mailtext.Complete("To", once, "d.test"); string(twice) != string(once) {
			t.Errorf("%q became %q and then %q", in, once, twice)
		}
		if before, after := strings.Count(in, "\n"), strings.Count(string(once), "\n"); before != after {
			t.Errorf("%q: %d line ends became %d", in, before, after)
		}
	})
}

func squeezed(s string) string {
	return strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(s)
}

func TestFoldField(t *testing.T) {
	list := make([]string, 60)
	for i := range list {
		list[i] = `"One, Two" <subscriber@example.com>`
	}
	for _, sep := range []string{", ", ",", ",\t  "} {
		in := "Bcc: " + strings.Join(list, sep) + "\r\n"
		out := string(mailtext.FoldField([]byte(in)))
		for _, line := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			if len(line) > 998 || !strings.HasSuffix(strings.TrimSuffix(line, ","), `<subscriber@example.com>`) {
				t.Errorf("%q: %q", sep, line)
			}
		}
		if diff := cmp.Diff(texts(in[5:]), texts(out[5:])); diff != "" {
			t.Error(diff)
		}
	}
	word := strings.Repeat("x", 600)
	for in, want := range map[string]string{
		"Subject: a b\r\n":                                           "Subject: a b\r\n",
		"Subject: " + word + " " + word + "\r\n":                     "Subject: " + word + "\r\n " + word + "\r\n",
		"Subject: " + word + word + "\r\n":                           "Subject:\r\n " + word + word[:397] + "\r\n " + word[397:] + "\r\n",
		"Subject: a" + strings.Repeat(" ", 1500) + "b\r\n":           "Subject: a\r\n b\r\n",
		"Subject: a" + strings.Repeat(" ", 1500) + "\r\n":            "Subject: a\r\n",
		"Subject: a\r\n" + strings.Repeat("\t", 999) + "b\r\n c\r\n": "Subject: a\r\n\tb\r\n c\r\n",
		"X: " + word + "," + word + "\r\n":                           "X:\r\n " + word + "," + word[:396] + "\r\n " + word[396:] + "\r\n",
		"References: " + strings.Repeat("<a@b.test>", 150) + "\r\n":  "References:\r\n " + strings.Repeat("<a@b.test>", 99) + "\r\n " + strings.Repeat("<a@b.test>", 51) + "\r\n",
		"To: " + word + "," + word + "\r\n":                          "To: " + word + ",\r\n " + word + "\r\n",
	} {
		if diff := cmp.Diff(want, string(mailtext.FoldField([]byte(in)))); diff != "" {
			t.Error(diff)
		}
	}
}

// FuzzFoldField: lines that fit, one field, and the same words.
func FuzzFoldField(f *testing.F) {
	f.Add("To", strings.Repeat("a@b.test,", 300), 3)
	f.Add("Subject", strings.Repeat("ü", 700)+" "+strings.Repeat(" \t", 700)+"x", 1)
	f.Fuzz(func(t *testing.T, name, value string, times int) {
		value = value[:min(len(value), 2000)] // longer ones find nothing new, and take their time
		value = strings.NewReplacer("\r", "", "\n", "").Replace(strings.Repeat(value, min(max(times, 1), 5)))
		if !mailtext.FieldName(name) || len(name) > 500 {
			return
		}
		out := string(mailtext.FoldField([]byte(name + ":" + value + "\r\n")))
		body, ok := strings.CutSuffix(out, "\r\n")
		if !ok {
			t.Fatalf("no line end: %q", out)
		}
		for i, line := range strings.Split(body, "\r\n") {
			if len(line) > 998 || i > 0 && (line[0] != ' ' && line[0] != '\t' || strings.Trim(line, " \t") == "") || strings.ContainsAny(line, "\r\n") {
				t.Fatalf("line %d: %q", i, line)
			}
		}
		words := strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "")
		if got, want := words.Replace(out), words.Replace(name+":"+value); got != want {
			t.Errorf("%q became %q", want, got)
		}
	})
}

func TestIsMboxLine(t *testing.T) {
	for line, want := range map[string]bool{
		"From root@b.test Sun Nov 22 10:00:00 2026": true, ">From x": true, ">>From x": true, "From ": true,
		"From: x": false, "From : x": false, "From \t: x": false, "from x": false, "> From x": false, "Fromage x": false, "": false,
	} {
		if got := mailtext.IsMboxLine([]byte(line + "\r\n")); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
