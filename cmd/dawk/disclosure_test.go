package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"dawk/relay/identity"
)

// TestRefusalsTellNothing collects what the real program says to those it
// refuses, over SMTP, HTTP and as sendmail. Nobody can tell from it whether a
// user exists, where anything lies on the machine, or what is somebody else's.
func TestRefusalsTellNothing(t *testing.T) {
	d := newDisclosure(t)
	t.Run("smtp", d.smtp)
	t.Run("http", d.http)
	t.Run("sendmail", d.sendmail)
	for _, said := range d.said {
		for what, hint := range map[string]string{"a path": d.dir, "a place of the system": "/var/", "another place": "/etc/", "a temporary place": os.TempDir(),
			"a file": ".toml", "the queue": "queue.db", "a call": "open ", "a stack": "goroutine", "a source file": ".go:", "a user": "victim", "another's token": d.token} {
			if strings.Contains(said, hint) {
				t.Errorf("%s is told: %q", what, said)
			}
		}
	}
	if len(d.said) < 40 {
		t.Errorf("only %d refusals", len(d.said))
	}
}

// disclosure is a relay with two users, "victim" and "app", who may each send
// as themselves only; the programs here are app's, or nobody's.
type disclosure struct {
	dir, http1 string
	smtp1      string // logins, no trust
	token      string // of victim
	appToken   string
	said       []string
}

const disclosureConfig = `hostname = "relay.test"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "optional"
[users]
file = "users.toml"
[limits]
max_connections_per_ip = 0
auth_failures_per_ip = 0
[dns]
servers = ["127.0.0.1:9"]
[queue]
min_free = "1MiB"
[http]
address = "127.0.0.1:0"
[sendmail]
socket = "submit.sock"
drop = "missing/drop"
`

func newDisclosure(t *testing.T) *disclosure {
	d := &disclosure{dir: t.TempDir()}
	hash, err := identity.HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	var tokenHash string
	for name, token := range map[string]*string{"victim": &d.token, "app": &d.appToken} {
		*token, tokenHash = identity.NewToken()
		fmt.Fprintf(&users, "[[user]]\nname = %q\npassword = %q\ntokens = [%q]\nsenders = [\"%s@office.test\"]\n", name, hash, tokenHash, name)
	}
	fmt.Fprintf(&users, "[[user]]\nname = \"elsewhere\"\npassword = %q\nnetworks = [\"192.0.2.0/24\"]\n", hash)
	for name, text := range map[string]string{"dawk.toml": disclosureConfig, "users.toml": users.String()} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := startProgram(d.dir, "serve", "-c", filepath.Join(d.dir, "dawk.toml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	if !p.log.wait(regexp.MustCompile(`msg=ready`), p.exited) {
		t.Fatalf("it never got ready:\n%s", p.log.text())
	}
	d.smtp1 = listening.FindStringSubmatch(p.log.text())[1]
	m := regexp.MustCompile(`msg=listening address=(127\.0\.0\.1:\d+) for="metrics`).FindStringSubmatch(p.log.text())
	if m == nil {
		t.Fatalf("no HTTP address in the log:\n%s", p.log.text())
	}
	d.http1 = "http://" + m[1]
	return d
}

// same demands that what depends on a secret is answered alike, but for what
// the asker said.
func (d *disclosure) same(t *testing.T, a, b, saidA, saidB string) {
	t.Helper()
	if strings.ReplaceAll(a, saidA, "?") != strings.ReplaceAll(b, saidB, "?") {
		t.Errorf("%s and %s are told apart:\n%q\n%q", saidA, saidB, a, b)
	}
	d.said = append(d.said, strings.ReplaceAll(a, saidA, "?"), strings.ReplaceAll(b, saidB, "?"))
}

// ask says lines on a connection of its own, and gives the reply to the last.
func (d *disclosure) ask(t *testing.T, lines ...string) (reply string) {
	t.Helper()
	c, r := greeted(t, d.smtp1)
	defer c.Close()
	for _, line := range append([]string{"EHLO client.test"}, lines...) {
		fmt.Fprintf(c, "%s\r\n", line)
		for reply = "    -"; len(reply) > 3 && reply[3] != ' '; {
			var err error
			if reply, err = r.ReadString('\n'); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
	}
	return reply
}

func (d *disclosure) smtp(t *testing.T) {
	plain := func(user, pass string) string { return d.ask(t, "AUTH PLAIN "+b64("\x00"+user+"\x00"+pass)) }
	d.same(t, plain("victim", "wrong"), plain("nobody", "wrong"), "victim", "nobody")
	d.same(t, plain("victim", ""), plain("nobody", ""), "victim", "nobody")
	d.same(t, plain("elsewhere", "correct horse"), plain("nobody", "correct horse"), "elsewhere", "nobody")
	login := func(user string) string { return d.ask(t, "AUTH LOGIN", b64(user), b64("wrong")) }
	d.same(t, login("victim"), login("nobody"), "victim", "nobody")
	name := func(user string) string { return d.ask(t, "AUTH LOGIN", b64(user)) }
	d.same(t, name("victim"), name("nobody"), "victim", "nobody")
	for _, verb := range []string{"VRFY ", "EXPN "} {
		for _, domain := range []string{"", "@office.test", "@relay.test"} {
			d.same(t, d.ask(t, verb+"victim"+domain), d.ask(t, verb+"nobody"+domain), "victim", "nobody")
		}
	}
	rcpt := func(to string) string { return d.ask(t, "MAIL FROM:<a@office.test>", "RCPT TO:<"+to+">") }
	d.same(t, rcpt("victim@relay.test"), rcpt("nobody@relay.test"), "victim", "nobody")
	d.same(t, rcpt("victim@office.test"), rcpt("nobody@office.test"), "victim", "nobody")
	app := "AUTH PLAIN " + b64("\x00app\x00correct horse")
	from := func(sender string) string { return d.ask(t, app, "MAIL FROM:<"+sender+"@office.test>") }
	d.same(t, from("victim"), from("nobody"), "victim", "nobody")
	as := func(user string) string {
		return d.ask(t, "AUTH PLAIN "+b64(user+"\x00app\x00correct horse"))
	}
	d.same(t, as("victim"), as("nobody"), "victim", "nobody")
	ok := []string{app, "MAIL FROM:<app@office.test>", "RCPT TO:<r@b.test>"}
	for _, lines := range [][]string{{"AUTH"}, {"AUTH X"}, {"AUTH PLAIN *"}, {"AUTH PLAIN AA=="}, {"MAIL FROM:<x"}, {"STARTTLS"}, {"BDAT 1"}, {"FROB"}, {app, "MAIL FROM:<app@office.test> SIZE=99999999999"},
		append(ok, "DATA", "From: a\r\nFrom: b\r\n\r\n."), append(ok, "DATA", strings.Repeat("x", 999)+"\r\n."),
		append(ok, "DATA", strings.Repeat("Received: x\r\n", 51)+"\r\n."), append(ok, "DATA x"), append(ok, "RCPT TO:<x@[1]>")} {
		d.said = append(d.said, d.ask(t, lines...))
	}
}

// get is the status and the body of an answer.
func (d *disclosure) get(t *testing.T, method, path, token, content string) string {
	t.Helper()
	req, err := http.NewRequest(method, d.http1+path, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Header.Del("Date")
	resp.Header.Del("Content-Length") // that of the body
	return fmt.Sprint(resp.StatusCode, " ", resp.Header, " ", string(b))
}

func (d *disclosure) http(t *testing.T) {
	sent := d.get(t, "POST", "/v1/messages", d.token, `{"from":"victim@office.test","to":"r@b.test","subject":"secret","text":"x"}`)
	m := regexp.MustCompile(`"id":"([^"]+)"`).FindStringSubmatch(sent)
	if m == nil {
		t.Fatalf("victim could not send: %s", sent)
	}
	if own := d.get(t, "GET", "/v1/messages/"+m[1], d.token, ""); !strings.Contains(own, "r@b.test") {
		t.Fatalf("victim cannot see its own: %s", own)
	}
	other := "00000000001" + m[1][11:]
	d.same(t, d.get(t, "GET", "/v1/messages/"+m[1], d.appToken, ""), d.get(t, "GET", "/v1/messages/"+other, d.appToken, ""), m[1], other)
	d.same(t, d.get(t, "GET", "/v1/messages/"+m[1], "", ""), d.get(t, "GET", "/v1/messages/"+other, "", ""), m[1], other)
	wrong := d.token[:len(d.token)-1] + "_"
	d.same(t, d.get(t, "GET", "/v1/messages/"+m[1], wrong, ""), d.get(t, "GET", "/v1/messages/"+m[1], "dawk_x", ""), wrong, "dawk_x")
	from := func(sender string) string {
		return d.get(t, "POST", "/v1/messages", d.appToken, `{"from":"`+sender+`@office.test","to":"r@b.test","text":"x"}`)
	}
	d.same(t, from("victim"), from("nobody"), "victim", "nobody")
	for _, path := range []string{"/", "/v1/", "/v1/messages", "/v1/messages/..%2f..%2fetc%2fpasswd", "/v1/messages/x", "/../../etc/passwd", "/data/queue.db", "/debug/pprof/"} {
		// What the asker said may be repeated.
		d.said = append(d.said, strings.ReplaceAll(d.get(t, "GET", path, d.appToken, ""), "../../etc/passwd", "?"))
	}
	for _, content := range []string{"", "{", `{"from":1}`, `{"x":1}`, `{"from":"app@office.test","to":"x"}`, `{"from":"app@office.test","to":"r@b.test","attachments":[{"filename":"/etc/passwd"}]}`,
		`{"from":"app@office.test","to":"r@b.test","headers":{"Received":"x"}}`} {
		d.said = append(d.said, d.get(t, "POST", "/v1/messages", d.appToken, content))
	}
}

// run is sendmail with the given input; it gives what it said.
func (d *disclosure) run(t *testing.T, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("sendmail", append([]string{"-C", filepath.Join(d.dir, "dawk.toml")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err == nil {
		t.Errorf("%v was taken: %s", args, &out)
	}
	return out.String()
}

func (d *disclosure) sendmail(t *testing.T) {
	d.said = append(d.said, d.run(t, "From: a@b.test\nFrom: c@b.test\n\nx\n", "r@b.test"), d.run(t, "x\n", "-t"),
		d.run(t, "x\n"), d.run(t, "x\n", "a@ @b"), d.run(t, "x\n", "-bd"), d.run(t, strings.Repeat("Received: x\n", 60)+"\nx\n", "r@b.test"),
		d.run(t, "x\n", "-Q", "r@b.test"))
	// Neither the socket nor the folder: it says so, and not where they would be.
	if err := os.Remove(filepath.Join(d.dir, "submit.sock")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(d.dir, "missing")); err != nil {
		t.Fatal(err)
	}
	said := d.run(t, "x\n", "r@b.test")
	if !strings.Contains(said, "could it be left for later") {
		t.Errorf("%q", said)
	}
	d.said = append(d.said, said)
}
