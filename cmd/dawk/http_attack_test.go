package main_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dawk/relay/identity"
)

// httpTarget is the real program with a few users, and what its attackers need.
type httpTarget struct {
	*testing.T
	addr   string
	scheme string
	tokens []string
	held   []net.Conn
}

// anyServer believes any certificate: the program has made one for itself.
var anyServer = &tls.Config{InsecureSkipVerify: true}

// attacked starts the program with that many users, and TLS or not.
func attacked(t *testing.T, users int, secured bool) *httpTarget {
	t.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 4000 {
		t.Skipf("only %d open files are allowed here", files.Cur)
	}
	password, err := identity.HashPassword("correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	a := &httpTarget{T: t, scheme: "http"}
	mode := "off"
	if secured {
		a.scheme, mode = "https", "implicit"
	}
	var file strings.Builder
	for i := range users {
		token, hash := identity.NewToken()
		a.tokens = append(a.tokens, token)
		fmt.Fprintf(&file, "[[user]]\nname = \"app%d\"\npassword = %q\ntokens = [%q]\n", i, password, hash)
	}
	_, addrs := running(t, `hostname = "relay.test"
data_dir = "data"
[dns]
servers = ["127.0.0.1:9"]
[queue]
min_free = "1MiB"
[users]
file = "users.toml"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.1/32"]
[http]
address = "127.0.0.1:0"
tls = "`+mode+`"
`, file.String())
	a.addr = addrs[1]
	return a
}

// memory is what the program has ever held, in octets: the Go runtime's heap
// and stacks, which never shrink. The race detector's own memory is not in it.
func (a *httpTarget) memory() (octets int) {
	a.Helper()
	page := a.get("/metrics")
	for _, name := range []string{"go_memstats_heap_sys_bytes", "go_memstats_stack_sys_bytes"} {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(page)
		if m == nil {
			a.Fatalf("no %s in the metrics", name)
		}
		n, _ := strconv.ParseFloat(m[1], 64)
		octets += int(n)
	}
	return octets
}

// get asks for what needs no token, which must be there whatever happens.
func (a *httpTarget) get(path string) string {
	a.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: anyServer}}
	end := time.Now().Add(patience)
	resp, err := client.Get(a.scheme + "://" + a.addr + path)
	for err != nil && time.Now().Before(end) { // with the race detector in it, the program may need more than a stranger's time
		resp, err = client.Get(a.scheme + "://" + a.addr + path)
	}
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		a.Fatalf("%s: %d, %v: %s", path, resp.StatusCode, err, body)
	}
	return string(body)
}

// begin sends the beginning of a request and keeps the connection.
func (a *httpTarget) begin(parts ...string) (net.Conn, error) {
	c, err := net.Dial("tcp", a.addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if a.scheme == "https" {
		c = tls.Client(c, anyServer)
	}
	for _, p := range parts {
		if _, err := io.WriteString(c, p); err != nil {
			return c, err // refused in the middle: as it should be
		}
	}
	return c, nil
}

// crowd begins n requests at once and keeps them.
func (a *httpTarget) crowd(n int, request func(i int) []string) {
	a.Helper()
	if a.scheme == "https" {
		n /= 2 // as many connections as it takes
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, 64)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			c, err := a.begin(request(i)...)
			if c == nil {
				a.Error(err)
				return
			}
			mu.Lock()
			a.held = append(a.held, c)
			mu.Unlock()
		})
	}
	all.Wait()
}

// leave ends what crowd keeps.
func (a *httpTarget) leave() {
	for _, c := range a.held {
		c.Close()
	}
	a.held = nil
}

func (a *httpTarget) head(user int, length int) string {
	return fmt.Sprintf("POST /v1/messages HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		a.addr, a.tokens[user], length)
}

// post sends a whole request and gives the status of its answer.
func (a *httpTarget) post(user int, body string) int {
	a.Helper()
	req, err := http.NewRequest("POST", a.scheme+"://"+a.addr+"/v1/messages", strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.tokens[user])
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: anyServer}}
	resp, err := client.Do(req)
	if err != nil {
		a.Error(err)
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
		a.Error("503 without Retry-After")
	}
	return resp.StatusCode
}

const smallLetter = `{"from": "app@office.test", "to": "a@b.test", "subject": "x", "text": "x"}`

// Whatever is sent to the HTTP door, by strangers and by users, its memory stays
// within 128 MiB; health and metrics answer; and a user who sends little is
// heard while others send much.
func TestHTTPMemoryIsBounded(t *testing.T) {
	for name, secured := range map[string]bool{"clear": false, "TLS": true} {
		t.Run(name, func(t *testing.T) { boundedMemory(t, attacked(t, 12, secured)) })
	}
}

func boundedMemory(t *testing.T, a *httpTarget) {
	const most = 128 << 20
	before, began := a.memory(), time.Now()
	honest := func(after string) {
		t.Helper()
		a.get("/healthz")
		if code := a.post(11, smallLetter); code != http.StatusAccepted {
			t.Errorf("after %s a small message got %d", after, code)
		}
		now := a.memory() - before
		t.Logf("after %s: %d MiB more, %v", after, now>>20, time.Since(began).Round(time.Second/10))
		if now > most {
			t.Errorf("after %s the program holds %d MiB more", after, now>>20)
		}
		a.leave()
	}
	open := `{"from": "app@office.test", "to": "a@b.test", `
	for _, body := range []string{
		open + `"attachments": [` + strings.Repeat("{},", 70<<20/3) + `{}]}`,
		strings.Repeat("[", 10<<20),
		open + `"headers": {` + strings.Repeat(`"X-A": {"a":`, 1<<20),
		open + `"subject": "` + strings.Repeat("x", 10<<20) + `"}`,
		open + `"cc": [` + strings.Repeat(`"",`, 10<<20),
	} {
		if code := a.post(0, body); code != http.StatusBadRequest {
			t.Errorf("%.80s…: %d", body, code)
		}
	}
	honest("large bodies of nothing")

	const half = 64 << 10
	text := strings.Repeat("größer ", half/8)
	a.crowd(600, func(i int) []string { return []string{a.head(i%10, 2*half), open + `"text": "`, text} })
	honest("600 messages that are half-way")

	a.crowd(4, func(i int) []string { return []string{a.head(i%10, 70<<20)} })
	honest("four announced sizes")

	boxes := strings.Repeat(`"A B <someone.with.a.name@department.example.org>",`, 900)
	a.crowd(600, func(i int) []string { return []string{a.head(i%10, 2*half), open + `"cc": [`, boxes} })
	honest("600 lists of recipients")

	long := `"X-` + strings.Repeat("a", 20) + `": "` + strings.Repeat("y", 2000) + `",`
	a.crowd(600, func(i int) []string {
		return []string{a.head(i%10, 2*half), open + `"headers": {`, strings.Repeat(long, 99)}
	})
	honest("600 requests with many fields")

	letter := open + `"attachments": [{"filename": "a.bin", "content": "` + strings.Repeat("QUJD", 5<<20/4) + `"}]}`
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() {
			if code := a.post(i%10, letter); code != http.StatusAccepted {
				t.Errorf("a message of 5 MiB: %d", code)
			}
		})
	}
	all.Wait()
	honest("5 whole messages of 5 MiB")

	raw := "From: app@office.test\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", half/72)
	a.crowd(600, func(i int) []string {
		return []string{strings.Replace(strings.Replace(a.head(i%10, 2*half), "application/json", "message/rfc822", 1), "/v1/messages", "/v1/messages?from=app@office.test&to=a@b.test", 1), raw}
	})
	honest("600 whole messages that are half-way")

	var fields bytes.Buffer
	for i := range 16 << 10 {
		fmt.Fprintf(&fields, "%x:\r\n", 0x1000+i)
	}
	a.crowd(900, func(int) []string { return []string{"GET /v1/messages/x HTTP/1.1\r\n" + fields.String()} })
	honest("900 headers of 16,000 fields")
	a.crowd(900, func(int) []string {
		return []string{"GET /v1/messages/x?" + strings.Repeat("x", 100<<10)}
	})
	honest("900 long addresses")
}

// Callers without a token who say nothing may hold every connection for a while,
// but those of health and metrics; the others are told so at once.
func TestHealthIsReachable(t *testing.T) {
	for name, secured := range map[string]bool{"clear": false, "TLS": true} {
		t.Run(name, func(t *testing.T) { reachableHealth(attacked(t, 1, secured)) })
	}
}

func reachableHealth(a *httpTarget) {
	defer a.leave()
	a.crowd(1100, func(i int) []string {
		return []string{[]string{"", "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{", "GET /"}[i%3]}
	})
	a.get("/healthz")
	a.get("/readyz")
	a.get("/metrics")
	if code := a.post(0, smallLetter); code != http.StatusServiceUnavailable {
		a.Errorf("a message got %d", code)
	}
}
