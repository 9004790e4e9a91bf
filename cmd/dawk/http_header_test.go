package main_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A stranger's request line and header fields are held in memory, so they are
// bounded; the recipients of a whole message have room in them.
func TestHTTPHeaderIsBounded(t *testing.T) {
	_, addrs := running(t, `hostname = "relay.test"
data_dir = "data"
[dns]
servers = ["127.0.0.1:9"]
[queue]
min_free = "1MiB"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.1/32"]
[http]
address = "127.0.0.1:0"
`, "")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(query string) int {
		t.Helper()
		resp, err := client.Get("http://" + addrs[1] + "/healthz?" + query)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code := get(strings.Repeat("to=someone.with.a.long.name@department.example.org&", 1000)); code != http.StatusOK {
		t.Errorf("a thousand recipients: %d", code)
	}
	if code := get(strings.Repeat("x", 200<<10)); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("200 KiB: %d", code)
	}
}

// A web page that lets its own name point to this machine reads nothing: on
// loopback without TLS a request must be for an address or for a name of ours.
func TestHTTPHostIsChecked(t *testing.T) {
	_, addrs := running(t, `hostname = "relay.test"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.1/32"]
[http]
address = "127.0.0.1:0"
names = ["mail.test"]
`, "")
	for host, want := range map[string]int{
		addrs[1]: http.StatusOK, "localhost": http.StatusOK, "LOCALHOST.:80": http.StatusOK, "[::1]:8025": http.StatusOK,
		"relay.test": http.StatusOK, "Mail.Test": http.StatusOK,
		"evil.example": http.StatusForbidden, "localhost.evil.example": http.StatusForbidden, "relay.test.evil.example:8025": http.StatusForbidden,
		"127.0.0.1.evil.example": http.StatusForbidden, "127.1": http.StatusForbidden, "xrelay.test": http.StatusForbidden,
	} {
		for _, path := range []string{"/metrics", "/healthz", "/v1/messages"} {
			req, err := http.NewRequest(http.MethodGet, "http://"+addrs[1]+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if (resp.StatusCode == http.StatusForbidden) != (want == http.StatusForbidden) {
				t.Errorf("%s for %q: %d", path, host, resp.StatusCode)
			}
		}
	}
}

// running is the real program with a configuration and a file of users, and the
// addresses that it listens on, in their order.
func running(t *testing.T, config, users string) (p *process, addrs []string) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "dawk.toml")
	if err := errors.Join(os.WriteFile(conf, []byte(config), 0o600), os.WriteFile(filepath.Join(dir, "users.toml"), []byte(users), 0o600)); err != nil {
		t.Fatal(err)
	}
	p, err := startProgram(dir, "serve", "-c", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	if !p.log.wait(regexp.MustCompile(`msg=ready`), p.exited) {
		t.Fatalf("it never got ready:\n%s", p.log.text())
	}
	for _, m := range listening.FindAllStringSubmatch(p.log.text(), -1) {
		addrs = append(addrs, m[1])
	}
	return p, addrs
}
