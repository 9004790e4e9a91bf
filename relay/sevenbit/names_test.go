package sevenbit_test

import (
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"

	"dawk/relay/sevenbit"
)

// A file name that a program wrote as it is comes out in the form of RFC 2231,
// and is the same to who reads it. The body of its part stays as it is.
func TestFileNames(t *testing.T) {
	const before = head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n--b\n"
	const after = head + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\n--b\n"
	for name, c := range map[string]struct{ in, want string }{
		"quoted": {"Content-Type: application/pdf; name=\"Café \\\"1\\\".pdf\"; x=y\nContent-Disposition: attachment;\n filename=\"Café.pdf\"\n",
			"Content-Type: application/pdf; name*=utf-8''Caf%C3%A9%20%221%22.pdf; x=y\nContent-Disposition: attachment;\n filename*=utf-8''Caf%C3%A9.pdf\n"},
		"a token, and a comment": {"Content-Disposition: attachment; filename=Café.pdf (that; one); size=3;\n",
			"Content-Disposition: attachment; filename*=utf-8''Caf%C3%A9.pdf (that; one); size=3;\n"},
		"of no charset": {"Content-Disposition: attachment; filename=\"Caf\xe9.pdf\"\n",
			"Content-Disposition: attachment; filename*=''Caf%E9.pdf\n"},
		"beside the extended form": {"Content-Disposition: attachment; filename=\"Café.pdf\"; filename*=utf-8''Caf%C3%A9.pdf\n",
			"Content-Disposition: attachment; filename=\"Caf__.pdf\"; filename*=utf-8''Caf%C3%A9.pdf\n"},
		"long": {"Content-Disposition: attachment; filename=\"" + strings.Repeat("驿站", 5) + ".pdf\"\n",
			"Content-Disposition: attachment; filename*0*=utf-8''%E9%A9%BF%E7%AB%99%E9%A9%BF%E7%AB%99%E9%A9%BF%E7;\n" +
				"\tfilename*1*=%AB%99%E9%A9%BF%E7%AB%99%E9%A9%BF%E7%AB%99.pdf\n"},
		"a description": {"Content-Description: Café menu\n", "Content-Description: =?utf-8?q?Caf=C3=A9_menu?=\n"},
	} {
		const rest = "Content-Transfer-Encoding: base64\n\n6Q==\n--b--\n"
		got, err := convert(t, sevenbit.Converter{}, crlf(before+c.in+rest))
		if err != nil || got != crlf(after+c.want+rest) {
			t.Errorf("%s: %v\n got %q\nwant %q", name, err, got, crlf(after+c.want+rest))
		}
	}
}

// Names of any length and any characters are read again as they were.
func TestFileNamesAreReadBack(t *testing.T) {
	for n := range 150 {
		name := strings.Repeat("é'%*;\\\" 站", n/8+1)[:n] + "é"
		name = strings.ToValidUTF8(name, "x")
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)
		in := "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename=\"" + quoted + "\"; a=b\r\n\r\nx\r\n--b--\r\n"
		got, err := convert(t, sevenbit.Converter{}, in)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		m, err := mail.ReadMessage(strings.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		p, err := multipart.NewReader(m.Body, "b").NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		_, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
		if err != nil || params["filename"] != name || params["a"] != "b" {
			t.Errorf("%q is read as %q, %v\n%s", name, params["filename"], err, got)
		}
		for line := range strings.SplitSeq(got, "\r\n") {
			if len(line) > 120 {
				t.Errorf("%d octets in a line: %q", len(line), line)
			}
		}
	}
}

// FuzzFileNames: whatever stands in a field of a part, it is refused, or comes
// out without octets above 127 and as one field.
func FuzzFileNames(f *testing.F) {
	f.Add(`attachment; filename="Café"; x=(y;)z`)
	f.Add("attachment ; filename = Café ; filename*=utf-8''x;;")
	f.Add("a(\\\"b;é); n=\"\\\r\n é\"")
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.NewReplacer("\r", "", "\n", "\r\n ").Replace(value)
		in := "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: " + value + "\r\nX-Next: 1\r\n\r\nx\r\n--b--\r\n"
		got, err := convert(t, sevenbit.Converter{}, in)
		if err != nil {
			return
		}
		_, head, _ := strings.Cut(got, "--b\r\n")
		head, rest, _ := strings.Cut(head, "\r\nX-Next: 1\r\n")
		if has8(got) || rest != "\r\nx\r\n--b--\r\n" {
			t.Errorf("%q became %q", in, got)
		}
		for i, line := range strings.Split(head, "\r\n") {
			if i > 0 && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
				t.Errorf("%q became another field: %q", line, got)
			}
		}
	})
}
