package dkim_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	verify "github.com/emersion/go-msgauth/dkim"
	"go.uber.org/goleak"

	"dawk/relay"
	"dawk/relay/dkim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

func message(s string) relay.Content { return content{bytes.NewReader([]byte(s))} }

const letter = "From: A <a@example.org>\r\nTo: b@b.test\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n" +
	"Message-ID: <1@example.org>\r\n\r\nhello\r\n\r\nworld \t x\r\n\r\n\r\n"

// site makes keys and answers for DNS.
type site struct {
	t   *testing.T
	dir string
	txt map[string][]string
}

func newSite(t *testing.T) *site { return &site{t, t.TempDir(), map[string][]string{}} }

func (s *site) key(kind, domain, selector string) dkim.Key {
	s.t.Helper()
	private, file, err := dkim.NewKey(kind)
	if err != nil {
		s.t.Fatal(err)
	}
	k := dkim.Key{Domain: domain, Selector: selector, File: filepath.Join(s.dir, selector+".pem")}
	if err := os.WriteFile(k.File, file, 0o600); err != nil {
		s.t.Fatal(err)
	}
	norm, err := k.Normalize()
	if err != nil {
		s.t.Fatal(err)
	}
	s.txt[norm.RecordName()] = []string{dkim.Record(private)}
	return k
}

func (s *site) open(keys ...dkim.Key) *dkim.Signer {
	s.t.Helper()
	signer, err := dkim.Open(keys, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return signer
}

func (s *site) sign(signer *dkim.Signer, m string) string {
	s.t.Helper()
	header, err := signer.Sign(&relay.Message{Identity: "shop"}, message(m))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(header)) {
		if len(line) > 1000 || !strings.HasSuffix(line, "\r\n") {
			s.t.Errorf("a line of %d octets: %q", len(line), line)
		}
	}
	return string(header)
}

// verify gives the domain of each signature and whether it holds.
func (s *site) verify(m string) (good, bad []*verify.Verification) {
	s.t.Helper()
	all, err := verify.VerifyWithOptions(strings.NewReader(m), &verify.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if txt := s.txt[name]; txt != nil {
			return txt, nil
		}
		return nil, errors.New("no such record")
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, v := range all {
		if v.Err == nil {
			good = append(good, v)
		} else {
			bad = append(bad, v)
		}
	}
	return good, bad
}

// Signatures of both kinds hold in another implementation, and break when
// anything that is signed changes or is added.
func TestSignaturesHold(t *testing.T) {
	s := newSite(t)
	signer := s.open(s.key("rsa", "example.org", "r1"), s.key("ed25519", "example.org", "e1"), s.key("rsa", "other.test", "o1"))
	for name, m := range map[string]string{
		"plain":          letter,
		"no body":        letter[:strings.Index(letter, "\r\n\r\n")+4],
		"no empty line":  letter[:strings.Index(letter, "\r\n\r\n")+2],
		"large":          letter + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 20_000),
		"a long header":  "X-Long: " + strings.Repeat("y", 100) + strings.Repeat("\r\n "+strings.Repeat("z", 900), 100) + "\r\n" + letter,
		"8-bit":          strings.Replace(letter, "hello", "h\xe4ll\xc3\xb6", 2),
		"repeated field": strings.Repeat("To: x@b.test\r\nList-Id: <l>\r\nCc: y\r\nReply-To: z\r\n", 50) + letter,
		"folded From":    strings.Replace(letter, "From: A <", "From: A\r\n\t <", 1),
		"odd spaces":     strings.Replace(letter, "Subject: hello", "sUBJECT :   hello   ", 1),
	} {
		header := s.sign(signer, m)
		if name == "no empty line" {
			m += "\r\n" // the verifier wants it
		}
		good, bad := s.verify(header + m)
		if len(good) != 2 || len(bad) != 0 || good[0].Domain != "example.org" {
			t.Errorf("%s: %d good, %d bad\n%s", name, len(good), len(bad), header)
			for _, b := range bad {
				t.Error(b.Err)
			}
		}
		if strings.Contains(header, " l=") || !strings.Contains(header, "c=relaxed/relaxed") {
			t.Errorf("%s: %s", name, header)
		}
	}
	header := s.sign(signer, letter)
	for name, change := range map[string]string{
		"body":         strings.Replace(letter, "world", "World", 1),
		"appended":     letter + "more\r\n",
		"subject":      strings.Replace(letter, "Subject: hello", "Subject: bye", 1),
		"second from":  "From: <x@evil.test>\r\n" + letter,
		"second to":    "To: <x@evil.test>\r\n" + letter,
		"new reply-to": "Reply-To: <x@evil.test>\r\n" + letter,
		"new MIME":     "Content-Type: text/html\r\n" + letter,
		"new cc":       "Cc: <x@evil.test>\r\n" + letter,
	} {
		if good, bad := s.verify(header + change); len(good) != 0 || len(bad) != 2 {
			t.Errorf("%s changed: %d good, %d bad", name, len(good), len(bad))
		}
	}
	if good, _ := s.verify(header + "Received: from x\r\nX-Other: y\r\n" + letter); len(good) != 2 {
		t.Error("fields that relays add break the signature")
	}
}

// The key is that of the domain of the one From mailbox, and no other.
func TestTheKeyIsChosenByFrom(t *testing.T) {
	s := newSite(t)
	signer := s.open(s.key("ed25519", "Example.ORG", "a"), s.key("ed25519", "bücher.example", "b"))
	for from, want := range map[string]string{
		"a@example.org":                                  "example.org",
		"A <a@EXAMPLE.org>":                              "example.org",
		`"a, b <x@evil.test>" <a@example.org>`:           "example.org",
		"=?iso-2022-jp?B?GyRCJCIbKEI=?= <a@example.org>": "example.org",
		"Doe, John [Office] <a@example.org>":             "example.org",
		"G: a@example.org;":                              "example.org",
		"a@bücher.example":                               "xn--bcher-kva.example",
		"a@xn--bcher-kva.example":                        "xn--bcher-kva.example",
		"a@sub.example.org":                              "", // no subdomains
		"a@org":                                          "",
		"a@example.org, b@example.org":                   "", // whose is it?
		"<a@example.org> <b@example.org>":                "",
		"a@example.org.evil.test":                        "",
		"a@[192.0.2.1]":                                  "",
		"":                                               "",
		"example.org":                                    "",
		"<@example.org":                                  "",
	} {
		m := "Sender: s@example.org\r\nFrom: " + from + "\r\nTo: b@b.test\r\n\r\nx\r\n"
		header := s.sign(signer, m)
		switch {
		case want == "" && header != "":
			t.Errorf("%q was signed: %s", from, header)
		case want != "" && !strings.Contains(header, " d="+want+";"):
			t.Errorf("%q: %q, want %s", from, header, want)
		}
	}
	for _, m := range []string{"", "\r\n", "\r\nFrom: a@example.org\r\n", "To: x\r\n\r\nFrom: a@example.org\r\n", "From: a@example.org\r\nFrom: a@example.org\r\n\r\n"} {
		if header := s.sign(signer, m); header != "" {
			t.Errorf("%q was signed", m)
		}
	}
}

// A key file that changes is taken; one that is broken is not.
func TestKeyFilesAreReadAgain(t *testing.T) {
	s := newSite(t)
	k := s.key("ed25519", "example.org", "a")
	old, err := os.ReadFile(k.File)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		signer := s.open(k)
		for i, step := range []struct {
			file []byte
			good bool // against the record of the first key
		}{{old, true}, {old[:20], true}, {nil, false}, {old, true}} {
			file := step.file
			if file == nil {
				if _, file, err = dkim.NewKey("rsa"); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(k.File, file, 0o600); err != nil {
				t.Fatal(err)
			}
			// The file system's clock is not the bubble's.
			when := time.Date(2026, 11, 22, 12, i, 0, 0, time.UTC)
			if err := os.Chtimes(k.File, when, when); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			if good, _ := s.verify(s.sign(signer, letter) + letter); (len(good) == 1) != step.good {
				t.Errorf("step %d: %d signatures hold", i, len(good))
			}
		}
	})
}

// PKCS #1 is read, too; everything else is refused with a reason.
func TestKeyFiles(t *testing.T) {
	write := func(kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), "k.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, file, want string }{
		{"PKCS #1", write("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), ""},
		{"EC", write("PRIVATE KEY", pkcs8), "no private key for DKIM"},
		{"public", write("PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)), "no private key for DKIM"},
		{"encrypted", write("ENCRYPTED PRIVATE KEY", []byte("x")), "encrypted"},
		{"garbage", write("PRIVATE KEY", []byte("x")), "no private key for DKIM"},
		{"missing", filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		_, err := dkim.LoadKey(c.file)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err = dkim.Open([]dkim.Key{{Domain: "a b", Selector: "x"}, {Domain: "a.test", Selector: "-x"}, {Domain: "a.test", Selector: "x", File: "/none"}}, nil)
	if n := len(strings.Split(fmt.Sprint(err), "\n")); n != 3 {
		t.Errorf("%d faults: %v", n, err)
	}
}

func TestRecords(t *testing.T) {
	key, _, err := dkim.NewKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, _, err := dkim.NewKey("rsa")
	if err != nil {
		t.Fatal(err)
	}
	own := dkim.Record(key)
	p := own[strings.Index(own, "p=")+2:]
	for _, c := range []struct {
		record string
		want   error
	}{
		{own, nil},
		{strings.ReplaceAll(own, "; ", ";") + ";", nil},
		{"k=ed25519; h=sha256; n=note; p=" + p[:10] + " \t" + p[10:], nil},
		{own + "; t=s", nil},
		{own + "; t=s:y", dkim.ErrTesting},
		{own + "; s=email", nil},
		{own + "; s=other", dkim.ErrInvalid},
		{"v=DKIM1; p=" + p, dkim.ErrOther}, // k= is rsa unless it says so
		{"v=DKIM1; k=ed25519; p=", dkim.ErrRevoked},
		{"v=DKIM1; k=ed25519", dkim.ErrInvalid},
		{"v=spf1 -all", dkim.ErrInvalid},
		{"", dkim.ErrInvalid},
		{dkim.Record(rsaKey), dkim.ErrOther},
	} {
		if err := dkim.CheckRecord(c.record, key); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.record, err, c.want)
		}
	}
	if err := dkim.CheckRecord("p="+strings.SplitAfter(dkim.Record(rsaKey), "p=")[1], rsaKey); err != nil {
		t.Error(err)
	}
}

// A message that cannot be read is an error, not an unsigned message.
func TestTroubleIsTold(t *testing.T) {
	s := newSite(t)
	signer := s.open(s.key("rsa", "example.org", "r1"), s.key("ed25519", "example.org", "e1"))
	for _, at := range []int{0, 10, 40_000, 199_000} {
		if header, err := signer.Sign(&relay.Message{}, failing{at}); err == nil {
			t.Errorf("failing at %d: %q", at, header)
		}
	}
}

// failing is a message of 200,000 octets that cannot be read beyond one.
type failing struct{ at int }

func (failing) Size() int64  { return 200_000 }
func (failing) Close() error { return nil }
func (f failing) ReadAt(p []byte, off int64) (int, error) {
	m := letter + strings.Repeat("x\r\n", 70_000)
	n := copy(p, m[off:])
	if int(off)+n > f.at {
		return max(0, f.at-int(off)), errors.New("disk trouble")
	}
	return n, nil
}

func FuzzSign(f *testing.F) {
	dir := f.TempDir()
	private, file, err := dkim.NewKey("ed25519")
	if err != nil {
		f.Fatal(err)
	}
	k := dkim.Key{Domain: "example.org", Selector: "a", File: filepath.Join(dir, "a.pem")}
	if err := os.WriteFile(k.File, file, 0o600); err != nil {
		f.Fatal(err)
	}
	signer, err := dkim.Open([]dkim.Key{k}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{letter, "", "From: <a@example.org>\r\n", "From: \"x\\\" <a@example.org>\r\n\r\n.\r\n"} {
		f.Add(seed)
	}
	lookup := func(string) ([]string, error) { return []string{dkim.Record(private)}, nil }
	f.Fuzz(func(t *testing.T, m string) {
		// What acceptance lets through: strict lines, of header fields only up
		// to the empty line.
		if strings.ContainsAny(strings.ReplaceAll(m, "\r\n", ""), "\r\n") || m != "" && !strings.HasSuffix(m, "\r\n") {
			return
		}
		head, _, _ := strings.Cut(m, "\r\n\r\n")
		if slices.ContainsFunc(strings.Split(head, "\r\n"), func(l string) bool {
			return !strings.HasPrefix(l, " ") && !strings.HasPrefix(l, "\t") && strings.IndexByte(l, ':') <= 0 && l != ""
		}) || strings.Contains(strings.ToLower(m), "dkim-signature") {
			return
		}
		header, err := signer.Sign(&relay.Message{Identity: "shop"}, message(m))
		if err != nil || len(header) == 0 {
			return
		}
		if !strings.Contains(m, "\r\n\r\n") {
			m += "\r\n"
		}
		all, err := verify.VerifyWithOptions(strings.NewReader(string(header)+m), &verify.VerifyOptions{LookupTXT: lookup})
		if err != nil || len(all) != 1 || all[0].Err != nil {
			t.Errorf("%v %v\n%q", err, all, m)
		}
	})
}

// TestOwns: which signatures were made in the name of a domain of ours.
func TestOwns(t *testing.T) {
	s := newSite(t)
	signer := s.open(s.key("ed25519", "office.test", "e1"))
	for field, want := range map[string]bool{
		"DKIM-Signature: v=1; a=rsa-sha256;\r\n d=office.test; s=old; b=x\r\n": true,
		"DKIM-Signature: d = Office.\r\n Test ; s=e1\r\n":                      false, // no domain has a blank in it
		"dkim-signature:s=e1;d=OFFICE.TEST\r\n":                                true,
		"DKIM-Signature: d=sub.office.test; s=e1\r\n":                          false,
		"DKIM-Signature: bd=office.test; d=other.test\r\n":                     false,
		"DKIM-Signature: s=e1\r\n":                                             false,
		"DKIM-Signature\r\n":                                                   false,
	} {
		if got := signer.Owns([]byte(field)); got != want {
			t.Errorf("%q: %v", field, got)
		}
	}
}

// TestIdentitiesOfAKey: with identities a key signs for those named, and for the
// relay itself.
func TestIdentitiesOfAKey(t *testing.T) {
	s := newSite(t)
	open, shop := s.key("ed25519", "example.org", "open"), s.key("ed25519", "example.org", "shop")
	shop.Identities = []string{"shop", "network:192.0.2.0/24"}
	signer := s.open(open, shop)
	for _, c := range []struct {
		m    relay.Message
		want int
	}{
		{relay.Message{Identity: "shop"}, 2},
		{relay.Message{Identity: "network:192.0.0.0/16", Client: "192.0.2.9"}, 2},
		{relay.Message{Identity: "network:192.0.0.0/16", Client: "192.0.3.9"}, 1},
		{relay.Message{Identity: "printer", Client: "192.0.2.9"}, 1},
		{relay.Message{Identity: "dawk"}, 2},
		{relay.Message{Notice: true}, 2},
	} {
		header, err := signer.Sign(&c.m, message("From: a@example.org\r\n\r\nbody\r\n"))
		if n := strings.Count(string(header), "DKIM-Signature:"); err != nil || n != c.want {
			t.Errorf("%+v: %d signatures, %v", c.m, n, err)
		}
	}
}
