package bounce_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"dawk/bounce"
)

func TestShippedLanguages(t *testing.T) {
	if got, want := bounce.Shipped().Tags(), []string{"bn", "de", "en", "es", "fr", "zh"}; !slices.Equal(got, want) {
		t.Errorf("languages %q, want %q", got, want)
	}
}

// Every language says every key in words of its own.
func TestNoLanguageForgetsAKey(t *testing.T) {
	same := []string{"details.message_id", "day", "date", "list.more", "span.minutes"}
	read := func(tag string) map[string]string {
		text, err := os.ReadFile("words/" + tag + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		words := map[string]string{}
		for line := range strings.SplitSeq(string(text), "\n") {
			if k, v, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, "#") {
				words[k] = v
			}
		}
		return words
	}
	english := read("en")
	for _, tag := range bounce.Shipped().Tags() {
		words := read(tag)
		if got, want := slices.Sorted(maps.Keys(words)), slices.Sorted(maps.Keys(english)); !slices.Equal(got, want) {
			t.Errorf("%s has not the keys of English", tag)
		}
		for k, v := range words {
			if tag != "en" && v == english[k] && !slices.Contains(same, k) {
				t.Errorf("%s: %s is English: %q", tag, k, v)
			}
		}
	}
}

func TestLanguageOfANotice(t *testing.T) {
	for _, c := range []struct{ house, header, want string }{
		{"", "Subject: hello", "en"},
		{"fr", "Subject: hello", "fr"},
		{"de-AT", "Subject: hello", "de"},
		{"fr", "Content-Language: de\r\nSubject: hello", "de"},
		{"fr", "content-language: de-CH\r\nSubject: hello", "de"},
		{"fr", "Content-Language: tlh, es-419\r\nSubject: hello", "es"},
		{"fr", "Content-Language: zh-Hant-TW\r\nSubject: hello", "zh"},
		{"fr", "Content-Language: tlh\r\nSubject: hello", "fr"},
		{"fr", "Content-Language: de\r\nSubject: 会议", "de"}, // what it says goes before what it looks like
		{"fr", "Subject: 会议", "zh"},
		{"fr", "Subject: Re: =?utf-8?b?5Lya6K6u?=", "zh"},
		{"fr", "Subject: =?GB2312?B?u+HS6Q==?=", "zh"},
		{"fr", "Subject: 会議のお知らせ", "fr"}, // Japanese, which we do not have
		{"fr", "Subject: 회의", "fr"},
		{"fr", "Subject: সভা", "bn"},
		{"fr", "Subject: Straße", "fr"},
		{"fr", "Content-Language: en\r\n evil\r\nSubject: x", "fr"},
		{"fr", "X: y", "fr"},
	} {
		cfg, r := config(t), report(t)
		cfg.Language, r.Content = c.house, contentOf(c.header+"\r\n\r\nx\r\n")
		n, err := bounce.Compose(cfg, r)
		if err != nil {
			t.Fatal(err)
		}
		if want := "\r\nContent-Language: " + c.want + "\r\n"; !strings.Contains(string(n.Content), want) {
			t.Errorf("%q in a house of %q: not %s\n%s", c.header, c.house, c.want, n.Content)
		}
	}
}

// The postmaster reads the language of the house, whatever strangers write.
func TestPostmasterReadsTheHouseLanguage(t *testing.T) {
	cfg, r := config(t), cases(t)["double_bounce"]
	cfg.Language, r.Content = "de", contentOf("Subject: 会议\r\n\r\n")
	n, err := bounce.Compose(cfg, r)
	if err != nil || !strings.Contains(string(n.Content), "Postmaster von") {
		t.Errorf("%v\n%s", err, n.Content)
	}
}

func TestWordsOfOnesOwn(t *testing.T) {
	whole, err := os.ReadFile("words/es.txt")
	if err != nil {
		t.Fatal(err)
	}
	all, faults := bounce.Shipped().With(map[string][]byte{
		"de.txt":    []byte("\ufeff# ours\r\ndo.bad_address = Rufen Sie die\r\n  Zentrale an.\r\n"),
		"pt-BR.txt": whole,
	})
	if len(faults) > 0 || !all.Has("pt-br") || all.Has("pt") || bounce.Shipped().Has("pt-BR") {
		t.Fatalf("%v, %q", faults, all.Tags())
	}
	cfg, r := config(t), report(t)
	cfg.Languages, cfg.Language = all, "de"
	n, err := bounce.Compose(cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := parse(n); err != nil || !strings.Contains(strings.Join(strings.Fields(p.text), " "), "Dieses Postfach gibt es nicht. Rufen Sie die Zentrale an.") {
		t.Errorf("%v\n%s", err, n.Content)
	}
}

// What is wrong with a file is told with its line, all at once.
func TestFaultsOfWords(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"de.txt", "\n faled = x\nfaild = {why}\nno words here\nfailed = {message} {recipents} {why}\nfooter =\nfailed = x\n",
			[]string{"de.txt:2: a line that begins with a space", `de.txt:3: there is no key "faild"; did you mean "failed"?`,
				`de.txt:4: "no words here" is not of the form`, `de.txt:5: failed has no placeholder "{recipents}"; it has {message} {recipients} {why}`,
				"de.txt:6: footer is empty", "de.txt:7: failed stands already in line 5"}},
		{"de.txt", "delayed = {message} {why}", []string{"de.txt:1: delayed needs {recipients}"}},
		{"de.txt", "footer = {host", []string{`de.txt:1: footer has no placeholder "{host"`}},
		{"de.txt", "footer = a\x07b", []string{"de.txt:1: footer holds a control character"}},
		{"de.txt", "footer = a\u202eb", []string{"de.txt:1: footer holds a control character"}},
		{"de.txt", "footer = " + strings.Repeat("x", 1000), []string{"de.txt:1: footer is too long"}},
		{"de.txt", "# x\nfooter = \xff", []string{"de.txt:2: the file is not UTF-8"}},
		{"de.txt", strings.Repeat("# x\n", 20_000), []string{"de.txt:1: the file has 80000 octets"}},
		{"deutsch_.txt", "", []string{`deutsch_.txt:1: the name of the file must be a language`}},
		{"ja.txt", "footer = x", []string{"ja.txt:1: attached.header is missing: a new language needs every key"}},
	} {
		_, faults := bounce.Shipped().With(map[string][]byte{c.name: []byte(c.text)})
		for _, want := range c.want {
			if !slices.ContainsFunc(faults, func(err error) bool { return strings.HasPrefix(err.Error(), want) }) {
				t.Errorf("%s %.60q: no fault %q in %q", c.name, c.text, want, faults)
			}
		}
		if c.name == "de.txt" && len(faults) != len(c.want) {
			t.Errorf("%.60q: %d faults %q, want %d", c.text, len(faults), faults, len(c.want))
		}
	}
}

// Placeholders that a stranger writes are not filled in.
func TestStrangersPlaceholders(t *testing.T) {
	r := report(t)
	r.Content = contentOf("Subject: {why} {recipients}\r\n\r\n")
	_, p := mustCompose(t, r)
	if !strings.Contains(p.text, `"{why} {recipients}"`) {
		t.Errorf("%s", p.text)
	}
}

// Whatever is in a file of words, it is read or refused, and notices in it
// can be read.
func FuzzWords(f *testing.F) {
	f.Add("failed = {recipients} {why}\nlist.two = {first}{last}\n")
	f.Add("footer = =?utf-8?q?=0D?= \u2028 {host}\n message")
	f.Fuzz(func(t *testing.T, text string) {
		all, faults := bounce.Shipped().With(map[string][]byte{"de.txt": []byte(text)})
		if len(faults) > 0 {
			return
		}
		cfg, r := config(t), report(t)
		cfg.Languages, cfg.Language = all, "de"
		n, err := bounce.Compose(cfg, r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(n); err != nil {
			t.Fatalf("%v\n%s", err, n.Content)
		}
	})
}
