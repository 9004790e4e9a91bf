package main_test

import (
	"encoding/base64"
	"net/http"
	"net/smtp"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The filter for fail2ban in the docs finds failed logins in the log, and the
// client's address, whatever the name holds.
func TestFail2banFilter(t *testing.T) {
	page, err := os.ReadFile("../../docs/submission.md")
	if err != nil {
		t.Fatal(err)
	}
	filter := regexp.MustCompile(`(?m)^failregex = (.*)$`).FindStringSubmatch(string(page))
	if filter == nil {
		t.Fatal("docs/submission.md has no failregex")
	}
	found := regexp.MustCompile(strings.Replace(filter[1], "<HOST>", `(\S+)`, 1))
	p, addrs := running(t, `hostname = "relay.test"
data_dir = "data"
[dns]
servers = ["127.0.0.1:9"]
[queue]
min_free = "1MiB"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
[users]
file = "users.toml"
[http]
address = "127.0.0.1:0"
`, "")
	c, err := smtp.Dial(addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello("client.test"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", `x" client=192.0.2.1 reason=credentials`} {
		login := base64.StdEncoding.EncodeToString([]byte("\x00" + name + "\x00wrong"))
		if _, err := c.Text.Cmd("AUTH PLAIN %s", login); err != nil {
			t.Fatal(err)
		}
		if code, text, err := c.Text.ReadResponse(535); err != nil {
			t.Fatal(code, text, err)
		}
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+addrs[1]+"/v1/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer dawk_wrong")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	p.end(syscall.SIGTERM)
	hits := 0
	for line := range strings.Lines(p.log.text()) {
		if m := found.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			hits++
			if m[1] != "127.0.0.1" {
				t.Errorf("the address is %s in %s", m[1], line)
			}
		}
	}
	if hits != 3 {
		t.Errorf("%d of 3 failed logins were found in\n%s", hits, p.log.text())
	}
}
