package sevenbit_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/sevenbit"
)

type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func convert(t testing.TB, c sevenbit.Converter, s string) (string, error) {
	t.Helper()
	got, err := c.Convert(nil, content{bytes.NewReader([]byte(s))})
	if err != nil {
		return "", err
	}
	defer got.Close()
	b, err := io.ReadAll(io.NewSectionReader(got, 0, got.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), nil
}

const head = "From: a@example.org\nSubject: x\n"

// TestRules: what becomes of what.
func TestRules(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"text", head + "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nCafé = good \n\n",
			head + "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nCaf=C3=A9 =3D good=20\n\n"},
		{"text, mostly 8-bit", head + "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n驿站\n",
			head + "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n6am/56uZDQo=\n"},
		{"no MIME, UTF-8", head + "\nCafé society\n",
			head + "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nCaf=C3=A9 society\n"},
		{"no MIME, of no charset", head + "\nCaf\xe9 society\n",
			head + "MIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n\nCaf=E9 society\n"},
		{"the part that needs it", head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\nfür nobody\n--b\nContent-Type: text/plain\n\nplain = plain \n--b\nContent-Type: text/html\nContent-Transfer-Encoding: 8bit\n\n<p>naïve reader</p>\n--b\nContent-Type: application/x-y\nContent-Transfer-Encoding: binary\n\n\xff\x01\n\n--b--\nepilögue\n",
			head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\nf??r nobody\n--b\nContent-Type: text/plain\n\nplain = plain \n--b\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n<p>na=C3=AFve reader</p>\n--b\nContent-Type: application/x-y\nContent-Transfer-Encoding: base64\n\n/wENCg==\n--b--\nepil??gue\n"},
		{"an enclosed message", head + "MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: inner\nMIME-Version: 1.0\nContent-Transfer-Encoding: 8bit\n\nCafé society\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: other\n\nASCII\n--b--\n",
			head + "MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: inner\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nCaf=C3=A9 society\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: other\n\nASCII\n--b--\n"},
		{"a signed part beside it", head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/signed; boundary=s\n\n--s\n\nsigned = signed \n--s\n\nsignature\n--s--\n--b\n\nCafé society\n--b--\n",
			head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/signed; boundary=s\n\n--s\n\nsigned = signed \n--s\n\nsignature\n--s--\n--b\nContent-Transfer-Encoding: quoted-printable\n\nCaf=C3=A9 society\n--b--\n"},
		{"a boundary that begins another", head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"a b\"\n\n--a b\nContent-Type: multipart/alternative; boundary=\"a bc\"\n\n--a bc\n\nCafé society\n--a bc-- \n--a b--\t\n",
			head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"a b\"\n\n--a b\nContent-Type: multipart/alternative; boundary=\"a bc\"\n\n--a bc\nContent-Transfer-Encoding: quoted-printable\n\nCaf=C3=A9 society\n--a bc-- \n--a b--\t\n"},
		{"no end of the multipart", head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nCafé society\n",
			head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: quoted-printable\n\nCaf=C3=A9 society\n"},
		{"nothing to do", head + "\nASCII\n", head + "\nASCII\n"},
		{"a part that is only a header", head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n--b\n\nCafé society\n--b--\n",
			head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n--b\nContent-Transfer-Encoding: quoted-printable\n\nCaf=C3=A9 society\n--b--\n"},
		{"a line that is no field", head + "oops\nContent-Transfer-Encoding: 8bit\nContent-Type: text/plain;\n charset=utf-8\nMIME-Version: 1.0\n\nCafé society\n",
			head + "oops\nContent-Type: text/plain;\n charset=utf-8\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nCaf=C3=A9 society\n"},
	} {
		got, err := convert(t, sevenbit.Converter{}, crlf(c.in))
		if err != nil || got != crlf(c.want) {
			t.Errorf("%s: %v\n got %q\nwant %q", c.name, err, got, crlf(c.want))
		}
	}
}

// TestSoftBreaks: lines have at most 76 octets, and one that we begin never
// looks like a boundary.
func TestSoftBreaks(t *testing.T) {
	for n := range 120 {
		line := "é" + strings.Repeat("x", n) + "--b" + strings.Repeat(" ", n%3) + "\r\n"
		for _, typ := range []string{"text/plain", "image/x"} {
			in := "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: " + typ + "\r\n\r\n" + line + line + "--b--\r\n"
			got, err := convert(t, sevenbit.Converter{}, in)
			if err != nil || decode(t, got) != "|"+line+strings.TrimSuffix(line, "\r\n") {
				t.Errorf("%d: %v, %q", n, err, got)
			}
			for l := range strings.SplitSeq(got, "\r\n") {
				if len(l) > 76 || strings.HasPrefix(l, "--b") && l != "--b" && l != "--b--" {
					t.Errorf("%d: %q", n, l)
				}
			}
			if strings.Count(got, "\r\n--b") != 2 {
				t.Errorf("%d: a boundary more: %q", n, got)
			}
		}
	}
}

// TestMisspelt: an encoding that only means 8bit is read as that.
func TestMisspelt(t *testing.T) {
	for _, as := range []string{"8bits", "8-bit", "\"8bit\"", "8bit (as it is)", "7BITS", "UTF-8", "none", "8BIT;"} {
		in := head + "MIME-Version: 1.0\nContent-Transfer-Encoding: " + as + "\n\nCafé society\n"
		if got, err := convert(t, sevenbit.Converter{}, crlf(in)); err != nil || !strings.Contains(got, "Caf=C3=A9") || strings.Contains(got, as) {
			t.Errorf("%s: %v, %q", as, err, got)
		}
	}
	for _, as := range []string{"quoted-printable", "base64", "BASE64;", "uuencode", "x-unknown"} {
		in := head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: " + as + "\n\n--b\n\nCafé society\n--b--\n"
		if got, err := convert(t, sevenbit.Converter{}, crlf(in)); err != nil || !strings.Contains(got, "Caf=C3=A9") || !strings.Contains(got, "boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n") {
			t.Errorf("a multipart labelled %s: %v, %q", as, err, got)
		}
	}
}

// TestMislabelled: 8-bit octets in a part that is said to be encoded are passed on, and
// keep no other part from its encoding.
func TestMislabelled(t *testing.T) {
	for _, as := range []string{"base64", "BASE64;", "Quoted-Printable", "uuencode", "x-unknown"} {
		in := crlf(head + "MIME-Version: 1.0\nContent-Transfer-Encoding: " + as + "\n\nCafé society\n")
		if got, err := convert(t, sevenbit.Converter{}, in); err != nil || got != in {
			t.Errorf("%s: %v, %q", as, err, got)
		}
		in = head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: " + as + "\n\nCafé one\n--b\n\nCafé society\n--b--\n"
		if got, err := convert(t, sevenbit.Converter{}, crlf(in)); err != nil || !strings.Contains(got, as+"\r\n\r\nCafé one\r\n") || !strings.Contains(got, "Caf=C3=A9 society") {
			t.Errorf("in a part, %s: %v, %q", as, err, got)
		}
	}
}

// A boundary that lacks its quotes is found all the same, and what is signed
// behind it stays as it is.
func TestLooseBoundaries(t *testing.T) {
	for field, boundary := range map[string]string{
		"boundary=----=_Part:1":                   "----=_Part:1",
		"boundary=a?b; charset=utf-8":             "a?b",
		"charset=a:b; Boundary = a/b (a comment)": "a/b",
		"charset=a:b; boundary=\"a;b\"; type=x/y": "a;b",
		"boundary=a@b;":                           "a@b",
	} {
		in := head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; " + field + "\n\n--" + boundary + "\nContent-Type: text/plain; charset=utf-8\n\nCafé society\n--" + boundary + "--\n"
		if got, err := convert(t, sevenbit.Converter{}, crlf(in)); err != nil || !strings.Contains(got, "Caf=C3=A9") || !strings.Contains(got, field) {
			t.Errorf("%s: %v, %q", field, err, got)
		}
	}
	in := head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a:b\n\n--a:b\nContent-Type: multipart/signed; boundary=s:s\n\n--s:s\n\nCafé society\n--s:s--\n--a:b--\n"
	if got, err := convert(t, sevenbit.Converter{}, crlf(in)); !errors.Is(err, relay.ErrNotSevenBit) {
		t.Errorf("a signed part: %v, %q", err, got)
	}
}

// TestRefused: what no conversion may touch, with the reason.
func TestRefused(t *testing.T) {
	const mixed = head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"
	deep := head + strings.Repeat("Content-Type: message/rfc822\n\n", 60) + "\nCafé\n"
	for _, c := range []struct{ name, in, want string }{
		{"signed", mixed + "Content-Type: multipart/signed; boundary=s\n\n--s\n\nCafé\n--s--\n--b--\n", "multipart/signed may not be changed"},
		{"all of it signed", head + "Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=s\n\n--s\n\nCafé\n--s--\n", "may not be changed"},
		{"a field of a part", mixed + "X-Name: Café\n\nCafé\n--b--\n", "header"},
		{"a type of a part", mixed + "Content-Type: text/plaïn\n\nx\n--b--\n", "header"},
		{"a name of a parameter", mixed + "Content-Type: text/plain; naïve=x\n\nx\n--b--\n", "header"},
		{"a file name without its end", mixed + "Content-Type: text/plain; name=\"Café\n\nx\n--b--\n", "header"},
		{"a file name that breaks off", mixed + "Content-Type: text/plain; name=Café menu\n\nx\n--b--\n", "header"},
		{"an extended value", mixed + "Content-Type: text/plain; name*=utf-8''Café\n\nx\n--b--\n", "header"},
		{"a boundary", mixed + "Content-Type: multipart/mixed; boundary=é\n\nx\n--b--\n", "header"},
		{"a description in no charset", mixed + "Content-Description: Caf\xe9\n\nx\n--b--\n", "header"},
		{"a file name in a signed part", mixed + "Content-Type: multipart/signed; boundary=s\n\n--s\nContent-Disposition: attachment; filename=Café\n\nx\n--s--\n--b--\n", "may not be changed"},
		{"the header", "Subject: Café\n\nCafé\n", "header"},
		{"the header of an enclosed message", mixed + "Content-Type: message/rfc822\n\nSubject: Café\n\nx\n--b--\n", "header"},
		{"no boundary", head + "Content-Type: multipart/mixed\n\nCafé\n", "multipart/mixed may not be changed"},
		{"partial", head + "Content-Type: message/partial; id=x; number=1\n\nCafé\n", "message/partial"},
		{"delivery status", head + "Content-Type: message/delivery-status\n\nCafé\n", "message/delivery-status"},
		{"very deep", deep, "within each other"},
	} {
		if got, err := convert(t, sevenbit.Converter{}, crlf(c.in)); !errors.Is(err, relay.ErrNotSevenBit) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %q", c.name, err, got)
		}
	}
}

// TestSignedAgain: our own signature goes, a new one covers the result; those
// of others stay.
func TestSignedAgain(t *testing.T) {
	c := sevenbit.Converter{
		Owns: func(f []byte) bool { return bytes.Contains(f, []byte("d=ours.test")) },
		Sign: func(_ *relay.Message, c relay.Content) ([]byte, error) {
			b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
			if !bytes.Contains(b, []byte("Caf=C3=A9")) || bytes.Contains(b, []byte("d=ours.test")) {
				t.Errorf("signed: %.300q", b)
			}
			return []byte("DKIM-Signature: new\r\n"), err
		},
	}
	for _, size := range []int{1, 20_000} { // in memory, and in a file
		body := strings.Repeat("Café society\r\n", size)
		got, err := convert(t, c, "DKIM-Signature: v=1;\r\n d=ours.test\r\nDKIM-Signature: d=other.test\r\nFrom: a@ours.test\r\n\r\n"+body)
		if err != nil || !strings.HasPrefix(got, "DKIM-Signature: new\r\nDKIM-Signature: d=other.test\r\nFrom: ") {
			t.Errorf("%v: %.200q", err, got)
		}
		if !strings.HasSuffix(got, "society\r\n") {
			t.Errorf("the end: %q", got[len(got)-30:])
		}
	}
	c.Sign = func(*relay.Message, relay.Content) ([]byte, error) {
		t.Error("signed, though it was not")
		return nil, nil
	}
	if _, err := convert(t, c, "From: a@ours.test\r\n\r\nCafé\r\n"); err != nil {
		t.Error(err)
	}
}

// TestLarge: a large result lives in a file that nobody sees, and is gone with
// the content.
func TestLarge(t *testing.T) {
	dir := t.TempDir()
	body := strings.Repeat("naïve Café\r\n", 1<<16)
	got, err := convert(t, sevenbit.Converter{Dir: dir}, "MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"+body)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if decoded := decode(t, got); decoded != body {
		t.Errorf("decoded to %d octets, not %d", len(decoded), len(body))
	}
	if _, err := (sevenbit.Converter{Dir: dir + "/none"}).Convert(nil, content{bytes.NewReader([]byte("\r\n" + body))}); err == nil || errors.Is(err, relay.ErrNotSevenBit) || strings.Contains(err.Error(), dir) {
		t.Errorf("without a directory: %v", err)
	}
}

// decode is the bodies of a message's leaves as net/mail and mime/multipart
// understand them.
func decode(t testing.TB, s string) string {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(s))
	if err != nil {
		t.Fatalf("%v: %.200q", err, s)
	}
	var out strings.Builder
	decodePart(t, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body, &out)
	return out.String()
}

func decodePart(t testing.TB, typ, cte string, body io.Reader, out *strings.Builder) {
	t.Helper()
	media, params, err := mime.ParseMediaType(typ)
	if err == nil && strings.HasPrefix(media, "multipart/") {
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if err != nil {
				return
			}
			out.WriteString("|")
			decodePart(t, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p, out)
		}
	}
	switch cte {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Errorf("%s: %v", cte, err)
	}
	out.Write(b)
}

// FuzzConvert: what comes out has no octet above 127 and no line that is too
// long, and decodes to what went in.
func FuzzConvert(f *testing.F) {
	f.Add("text/plain", "Café =\r\n.\r\n--b\r\n trailing \t\r\n", "驿站")
	f.Add("application/octet-stream", "\xff\xfe\x80", "plain")
	f.Add("text/html", strings.Repeat("é", 100)+strings.Repeat("--b", 50), "\r\n\r\n")
	f.Fuzz(func(t *testing.T, typ, one, two string) {
		clean := func(s string) string {
			s = strings.NewReplacer("\r", "", "\x00", "").Replace(s)
			return crlf(s)
		}
		one, two = clean(one), clean(two)
		if strings.ContainsAny(typ, "\r\n") || strings.HasPrefix(typ, "m") || len(typ) > 60 || strings.Contains(one+two, "--b0undary") || strings.ContainsFunc(typ, func(r rune) bool { return r > 126 || r < 32 }) {
			t.Skip()
		}
		in := "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b0undary\r\n\r\n--b0undary\r\nContent-Type: " + typ +
			"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + one + "\r\n--b0undary\r\n\r\n" + two + "\r\n--b0undary--\r\n"
		got, err := convert(t, sevenbit.Converter{}, in)
		if err != nil {
			if strings.HasPrefix(strings.ToLower(strings.TrimSpace(typ)), "m") {
				t.Skip()
			}
			t.Fatalf("%v: %q", err, in)
		}
		for _, line := range strings.Split(got, "\r\n") {
			if strings.ContainsAny(line, "\r\n") && !strings.ContainsAny(in, "\r") {
				t.Errorf("a bare line end: %q", line)
			}
			if has8(line) {
				t.Errorf("8-bit: %q", line)
			}
		}
		if want := decode(t, in); decode(t, got) != want {
			t.Errorf("decodes to %q, want %q", decode(t, got), want)
		}
	})
}

func has8(s string) bool {
	for i := range len(s) {
		if s[i] > 127 {
			return true
		}
	}
	return false
}
