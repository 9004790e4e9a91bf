package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-message/mail"
	"github.com/google/go-cmp/cmp"
)

// letter is a request.
type letter map[string]any

// parseMessage builds the message of a request.
func parseMessage(data []byte) (*message, error) {
	parts := &spool{account: &account{of: newShares(memory), user: "app"}, room: func(int64) error { return nil }}
	q, err := readRequest(bytes.NewReader(data), parts, 0)
	if err != nil {
		return nil, err
	}
	return q.message(parts)
}

// build makes the message of a request and gives it as it goes on.
func build(t *testing.T, q letter) (*message, string) {
	t.Helper()
	data, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseMessage(data)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return m, b.String()
}

// parsed is what an independent reader sees in a message.
type parsed struct {
	Subject, From, Text, HTML string
	To, Cc                    []string
	Files                     map[string]string
	Fields                    []string
}

func parse(t *testing.T, raw string) parsed {
	t.Helper()
	r, err := mail.CreateReader(strings.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	p := parsed{Files: map[string]string{}}
	if p.Subject, err = r.Header.Subject(); err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string]*[]string{"To": &p.To, "Cc": &p.Cc} {
		boxes, err := r.Header.AddressList(name)
		if err != nil {
			t.Fatalf("%s: %v in\n%s", name, err, raw)
		}
		for _, b := range boxes {
			*list = append(*list, b.Name+"|"+b.Address)
		}
	}
	from, err := r.Header.AddressList("From")
	if err != nil || len(from) != 1 {
		t.Fatalf("From: %v in\n%s", err, raw)
	}
	p.From = from[0].Name + "|" + from[0].Address
	for f := r.Header.Fields(); f.Next(); {
		p.Fields = append(p.Fields, f.Key())
	}
	for {
		part, err := r.NextPart()
		if err == io.EOF {
			return p
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, raw)
		}
		body, err := io.ReadAll(part.Body)
		if err != nil {
			t.Fatalf("%v in\n%s", err, raw)
		}
		switch h := part.Header.(type) {
		case *mail.InlineHeader:
			kind, _, _ := h.ContentType()
			if kind == "text/html" {
				p.HTML = string(body)
			} else {
				p.Text = string(body)
			}
		case *mail.AttachmentHeader:
			name, err := h.Filename()
			if err != nil {
				t.Fatal(err)
			}
			p.Files[name] = string(body)
		}
	}
}

// strict checks what SMTP and RFC 5322 ask of every message.
func strict(t *testing.T, raw string) {
	t.Helper()
	if !strings.HasSuffix(raw, "\r\n") {
		t.Errorf("it does not end in CRLF: %q", raw)
	}
	for _, line := range strings.Split(raw, "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
			t.Errorf("not a line of mail: %q", line)
		}
		for i := range len(line) {
			if line[i] >= 0x80 {
				t.Errorf("an octet above 127 in %q", line)
				break
			}
		}
	}
}

func TestMessage(t *testing.T) {
	for name, c := range map[string]struct {
		q    letter
		want parsed
	}{
		"text": {letter{"from": "a@b.test", "to": "c@b.test", "subject": "x", "text": "hello"},
			parsed{From: "|a@b.test", To: []string{"|c@b.test"}, Subject: "x", Text: "hello\r\n"}},
		"names": {letter{"from": `"Ünal, \"A\"" <a@b.test>`, "to": []string{"=?utf-8?q?J=C3=BCrgen?= <c@b.test>", `"quoted local"@b.test`}, "cc": []string{"d@b.test"}, "subject": strings.Repeat("größer ", 40) + "x"},
			parsed{From: `Ünal, "A"|a@b.test`, To: []string{"Jürgen|c@b.test", `|quoted local@b.test`}, Cc: []string{"|d@b.test"}, Subject: strings.Repeat("größer ", 40) + "x", Text: "\r\n"}},
		"subject like an encoded word": {letter{"from": "a@b.test", "to": "c@b.test", "subject": "=?utf-8?q?x?= ", "text": "."},
			parsed{From: "|a@b.test", To: []string{"|c@b.test"}, Subject: "=?utf-8?q?x?= ", Text: ".\r\n"}},
		"both and a file": {letter{"from": "a@b.test", "to": "c@b.test", "text": "t", "html": "<p>h",
			"attachments": []any{letter{"filename": "ü \"x\".pdf", "content_type": "application/pdf", "content": []byte("a\r\nb\x00")}, letter{"filename": "empty"}}},
			parsed{From: "|a@b.test", To: []string{"|c@b.test"}, Text: "t", HTML: "<p>h", Files: map[string]string{"ü \"x\".pdf": "a\r\nb\x00", "empty": ""}}},
		"larger than what is held in memory": {letter{"from": "a@b.test", "to": "c@b.test", "html": strings.Repeat("<p>größer\r\n", 20_000), "text": "t",
			"attachments": []any{letter{"filename": "big", "content": bytes.Repeat([]byte{0, 255, 'x'}, 70_001)}}},
			parsed{From: "|a@b.test", To: []string{"|c@b.test"}, Text: "t", HTML: strings.Repeat("<p>größer\r\n", 20_000), Files: map[string]string{"big": strings.Repeat("\x00\xffx", 70_001)}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, raw := build(t, c.q)
			strict(t, raw)
			got := parse(t, raw)
			got.Fields = nil
			if c.want.Files == nil {
				c.want.Files = map[string]string{}
			}
			// The line end that closes a part belongs to the boundary, that of a
			// whole body to the body.
			got.Text, c.want.Text = strings.TrimSuffix(got.Text, "\r\n"), strings.TrimSuffix(c.want.Text, "\r\n")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n%s", diff, raw)
			}
		})
	}
}

// No value adds a line to the header. Each is tried alone, so that no other is
// what the request is refused for.
func TestNoValueAddsAField(t *testing.T) {
	for _, end := range []string{"\r\n", "\n", "\r", "\u2028", "\u0085", "\x00"} {
		bad := "x" + end + "Bcc: y@z.test"
		for key, value := range map[string]any{
			"from": bad + " <a@b.test>", "envelope_from": "a@b.test" + end, "to": bad + " <c@b.test>", "cc": []string{"c@b.test", "d@b.test" + end},
			"bcc": "c@b.test" + end, "reply_to": bad + " <c@b.test>", "subject": bad,
			"attachments":  []any{map[string]any{"filename": bad, "content": ""}},
			"headers":      map[string]string{"X-A": bad},
			"headers ":     map[string]string{"References": bad},
			"headers  ":    map[string]string{"X-A: b" + end + "Bcc": "y@z.test"},
			"attachments ": []any{map[string]any{"content_type": "text/plain; name=\"" + bad + "\"", "content": ""}},
		} {
			q := map[string]any{"from": "a@b.test", "to": "c@b.test", "text": "x"}
			q[strings.TrimSpace(key)] = value
			data, err := json.Marshal(q)
			if err != nil {
				t.Fatal(err)
			}
			m, err := parseMessage(data)
			if err != nil {
				continue
			}
			// A parameter of a content_type goes encoded.
			var b bytes.Buffer
			if _, err := m.WriteTo(&b); err != nil || key != "attachments " || strings.Contains(strings.ReplaceAll(b.String(), "\r\n", ""), end) {
				t.Errorf("%s: %q was taken: %q %v", key, value, b.String(), err)
			}
		}
	}
}

// FuzzMessage: whatever values a client gives, either they are refused, or an
// independent reader finds the same values, the same recipients, and no field
// that the request did not ask for.
func FuzzMessage(f *testing.F) {
	f.Add("a@b.test", "c@b.test", "subject", "text\n.\r\n", "<p>", "X-A", "value", "file.txt", []byte("x"))
	f.Add("A B <a@b.test>", "\"c d\"@b.test", "a\r\nBcc: x@y.test", "", "", "X-A: b\r\nBcc", "v", "a\"b", []byte{})
	f.Add("=?utf-8?b?DQpYOiBh?= <a@b.test>", "c@xn--mnchen-3ya.test", strings.Repeat("ü", 300), "\r", "\x00", "References", strings.Repeat("<a@b> ", 200), "ü", []byte{0})
	f.Fuzz(func(t *testing.T, from, to, subject, text, html, name, value, file string, content []byte) {
		data, err := json.Marshal(map[string]any{"from": from, "to": to, "subject": subject, "text": text, "html": html,
			"headers": map[string]string{name: value}, "attachments": []any{map[string]any{"filename": file, "content": content}}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := parseMessage(data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("a sentence with control characters: %q", err)
			}
			return
		}
		for _, s := range []string{from, to, subject, name, value, file} {
			if strings.ContainsAny(s, "\r\n\x00") {
				t.Fatalf("%q was taken", s)
			}
		}
		var b bytes.Buffer
		if _, err := m.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		raw := b.String()
		for _, line := range strings.Split(strings.TrimSuffix(raw, "\r\n"), "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("not a line of mail: %q", line)
			}
		}
		if !utf8.ValidString(subject) {
			return // JSON has replaced what was no text
		}
		got := parse(t, raw)
		if got.Subject != subject {
			t.Errorf("subject %q became %q\n%s", subject, got.Subject, raw)
		}
		if len(m.envelope.Recipients) != 1 || len(got.To) != 1 {
			t.Errorf("recipients: %v, %v", m.envelope.Recipients, got.To)
		}
		allowed := map[string]int{"From": 1, "To": 1, "Subject": 1, "Mime-Version": 1, "Content-Type": 1, "own": 1}
		for _, field := range got.Fields {
			if _, ours := allowed[field]; !ours {
				field = "own"
			}
			if allowed[field]--; allowed[field] < 0 {
				t.Errorf("a field too many: %q\n%s", got.Fields, raw)
			}
		}
		for _, c := range got.Files {
			if c != string(content) {
				t.Errorf("the file %q became %q", content, c)
			}
		}
	})
}

// Whoever has a token cannot keep a processor busy with a long list: to look
// for each address among all before it would take minutes here.
func TestManyRecipients(t *testing.T) {
	var to []string
	for i := range 30_000 {
		to = append(to, fmt.Sprintf("u%d@b.test", i/2))
	}
	m, _ := build(t, letter{"from": "a@b.test", "bcc": to})
	if len(m.envelope.Recipients) != 15_000 {
		t.Errorf("%d recipients", len(m.envelope.Recipients))
	}
}
