package main

import (
	"bytes"
	"dawk/.ci/interop/lab"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// dkimCases: verifiers that other people wrote find our signatures good, as
// mail lies in a mailbox behind Postfix.
func dkimCases() []lab.TestCase {
	var cases []lab.TestCase
	for _, c := range contents() {
		cases = append(cases, lab.TestCase{Name: c.name, Run: func(t *lab.T, w *lab.World) {
			l := w.Laboratory(t)
			marker := newMarker()
			params := ""
			if strings.Contains(c.name, "8-bit") {
				params = "BODY=8BITMIME"
			}
			l.Hand(t, params, []string{"signed@" + lab.PostDomain}, strings.ReplaceAll(c.text, "MARK", marker))
			verified(t, w, l, w.Arrived(t, w.Postfix, marker, 1)[0], "r1", "e1")
		}})
	}
	return append(cases,
		lab.TestCase{Name: "a bounce", Run: func(t *lab.T, w *lab.World) {
			l := w.Laboratory(t)
			marker := newMarker()
			l.Hand(t, "", []string{"reject-signed@" + lab.PostDomain}, string(lab.SimpleMessage(marker)))
			got := w.Arrived(t, w.Postfix, marker, 1)[0]
			if got.From != "<>" {
				t.Errorf("it is no notice: from %s", got.From)
			}
			verified(t, w, l, got, "r2")
		}},
		lab.TestCase{Name: "the records are those of the keys", Run: testKeys},
	)
}

const dkimpy = `import sys, dkim
records = dict(line.rstrip("\n").split(" ", 1) for line in open(sys.argv[1]))
lookup = lambda name, timeout=5: records.get((name.decode() if isinstance(name, bytes) else name).rstrip("."), "").encode()
message = sys.stdin.buffer.read()
d = dkim.DKIM(message)
n = sum(1 for h in d.headers if h[0].lower() == b"dkim-signature")
for i in range(n):
    d = dkim.DKIM(message, minkey=1024)
    try:
        ok = d.verify(idx=i, dnsfunc=lookup)
    except Exception as e:
        ok = repr(e)
    print(d.selector.decode() if d.selector else "?", ok)
`

// verified has dkimpy and OpenDKIM look at a message whose signatures should be
// of these selectors, all good; and at one that was changed, where none may be.
func verified(t *lab.T, w *lab.World, l *lab.Laboratory, got lab.Arrival, selectors ...string) {
	message := bytes.ReplaceAll(got.Content, []byte("\n"), []byte("\r\n"))
	keys := filepath.Join(w.Dir, "dkim.keys")
	var b strings.Builder
	for name, record := range l.Records {
		fmt.Fprintf(&b, "%s %s\n", name, record)
	}
	t.Must("keys", os.WriteFile(keys, []byte(b.String()), 0o644))
	python := func(m []byte) string {
		out, err := lab.RunTool(w.Ctx, time.Minute, m, nil, "/usr/bin/python3", "-c", dkimpy, keys)
		if err != nil {
			t.Fatalf("dkimpy: %v\n%s", err, out)
		}
		return out
	}
	changed := append(bytes.Clone(message), "one more line\r\n"...)
	out := python(message)
	for _, s := range selectors {
		if !strings.Contains(out, s+" True\n") {
			t.Errorf("dkimpy does not find the signature of %s good:\n%s", s, out)
		}
	}
	if n := strings.Count(out, "\n"); n != len(selectors) {
		t.Errorf("%d signatures, want %d:\n%s", n, len(selectors), out)
	}
	if out := python(changed); strings.Contains(out, "True") {
		t.Errorf("dkimpy finds the signature of a changed message good:\n%s", out)
	}
	// OpenDKIM 2.11 of Debian knows RSA only; it passes over Ed25519.
	if out, err := openDKIM(w, keys, message); err != nil || !strings.Contains(out, "s="+selectors[0]) || !strings.Contains(out, "succeeded") {
		t.Errorf("OpenDKIM: %v\n%s", err, out)
	}
	if out, _ := openDKIM(w, keys, changed); strings.Contains(out, "succeeded") {
		t.Errorf("OpenDKIM finds the signature of a changed message good:\n%s", out)
	}
	t.Notef("%s", strings.Join(selectors, ", "))
}

func openDKIM(w *lab.World, keys string, message []byte) (string, error) {
	conf, file := filepath.Join(w.Dir, "opendkim.conf"), filepath.Join(w.Dir, "opendkim.eml")
	for name, text := range map[string][]byte{conf: []byte("Mode v\nSyslog no\nTestPublicKeys " + keys + "\n"), file: message} {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return "", err
		}
	}
	return lab.RunTool(w.Ctx, time.Minute, nil, nil, "/usr/sbin/opendkim", "-x", conf, "-vv", "-t", file)
}

// testKeys: a key and a record that opendkim-genkey made are a pair to us, and
// its record does not fit our key.
func testKeys(t *lab.T, w *lab.World) {
	lab.Needs(t, "opendkim-genkey")
	dir := filepath.Join(w.Dir, "genkey")
	t.Must("mkdir", os.MkdirAll(dir, 0o755))
	out, err := lab.RunTool(w.Ctx, time.Minute, nil, nil, "opendkim-genkey", "-a", "-b", "2048", "-d", lab.SenderDomain, "-s", "theirs", "-D", dir)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	record, err := os.ReadFile(filepath.Join(dir, "theirs.txt"))
	t.Must("read", err)
	t.Must("DNS", w.Dns.Add(string(record)))
	conf := filepath.Join(dir, "dawk.toml")
	text := fmt.Sprintf("hostname = %q\ndata_dir = \"data\"\n[dns]\nservers = [%q]\n[[dkim]]\ndomain = %q\nselector = \"theirs\"\nkey = \"theirs.private\"\n",
		lab.Hostname, w.Dns.Addr(), lab.SenderDomain)
	for _, c := range []struct{ key, want string }{
		{"theirs.private", "✔ dkim theirs._domainkey." + lab.SenderDomain + " publishes the key"},
		{filepath.Join(w.Laboratory(t).Relay.Dir, "dkim", lab.SenderDomain+".r1.pem"), "theirs._domainkey." + lab.SenderDomain + ": the record holds another key"},
	} {
		t.Must("write", os.WriteFile(conf, []byte(strings.Replace(text, "theirs.private", c.key, 1)), 0o644))
		// Its exit status is about more than the key.
		if out, _ := lab.RunTool(w.Ctx, time.Minute, nil, nil, w.Binary, "-c", conf, "check"); !strings.Contains(strings.Join(strings.Fields(out), " "), c.want) {
			t.Errorf("dawk check does not say %q:\n%s", c.want, out)
		}
	}
}
