package smtpclient

import (
	"strings"
	"testing"
)

func FuzzServerFirst(f *testing.F) {
	for _, s := range []string{"r=abcdef,s=c2FsdA==,i=4096", "r=abc,s=,i=1", "m=x,r=abcd", "i=99999999999999999999", ",,,=", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		theirs, salt, n, err := parseServerFirst(s, "abc")
		if err == nil && (!strings.HasPrefix(theirs, "abc") || len(salt) == 0 || n < minIterations || n > maxIterations) {
			t.Errorf("%q gave %q, %d octets, %d", s, theirs, len(salt), n)
		}
	})
}

func FuzzBlob(f *testing.F) {
	for _, s := range []string{`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`, `{"status":"4\r\n250 ok"}`, `{`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := describeBlob(s); len(got) > 210 || strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("%q gave %q", s, got)
		}
	})
}
