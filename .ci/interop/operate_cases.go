package main

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// operateCases: what an administrator and a Prometheus see.
func operateCases() []testCase {
	return []testCase{
		{"metrics pass promtool check metrics", func(t *T, w *world) {
			body, status, err := w.house.get("/metrics")
			if err != nil || status != http.StatusOK {
				t.Fatalf("/metrics: %d, %v", status, err)
			}
			out, err := runTool(w.ctx, time.Minute, []byte(body), nil, "promtool", "check", "metrics")
			if err != nil || strings.TrimSpace(out) != "" {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Notef("%d series", strings.Count(body, "\n")-strings.Count(body, "\n#"))
		}},
		{"healthz and readyz", func(t *T, w *world) {
			for _, path := range []string{"/healthz", "/readyz"} {
				if _, status, err := w.house.get(path); err != nil || status != http.StatusOK {
					t.Errorf("%s: %d, %v", path, status, err)
				}
			}
		}},
		{"why and queue for mail that waits", whyWaiting},
		{"sendmail-like: swaks, then queue is empty", func(t *T, w *world) {
			marker := newMarker()
			out, err := sendSwaks(w, errand{addr: w.house.addr(trusted), mode: trusted, from: userName,
				to: []string{"someone@" + sinkDomain}, input: simpleMessage(marker)})
			if err != nil {
				t.Fatalf("%v\n%s", err, lastLines(out, 5))
			}
			w.arrived(t, w.sink, marker, 1)
			w.emptyQueue(t, w.house)
		}},
		{"a user is added while it runs", userAdded},
		{"the certificate is replaced while it runs", certificateReplaced},
		{"without a configuration file", bareServe},
	}
}

var queuedAs = regexp.MustCompile(`queued as ([0-9A-Z]{11}-[0-9A-Z]{4})`)

// whyWaiting: mail for a host that does not listen waits, and every command
// that looks at it says why; then the operator bounces it.
func whyWaiting(t *T, w *world) {
	marker := newMarker()
	out, err := sendSwaks(w, errand{addr: w.house.addr(trusted), mode: trusted, from: userName,
		to: []string{"someone@" + deadDomain}, input: simpleMessage(marker)})
	t.must("swaks", err)
	m := queuedAs.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("swaks was not told a queue ID:\n%s", lastLines(out, 5))
	}
	var why string
	if !eventually(w.ctx, patience, func() bool {
		why, err = w.house.command("", "why", m[1])
		return err == nil && strings.Contains(why, "refused")
	}) {
		t.Fatalf("dawk why does not say that the connection is refused: %v\n%s", err, why)
	}
	for _, args := range [][]string{{"queue", "show", m[1]}, {"queue", "list", "to=@" + deadDomain}} {
		out, err := w.house.command("", args...)
		if err != nil || !strings.Contains(out, m[1]) {
			t.Errorf("dawk %v: %v\n%s", args, err, out)
		}
	}
	for _, args := range [][]string{{"why", m[1], "--json"}, {"queue", "show", m[1], "--json"}} {
		out, err := w.house.command("", args...)
		if err != nil || !json.Valid([]byte(out)) {
			t.Errorf("dawk %v is not JSON: %v\n%s", args, err, out)
		}
	}
	if out, err := w.house.command("", "queue", "bounce", m[1]); err != nil {
		t.Fatalf("queue bounce: %v\n%s", err, out)
	}
	notice(t, w, marker)
	w.emptyQueue(t, w.house)
}

// userAdded: the new password counts within seconds, and no longer once the
// user is removed.
func userAdded(t *T, w *world) {
	command := func(stdin string, args ...string) {
		if out, err := w.house.command(stdin, args...); err != nil {
			t.Fatalf("dawk %v: %v\n%s", args, err, out)
		}
	}
	login := func() bool {
		_, err := runTool(w.ctx, clientLimit, nil, nil, "swaks", "--server", w.house.addr(starttls), "--tls",
			"--auth", "PLAIN", "--auth-user", "bob", "--auth-password", "bob's password", "--quit-after", "AUTH")
		return err == nil
	}
	command("bob's password\n", "user", "add", "bob")
	if !eventually(w.ctx, patience, login) {
		t.Errorf("bob cannot log in:\n%s", w.said())
	}
	command("", "user", "remove", "bob")
	if !eventually(w.ctx, patience, func() bool { return !login() }) {
		t.Errorf("bob can still log in after his removal")
	}
}

// certificateReplaced: a relay serves the new certificate without a restart.
func certificateReplaced(t *T, w *world) {
	dir, err := w.subdir("newcert")
	t.must("mkdir", err)
	r, err := w.newRelay("certs", []string{implicit}, "")
	t.must("config", err)
	t.Cleanup(r.close)
	t.must("config", r.write(strings.NewReplacer(w.ca.certFile, dir+"/cert.pem", w.ca.keyFile, dir+"/key.pem").Replace(r.text(t))))
	if out, err := r.command(userPass+"\n", "user", "add", userName); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, err = newAuthority(dir)
	t.must("certificate", err)
	t.must("start", r.up())
	served := func() string {
		c, err := tls.Dial("tcp", r.addr(implicit), &tls.Config{InsecureSkipVerify: true}) // compared below
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		return string(c.ConnectionState().PeerCertificates[0].Raw)
	}
	before := served()
	_, err = newAuthority(dir)
	t.must("certificate", err)
	if !eventually(w.ctx, patience, func() bool { return served() != before }) {
		t.Errorf("the old certificate is still served:\n%s", r.proc.out.tail(5))
	}
}

// bareServe: dawk serve in an empty directory says what to try next. The
// ports of its defaults may be taken on this machine; then it must say so.
func bareServe(t *T, w *world) {
	dir, err := w.subdir("bare")
	t.must("mkdir", err)
	cmd := exec.Command(w.binary, "serve")
	cmd.Dir = dir
	p, err := startProcess(cmd)
	t.must("start", err)
	t.Cleanup(p.kill)
	said := func() bool {
		return strings.Contains(p.out.String(), "127.0.0.1:2525") && strings.Contains(p.out.String(), "127.0.0.1:8025")
	}
	ok := eventually(w.ctx, patience, func() bool { return !p.running() || said() })
	if !p.running() {
		if !strings.Contains(p.out.String(), "already in use") {
			t.Fatalf("it ended:\n%s", p.out.tail(5))
		}
		t.Skipf("port 2525 or 8025 is taken on this machine")
	}
	if !ok {
		t.Errorf("it does not tell of 127.0.0.1:2525 and 127.0.0.1:8025:\n%s", p.out.tail(10))
	}
}

// afterCases look back at all of the above.
func afterCases() []testCase {
	return []testCase{{"no panic and no data race in any relay", func(t *T, w *world) {
		for _, out := range w.outputs {
			text := out.String()
			for _, bad := range []string{"panic:", "DATA RACE", "fatal error:", "[recovered]"} {
				if i := strings.Index(text, bad); i >= 0 {
					t.Errorf("a relay printed %q:\n%s", bad, text[i:min(len(text), i+4000)])
				}
			}
		}
		t.Notef("%d runs of dawk serve", len(w.outputs))
	}}, {"no secret in any log", func(t *T, w *world) {
		for _, out := range w.outputs {
			for _, secret := range []string{userPass, accountPass, base64Plain(userPass)} {
				if strings.Contains(out.String(), secret) {
					t.Errorf("a relay logged the password %q", secret)
				}
			}
		}
	}}}
}
