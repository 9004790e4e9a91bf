package main_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// TestConformance tries the rules of RFC 5321 §4.1 to §4.5 on the real program,
// over a socket, octet by octet. The dialogues are in conformance_rules_test.go:
//
//	-> line sent with CRLF
//	=> "Go string sent as it is"
//	<- beginning of the expected reply (its last line)
//	<- EOF the server closes
//
// A dialogue that does not end with EOF must have no reply left over. Each
// reply has the form of §4.2, at most 512 octets a line, and an enhanced code of
// its class (RFC 2034) where it may have one.
func TestConformance(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	_, addrs := running(t, conformanceConfig, "[[user]]\nname = \"bob\"\npassword = \""+string(hash)+"\"\n")
	for _, r := range slices.Concat(conformance, forgiven) {
		t.Run(r.section+" "+r.rule, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", addrs[r.listener])
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			d := &conformanceTalk{t: t, c: c, r: bufio.NewReader(c)}
			for line := range strings.SplitSeq(r.talk, "\n") {
				d.step(strings.TrimLeft(line, "\t "))
			}
			if d.last == "EOF" {
				return
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(d.r); err != nil || len(rest) > 0 {
				t.Errorf("more was said: %q, %v\n%s", rest, err, &d.log)
			}
		})
	}
}

// What is taken although it is wrong from whoever logs in on an ordinary listener
// stands in the documentation, row by row, and nothing else does.
func TestWhatIsTakenIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/submission.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| section | taken although it is wrong |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var want []string
	for _, r := range conformance {
		if rule, ok := strings.CutPrefix(r.rule, "taken: "); ok && r.listener == 0 {
			want = append(want, "| "+r.section+" | "+rule+" |")
		}
	}
	if got := strings.TrimSpace(table); got != strings.Join(want, "\n") {
		t.Errorf("docs/submission.md has\n%s\nbut what is taken is\n%s", got, strings.Join(want, "\n"))
	}
}

const conformanceConfig = `hostname = "relay.test"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
bare_newline = "normalize"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.0/8"]
[[listener]]
address = "127.0.0.1:0"
tls = "off"
auth = "off"
trusted_networks = ["127.0.0.0/8"]
profile = "device"
[users]
file = "users.toml"
[dns]
servers = ["127.0.0.1:9"]
[queue]
min_free = "1MiB"
[limits]
max_message_size = "64KiB"
max_recipients = 100
max_connections_per_ip = 0
[http]
address = ""
`

// conformanceRule is a dialogue with one of the listeners.
type conformanceRule struct {
	section, rule string
	listener      int
	talk          string
}

// conformanceTalk is one dialogue.
type conformanceTalk struct {
	t    *testing.T
	c    net.Conn
	r    *bufio.Reader
	log  strings.Builder
	last string // the last reply that was read
}

func (d *conformanceTalk) step(line string) {
	d.t.Helper()
	send := ""
	switch {
	case line == "" || line[0] == '#':
		return
	case line == "->" || strings.HasPrefix(line, "-> "):
		send = strings.TrimPrefix(line[2:], " ") + "\r\n"
	case strings.HasPrefix(line, "=> "):
		var err error
		if send, err = strconv.Unquote(line[3:]); err != nil {
			d.t.Fatalf("%s: %v", line, err)
		}
	case strings.HasPrefix(line, "<- "):
		d.last = d.reply()
		if !strings.HasPrefix(d.last, line[3:]) {
			d.t.Fatalf("wanted %q, got %q\n%s", line[3:], d.last, &d.log)
		}
		return
	default:
		d.t.Fatalf("what is %q?", line)
	}
	d.log.WriteString("-> " + strconv.Quote(send[:min(len(send), 200)]) + "\n")
	_, _ = io.WriteString(d.c, send) // a server that has closed is seen by what it said
}

var replyLine = regexp.MustCompile(`^[2345][0-5][0-9](?:-[\t -~]*| [\t -~]+)\r\n$`) // RFC 5321 §4.2

// reply is the last line of the next one.
func (d *conformanceTalk) reply() string {
	d.t.Helper()
	for n := 0; ; n++ {
		line, err := d.r.ReadString('\n')
		if err != nil && line == "" && n == 0 {
			d.log.WriteString("<- EOF\n")
			return "EOF"
		}
		d.log.WriteString("<- " + line)
		if !replyLine.MatchString(line) || len(line) > 512 { // §4.5.3.1.5
			d.t.Fatalf("no reply: %q, %v\n%s", line, err, &d.log)
		}
		line = strings.TrimSuffix(line, "\r\n")
		if line[3] == ' ' {
			d.checkEnhanced(line, n)
			return line
		}
	}
}

// checkEnhanced demands the code of RFC 2034 §3 but where there is none: in the
// greeting, the answers to EHLO and HELO, and 3yz.
func (d *conformanceTalk) checkEnhanced(line string, before int) {
	d.t.Helper()
	if line[0] == '3' || strings.HasPrefix(line, "220 ") || before > 0 || line == "250 relay.test" {
		return
	}
	if len(line) < 9 || line[4] != line[0] || line[5] != '.' {
		d.t.Errorf("no enhanced code of its class: %q\n%s", line, &d.log)
	}
}
