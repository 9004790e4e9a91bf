package httpapi

import (
	"strings"
	"testing"
)

// shape is a body as nested types, without what is random.
func shape(p *part) string {
	if p.kind == "" {
		kind, _, _ := strings.Cut(strings.TrimPrefix(p.fields, "Content-Type: "), "\r\n")
		kind, _, _ = strings.Cut(kind, ";")
		return kind
	}
	kind, _, _ := strings.Cut(p.kind, ";")
	var kids []string
	for _, kid := range p.parts {
		kids = append(kids, shape(kid))
	}
	return kind + "(" + strings.Join(kids, " ") + ")"
}

// The parts stand where mail programs look for them.
func TestShapeOfTheBody(t *testing.T) {
	logo := letter{"filename": "logo.png", "content_type": "image/png", "content": "AAAA", "content_id": "logo@b.test"}
	invitation := letter{"content_type": "text/calendar; method=REQUEST", "content": "AAAA", "filename": "invite.ics"}
	calendar := letter{"content_type": "text/calendar", "content": "AAAA", "filename": "all.ics"}
	file := letter{"filename": "a.pdf", "content_type": "application/pdf", "content": "AAAA"}
	for _, c := range []struct {
		text, html string
		files      []any
		want       string
	}{
		{"", "", nil, "text/plain"},
		{"t", "", nil, "text/plain"},
		{"", "h", nil, "text/html"},
		{"t", "h", nil, "alternative(text/plain text/html)"},
		{"", "", []any{file}, "mixed(application/pdf)"},
		{"t", "h", []any{file}, "mixed(alternative(text/plain text/html) application/pdf)"},
		{"", "h", []any{logo}, "related(text/html image/png)"},
		{"t", "h", []any{file, logo}, "mixed(alternative(text/plain related(text/html image/png)) application/pdf)"},
		{"t", "", []any{logo}, "mixed(text/plain image/png)"},
		{"t", "h", []any{invitation}, "alternative(text/plain text/html text/calendar)"},
		{"", "", []any{invitation}, "text/calendar"},
		{"t", "", []any{calendar}, "mixed(text/plain text/calendar)"},
		{"t", "h", []any{logo, invitation, file}, "mixed(alternative(text/plain related(text/html image/png) text/calendar) application/pdf)"},
	} {
		m, raw := build(t, letter{"from": "a@b.test", "to": "c@b.test", "text": c.text, "html": c.html, "attachments": c.files})
		strict(t, raw)
		if got := shape(m.body); got != c.want {
			t.Errorf("%s, not %s", got, c.want)
		}
	}
}

// The fields of a file say what old and new readers look for.
func TestFieldsOfAFile(t *testing.T) {
	for _, c := range []struct {
		file letter
		want string
	}{
		{letter{"filename": "a.pdf"}, "Content-Type: application/octet-stream;\r\n name=\"a.pdf\"\r\nContent-Disposition: attachment;\r\n filename=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n"},
		{letter{"filename": `a "b"\.pdf`}, "name=\"a \\\"b\\\"\\\\.pdf\"\r\nContent-Disposition: attachment;\r\n filename=\"a \\\"b\\\"\\\\.pdf\"\r\n"},
		{letter{"filename": "Mäi.pdf"}, "name=\"M_i.pdf\"\r\nContent-Disposition: attachment;\r\n filename*=utf-8''M%C3%A4i.pdf\r\n"},
		{letter{"filename": "a.txt", "content_type": `text/plain; name="b.txt"`}, "Content-Type: text/plain; name=b.txt\r\nContent-Disposition: attachment;\r\n filename=\"a.txt\"\r\n"},
		{letter{"content_type": nil, "filename": ""}, "Content-Type: application/octet-stream\r\nContent-Disposition: attachment\r\n"},
		{letter{"content_id": "<logo>", "content_type": "image/png"}, "Content-Disposition: inline\r\nContent-ID: <logo>\r\n"},
		{letter{"content_type": "text/calendar; method=CANCEL"}, "Content-Type: text/calendar; charset=utf-8; method=CANCEL\r\nContent-Transfer-Encoding"},
	} {
		_, raw := build(t, letter{"from": "a@b.test", "to": "c@b.test", "html": "x", "attachments": []any{c.file}})
		if !strings.Contains(raw, c.want) {
			t.Errorf("%v: no %q in\n%s", c.file, c.want, raw)
		}
	}
	for _, id := range []string{"a b", "a<b>", "ü", strings.Repeat("x", 201)} {
		if _, err := parseMessage([]byte(`{"from":"a@b.test","to":"c@b.test","attachments":[{"content_id":"` + id + `"}]}`)); err == nil || !strings.Contains(err.Error(), "content_id") {
			t.Errorf("content_id %q: %v", id, err)
		}
	}
}

// Date and Message-ID are valid or refused; what is empty is absent.
func TestFieldsOfTheClient(t *testing.T) {
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"Date", "Mon, 02 Nov 2026 15:04:05 +0100", true}, {"date", "2 Nov 2026 15:04:05 GMT", true},
		{"Date", "Fri, 30 Nov 2026 12:00:00 +0000", false}, {"Date", "Sat, 01 Jan 0001 00:00:00 +0000", false},
		{"Date", "mon, 30 Nov 2026 12:00:00 +0000", true}, {"Date", "Mon, 30 Nov 2026 12:00:60 +0000", false},
		{"Message-ID", `<\"a b\"@c.test>`, false}, {"Message-ID", "<a@b.test> (c)", false},
		{"Date", "yesterday", false}, {"Date", "2026-11-02T15:04:05Z", false},
		{"Message-ID", "<a.b@c.test>", true}, {"Message-ID", "<a@[192.0.2.1]>", true},
		{"Message-ID", "a@c.test", false}, {"Message-ID", "<a>", false}, {"Message-ID", "<a b@c.test>", false}, {"Message-ID", "<a@b@c>", false},
		{"Message-ID", "<>", false}, {"Message-ID", "<ü@c.test>", false}, {"Message-ID", "<" + strings.Repeat("x", 1000) + "@c>", false},
	} {
		q := letter{"from": "a@b.test", "to": "c@b.test", "headers": letter{c.name: c.value}}
		if c.ok {
			if _, raw := build(t, q); !strings.Contains(raw, c.name+": "+c.value+"\r\n") {
				t.Errorf("%s: %s is lost in\n%s", c.name, c.value, raw)
			}
			continue
		}
		if _, err := parseMessage([]byte(`{"from":"a@b.test","to":"c@b.test","headers":{"` + c.name + `":"` + c.value + `"}}`)); err == nil || !strings.Contains(err.Error(), "write it like") {
			t.Errorf("%s: %s: %v", c.name, c.value, err)
		}
	}
	_, raw := build(t, letter{"from": "a@b.test", "to": []string{"c@b.test", ""}, "cc": "", "bcc": []string{}, "reply_to": nil, "subject": "", "html": nil, "envelope_from": nil,
		"attachments": []any{}, "headers": letter{"X-A": "", "Date": " ", "Message-ID": nil, "References": ""}})
	head, _, _ := strings.Cut(raw, "MIME-Version")
	if want := "From: a@b.test\r\nTo: c@b.test\r\n"; head != want {
		t.Errorf("empty values left %q", head)
	}
}

// JSON that is not UTF-8 is refused and never mended with U+FFFD; a key that
// stands twice would lose one of its values.
func TestTextIsNeverReplaced(t *testing.T) {
	for body, want := range map[string]string{
		"{\"from\":\"a@b.test\",\"to\":\"c@b.test\",\"subject\":\"Gr\xfc\xdfe\"}":         "not UTF-8",
		"{\"from\":\"a@b.test\",\"to\":\"c@b.test\",\"text\":\"K\xf6ln\"}":                "not UTF-8",
		`{"from":"a@b.test","to":"c@b.test","text":"\ud800"}`:                             "surrogate",
		`{"from":"a@b.test","to":"c@b.test","To":"d@b.test"}`:                             `"to" is there twice`,
		`{"from":"a@b.test","to":"c@b.test","attachments":[{"content":"","content":""}]}`: `"content" is there twice in attachment 1`,
	} {
		if _, err := parseMessage([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", body, err)
		}
	}
}
