package main

import (
	"crypto/tls"
	"dawk/.ci/interop/lab"
	"encoding/json"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// operateCases: what an administrator and a Prometheus see.
func operateCases() []lab.TestCase {
	return []lab.TestCase{
		{Name: "metrics pass promtool check metrics", Run: func(t *lab.T, w *lab.World) {
			body, status, err := w.House.Get("/metrics")
			if err != nil || status != http.StatusOK {
				t.Fatalf("/metrics: %d, %v", status, err)
			}
			out, err := lab.RunTool(w.Ctx, time.Minute, []byte(body), nil, "promtool", "check", "metrics")
			if err != nil || strings.TrimSpace(out) != "" {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Notef("%d series", strings.Count(body, "\n")-strings.Count(body, "\n#"))
		}},
		{Name: "every expression of the dashboard has an answer in Prometheus", Run: dashboard},
		{Name: "healthz and readyz", Run: func(t *lab.T, w *lab.World) {
			for _, path := range []string{"/healthz", "/readyz"} {
				if _, status, err := w.House.Get(path); err != nil || status != http.StatusOK {
					t.Errorf("%s: %d, %v", path, status, err)
				}
			}
		}},
		{Name: "why and queue for mail that waits", Run: whyWaiting},
		{Name: "sendmail-like: swaks, then queue is empty", Run: func(t *lab.T, w *lab.World) {
			marker := newMarker()
			out, err := lab.SendSwaks(w, lab.Errand{Addr: w.House.Addr(lab.Trusted), Mode: lab.Trusted, From: lab.UserName,
				To: []string{"someone@" + lab.SinkDomain}, Input: lab.SimpleMessage(marker)})
			if err != nil {
				t.Fatalf("%v\n%s", err, lab.LastLines(out, 5))
			}
			w.Arrived(t, w.Sink, marker, 1)
			w.EmptyQueue(t, w.House)
		}},
		{Name: "a user is added while it runs", Run: userAdded},
		{Name: "the certificate is replaced while it runs", Run: certificateReplaced},
		{Name: "without a configuration file", Run: bareServe},
	}
}

var queuedAs = regexp.MustCompile(`queued as ([0-9A-Z]{11}-[0-9A-Z]{4})`)

// whyWaiting: mail for a host that does not listen waits, and every command
// that looks at it says why; then the operator bounces it.
func whyWaiting(t *lab.T, w *lab.World) {
	marker := newMarker()
	out, err := lab.SendSwaks(w, lab.Errand{Addr: w.House.Addr(lab.Trusted), Mode: lab.Trusted, From: lab.UserName,
		To: []string{"someone@" + lab.DeadDomain}, Input: lab.SimpleMessage(marker)})
	t.Must("swaks", err)
	m := queuedAs.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("swaks was not told a queue ID:\n%s", lab.LastLines(out, 5))
	}
	var why string
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool {
		why, err = w.House.Command("", "why", m[1])
		return err == nil && strings.Contains(why, "refused")
	}) {
		t.Fatalf("dawk why does not say that the connection is refused: %v\n%s", err, why)
	}
	for _, args := range [][]string{{"queue", "show", m[1]}, {"queue", "list", "to=@" + lab.DeadDomain}} {
		out, err := w.House.Command("", args...)
		if err != nil || !strings.Contains(out, m[1]) {
			t.Errorf("dawk %v: %v\n%s", args, err, out)
		}
	}
	for _, args := range [][]string{{"why", m[1], "--json"}, {"queue", "show", m[1], "--json"}} {
		out, err := w.House.Command("", args...)
		if err != nil || !json.Valid([]byte(out)) {
			t.Errorf("dawk %v is not JSON: %v\n%s", args, err, out)
		}
	}
	if out, err := w.House.Command("", "queue", "bounce", m[1]); err != nil {
		t.Fatalf("queue bounce: %v\n%s", err, out)
	}
	notice(t, w, marker)
	w.EmptyQueue(t, w.House)
}

// userAdded: the new password counts within seconds, and no longer once the
// user is removed.
func userAdded(t *lab.T, w *lab.World) {
	command := func(stdin string, args ...string) {
		if out, err := w.House.Command(stdin, args...); err != nil {
			t.Fatalf("dawk %v: %v\n%s", args, err, out)
		}
	}
	login := func() bool {
		_, err := lab.RunTool(w.Ctx, lab.ClientLimit, nil, nil, "swaks", "--server", w.House.Addr(lab.Starttls), "--tls",
			"--auth", "PLAIN", "--auth-user", "bob", "--auth-password", "bob's password", "--quit-after", "AUTH")
		return err == nil
	}
	command("bob's password\n", "user", "add", "bob")
	if !lab.Eventually(w.Ctx, lab.Patience, login) {
		t.Errorf("bob cannot log in:\n%s", w.Said())
	}
	command("", "user", "remove", "bob")
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return !login() }) {
		t.Errorf("bob can still log in after his removal")
	}
}

// certificateReplaced: a relay serves the new certificate without a restart.
func certificateReplaced(t *lab.T, w *lab.World) {
	dir, err := w.Subdir("newcert")
	t.Must("mkdir", err)
	r, err := w.NewRelay("certs", []string{lab.Implicit}, "")
	t.Must("config", err)
	t.Cleanup(r.Close)
	t.Must("config", r.Write(strings.NewReplacer(w.Ca.CertFile, dir+"/cert.pem", w.Ca.KeyFile, dir+"/key.pem").Replace(r.Text(t))))
	if out, err := r.Command(lab.UserPass+"\n", "user", "add", lab.UserName); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, err = lab.NewAuthority(dir)
	t.Must("certificate", err)
	t.Must("start", r.Up())
	served := func() string {
		c, err := tls.Dial("tcp", r.Addr(lab.Implicit), &tls.Config{InsecureSkipVerify: true}) // compared below
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		return string(c.ConnectionState().PeerCertificates[0].Raw)
	}
	before := served()
	_, err = lab.NewAuthority(dir)
	t.Must("certificate", err)
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return served() != before }) {
		t.Errorf("the old certificate is still served:\n%s", r.Proc.Out.Tail(5))
	}
}

// bareServe: dawk serve in an empty directory says what to try next. The
// ports of its defaults may be taken on this machine; then it must say so.
func bareServe(t *lab.T, w *lab.World) {
	dir, err := w.Subdir("bare")
	t.Must("mkdir", err)
	cmd := exec.Command(w.Binary, "serve")
	cmd.Dir = dir
	p, err := lab.StartProcess(cmd)
	t.Must("start", err)
	t.Cleanup(p.Kill)
	said := func() bool {
		return strings.Contains(p.Out.String(), "127.0.0.1:2525") && strings.Contains(p.Out.String(), "127.0.0.1:8025")
	}
	ok := lab.Eventually(w.Ctx, lab.Patience, func() bool { return !p.Running() || said() })
	if !p.Running() {
		if !strings.Contains(p.Out.String(), "already in use") {
			t.Fatalf("it ended:\n%s", p.Out.Tail(5))
		}
		t.Skipf("port 2525 or 8025 is taken on this machine")
	}
	if !ok {
		t.Errorf("it does not tell of 127.0.0.1:2525 and 127.0.0.1:8025:\n%s", p.Out.Tail(10))
	}
}

// afterCases look back at all of the above.
func afterCases() []lab.TestCase {
	return []lab.TestCase{{Name: "no panic and no data race in any relay", Run: func(t *lab.T, w *lab.World) {
		for _, out := range w.Outputs {
			text := out.String()
			for _, bad := range []string{"panic:", "DATA RACE", "fatal error:", "[recovered]"} {
				if i := strings.Index(text, bad); i >= 0 {
					t.Errorf("a relay printed %q:\n%s", bad, text[i:min(len(text), i+4000)])
				}
			}
		}
		t.Notef("%d runs of dawk serve", len(w.Outputs))
	}}, {Name: "no secret in any log", Run: func(t *lab.T, w *lab.World) {
		for _, out := range w.Outputs {
			for _, secret := range []string{lab.UserPass, lab.AccountPass, lab.Base64Plain(lab.UserPass)} {
				if strings.Contains(out.String(), secret) {
					t.Errorf("a relay logged the password %q", secret)
				}
			}
		}
	}}}
}
