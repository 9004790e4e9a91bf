package lab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"time"
)

// dialogue is SMTP spoken by hand: what no well-behaved client would say.
type dialogue struct {
	conn io.ReadWriteCloser
	r    *bufio.Reader
	log  strings.Builder
}

const replyTimeout = 30 * time.Second

func DialPlain(addr string) (*dialogue, error) {
	c, err := net.DialTimeout("tcp", addr, replyTimeout)
	if err != nil {
		return nil, err
	}
	return newDialogue(c), c.SetDeadline(time.Now().Add(2 * time.Minute))
}

func newDialogue(c io.ReadWriteCloser) *dialogue {
	return &dialogue{conn: c, r: bufio.NewReader(c)}
}

func (d *dialogue) Close() { d.conn.Close() }

// Send writes raw octets.
func (d *dialogue) Send(raw string) error {
	d.log.WriteString("C: " + Clip(raw) + "\n")
	_, err := io.WriteString(d.conn, raw)
	return err
}

// Reply reads one reply; its lines are joined by "\n" and have no code but on
// the first.
func (d *dialogue) Reply() (code string, text string, err error) {
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			d.log.WriteString("S: " + err.Error() + "\n")
			return "", text, err
		}
		d.log.WriteString("S: " + line)
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 3 {
			return "", text, fmt.Errorf("not a reply: %q", line)
		}
		code, text = line[:3], text+strings.TrimLeft(line[3:], "- ")
		if len(line) == 3 || line[3] != '-' {
			return code, text, nil
		}
		text += "\n"
	}
}

// Play follows a script: a line that begins with "> " is sent with CRLF, one
// with "raw " is sent as Go would read it between quotes, one with "< " is a
// regular expression that must match the whole of the next reply from its
// code on; "closed" wants the connection to end.
func (d *dialogue) Play(script string) error {
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		var err error
		switch verb, rest, _ := strings.Cut(line, " "); verb {
		case "":
		case ">":
			err = d.Send(rest + "\r\n")
		case "raw":
			err = d.sendQuoted(rest)
		case "<":
			err = d.want(rest)
		case "closed":
			if _, _, e := d.Reply(); e == nil {
				err = fmt.Errorf("the connection is still open")
			}
		default:
			err = fmt.Errorf("unknown line in script: %q", line)
		}
		if err != nil {
			return fmt.Errorf("%w, in\n%s", err, d.log.String())
		}
	}
	return nil
}

var quoted = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00", `\t`, "\t")

// sendQuoted understands \r, \n, \t, \0, and "N*c" for c repeated N times.
func (d *dialogue) sendQuoted(s string) error {
	s = repeated.ReplaceAllStringFunc(s, func(m string) string {
		p := repeated.FindStringSubmatch(m)
		var n int
		fmt.Sscan(p[1], &n)
		return strings.Repeat(p[2], n)
	})
	return d.Send(quoted.Replace(s))
}

var repeated = regexp.MustCompile(`(\d+)\*(\S)`)

func (d *dialogue) want(pattern string) error {
	code, text, err := d.Reply()
	got := code + " " + text
	if err != nil {
		return fmt.Errorf("wanted %q: %w", pattern, err)
	}
	if ok, err := regexp.MatchString("^(?s:"+pattern+")", got); err != nil || !ok {
		return fmt.Errorf("wanted %q, got %q (%v)", pattern, got, err)
	}
	return nil
}

const Greeted = "< 220 relay.test\n> EHLO client.test\n< 250 \n"

func Space(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}
