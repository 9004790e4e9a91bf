package tlsrpt_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/tlsrpt"
)

var (
	noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	us   = tlsrpt.Sender{Organization: "relay.example.org", Contact: "postmaster@example.org"}
)

func open(t *testing.T, dir string, now time.Time) *tlsrpt.Counters {
	t.Helper()
	c, err := tlsrpt.Open(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sts(result, host string) tlsrpt.Session {
	return tlsrpt.Session{Domain: "b.test", Type: "sts", Policy: []string{"version: STSv1", "mode: enforce", "mx: *.b.test"},
		Patterns: []string{"*.b.test"}, Host: host, Addr: "192.0.2.1", Local: "198.51.100.7", Result: result, Detail: "why"}
}

// read takes a report out of its mail, with parsers that are not ours.
func read(t *testing.T, m []byte) (header mail.Header, report map[string]any) {
	t.Helper()
	if s := string(m); strings.ContainsAny(strings.ReplaceAll(s, "\r\n", ""), "\r\n") || !strings.HasSuffix(s, "\r\n") {
		t.Errorf("lines: %q", s)
	}
	msg, err := mail.ReadMessage(bytes.NewReader(m))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "tlsrpt" {
		t.Fatalf("%s %v %v", kind, params, err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	if p, err := parts.NextPart(); err != nil || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/plain") {
		t.Fatal(err)
	}
	p, err := parts.NextPart()
	if err != nil || p.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, p))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&report); err != nil {
		t.Fatal(err)
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Error(err)
	}
	return msg.Header, report
}

// What is counted in a day is in the report of that day, over a restart.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, noon)
	for range 3 {
		c.Add(noon, sts(tlsrpt.Successful, "mx.b.test"))
	}
	c.Add(noon, sts("certificate-expired", "mx.b.test"))
	c.Add(noon, tlsrpt.Session{Domain: "c.test", Type: "no-policy-found", Result: tlsrpt.Successful})
	if err := c.Save(noon); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir, noon)
	c.Add(noon, sts("certificate-expired", "mx.b.test"))
	c.Add(noon, sts("starttls-not-supported", "mx2.b.test"))
	if dates, _ := c.Due(noon); dates != nil {
		t.Errorf("due before the day is over: %v", dates)
	}
	tomorrow := noon.Add(13 * time.Hour)
	c.Add(tomorrow, sts(tlsrpt.Successful, "mx.b.test"))
	dates, domains := c.Due(tomorrow)
	if !slices.Equal(dates, []string{"2026-11-22"}) || !slices.Equal(domains["2026-11-22"], []string{"b.test", "c.test"}) {
		t.Fatalf("due: %v %v", dates, domains)
	}
	r, err := c.Report("2026-11-22", "b.test", us)
	if err != nil {
		t.Fatal(err)
	}
	to, _ := relay.ParsePath("tls@b.test")
	header, got := read(t, r.Message(us, to))
	if header.Get("TLS-Report-Domain") != "b.test" || header.Get("TLS-Report-Submitter") != us.Organization || header.Get("TLS-Required") != "No" ||
		!strings.HasPrefix(header.Get("Subject"), "Report Domain: b.test") {
		t.Errorf("%v", header)
	}
	text, _ := json.Marshal(got)
	const want = `{"contact-info":"postmaster@example.org","date-range":{"end-datetime":"2026-11-22T23:59:59Z","start-datetime":"2026-11-22T00:00:00Z"},` +
		`"organization-name":"relay.example.org","policies":[{"failure-details":[` +
		`{"additional-information":"why","failed-session-count":2,"receiving-ip":"192.0.2.1","receiving-mx-hostname":"mx.b.test","result-type":"certificate-expired","sending-mta-ip":"198.51.100.7"},` +
		`{"additional-information":"why","failed-session-count":1,"receiving-ip":"192.0.2.1","receiving-mx-hostname":"mx2.b.test","result-type":"starttls-not-supported","sending-mta-ip":"198.51.100.7"}],` +
		`"policy":{"mx-host":["*.b.test"],"policy-domain":"b.test","policy-string":["version: STSv1","mode: enforce","mx: *.b.test"],"policy-type":"sts"},` +
		`"summary":{"total-failure-session-count":3,"total-successful-session-count":3}}],"report-id":"2026-11-22_b.test@relay.example.org"}`
	if string(text) != want {
		t.Errorf("%s\nwant %s", text, want)
	}
	c.Done("2026-11-22", "b.test")
	if err := c.Save(tomorrow); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir, tomorrow)
	if _, domains := c.Due(tomorrow); !slices.Equal(domains["2026-11-22"], []string{"c.test"}) {
		t.Errorf("after a report: %v", domains)
	}
	later := noon.AddDate(0, 0, 5)
	if err := c.Save(later); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
		t.Errorf("still there: %v", files)
	}
}

// Strangers choose what is counted; it stays bounded.
func TestBounds(t *testing.T) {
	c := open(t, t.TempDir(), noon)
	long := strings.Repeat("ü", 10_000)
	for i := range 25_000 {
		c.Add(noon, tlsrpt.Session{Domain: fmt.Sprintf("d%d.test", i), Type: "sts", Result: "x"})
		s := sts("r", fmt.Sprintf("mx%d.b.test", i))
		s.Detail, s.Policy = long, slices.Repeat([]string{fmt.Sprint(i % 50)}, 200)
		c.Add(noon, s)
	}
	_, domains := c.Due(noon.Add(24 * time.Hour))
	if n := len(domains["2026-11-22"]); n != 20_000 {
		t.Errorf("%d domains", n)
	}
	r, err := c.Report("2026-11-22", "b.test", us)
	if err != nil {
		t.Fatal(err)
	}
	to, _ := relay.ParsePath("tls@b.test")
	_, got := read(t, r.Message(us, to))
	if n := len(got["policies"].([]any)); n != 10 {
		t.Errorf("%d policies", n)
	}
}

// A damaged file is told and thrown away.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	for i, damage := range []string{"", "{", "null", `{"domains":{"a":null}}`, `{"domains":{"a":{"policies":[null]}}}`, `{"domains":{"a":{"policies":[{"failures":[null]}]}}}`} {
		file := filepath.Join(dir, "2026-11-22.json")
		if err := os.WriteFile(file, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := tlsrpt.Open(dir, noon)
		if c == nil || err == nil {
			t.Fatalf("%d: %v", i, err)
		}
		c.Add(noon, sts("x", "y"))
		if err := c.Save(noon); err != nil {
			t.Error(err)
		}
	}
}

func TestRecord(t *testing.T) {
	for record, want := range map[string]string{
		"v=TLSRPTv1;rua=mailto:a@b.test":                                         "a@b.test",
		"v=TLSRPTv1;rua=MAILTO:a@b.test,HTTPS://b.test/x":                        "a@b.test https://b.test/x",
		"v=TLSRPTv1; rua=https://b.test/x, mailto:a@b.test,mailto:c@d.test; x=y": "a@b.test c@d.test https://b.test/x",
		"v=TLSRPTv1; rua=mailto:a%2Bb@b.test?subject=x":                          "a+b@b.test",
		"v=TLSRPTv1; rua=https://B.test:443/x?y=z#f":                             "https://b.test/x?y=z",
		"v=TLSRPTv1; rua=https://b.test/x,https://b.test/x":                      "https://b.test/x",
		"v=TLSRPTv1; rua=https://b.test:8443/x":                                  "",
		"v=TLSRPTv1; rua=https://user:secret@b.test/x":                           "",
		"v=TLSRPTv1; rua=https://127.0.0.1/x":                                    "",
		"v=TLSRPTv1; rua=https://[::1]/x":                                        "",
		"v=TLSRPTv1; rua=https:b.test":                                           "",
		"v=TLSRPTv1; rua=http://b.test/x":                                        "",
		"v=TLSRPTv1; rua=https://b.test/\x00":                                    "",
		"v=TLSRPTv1; rua=https://b.test/" + strings.Repeat("x", 3000):            "",
		"v=TLSRPTv1; rua=mailto:a@b.test%0d%0aBcc:x@y.test":                      "",
		"v=TLSRPTv1":                      "",
		"v=TLSRPTv2; rua=mailto:a@b.test": "",
		"rua=mailto:a@b.test; v=TLSRPTv1": "",
		"":                                "",
	} {
		to := tlsrpt.ParseRecord([]string{"other", record})
		var got []string
		for _, p := range to.Mail {
			got = append(got, p.String())
		}
		if got = append(got, to.HTTPS...); strings.Join(got, " ") != want || to.None() != (want == "") {
			t.Errorf("%q: %v", record, got)
		}
	}
	if got := tlsrpt.ParseRecord([]string{"v=TLSRPTv1;rua=mailto:a@b.test", "v=TLSRPTv1;rua=mailto:c@b.test"}); !got.None() {
		t.Errorf("two records: %v", got)
	}
}

// Strangers write the record: whatever they write, what comes of it may be
// sent to, and stays few.
func FuzzRecord(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=https://b.test/x, mailto:a@b.test")
	f.Add("v=TLSRPTv1; rua=https://b.test:443/%0d%0a?x#y,https://\u202e.test/")
	f.Fuzz(func(t *testing.T, record string) {
		to := tlsrpt.ParseRecord([]string{record})
		if len(to.Mail) > 10 || len(to.HTTPS) > 3 {
			t.Errorf("%v", to)
		}
		for _, u := range to.HTTPS {
			if !strings.HasPrefix(u, "https://") || strings.ContainsAny(u, "\r\n\x00 ") {
				t.Errorf("%q", u)
			}
		}
	})
}
