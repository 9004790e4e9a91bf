package load

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"
)

// client is one connection of the source.
type client struct {
	cfg   *SourceConfig
	c     net.Conn
	r     *bufio.Reader
	buf   []byte
	close func()
}

const replyTimeout = time.Minute

func (c *client) use(nc net.Conn) {
	c.c, c.r = nc, bufio.NewReaderSize(nc, 4<<10)
}

// open takes a connection to where MAIL may be said.
func (c *client) open(nc net.Conn) error {
	if c.cfg.TLS == "implicit" {
		c.use(tls.Client(nc, insecure))
	}
	if err := c.expect("220"); err != nil {
		return err
	}
	if err := c.command("EHLO source.bench.test", "250"); err != nil {
		return err
	}
	if c.cfg.TLS == "starttls" {
		if err := c.command("STARTTLS", "220"); err != nil {
			return err
		}
		c.use(tls.Client(nc, insecure))
		if err := c.command("EHLO source.bench.test", "250"); err != nil {
			return err
		}
	}
	if c.cfg.User == "" {
		return nil
	}
	login := base64.StdEncoding.EncodeToString([]byte("\x00" + c.cfg.User + "\x00" + c.cfg.Password))
	return c.command("AUTH PLAIN "+login, "235")
}

func (c *client) command(line, want string) error {
	if err := c.write([]byte(line + "\r\n")); err != nil {
		return err
	}
	return c.expect(want)
}

func (c *client) expect(want string) error {
	reply, err := c.reply()
	if err == nil && !strings.HasPrefix(reply, want) {
		err = fmt.Errorf("%s where %s was expected", reply, want)
	}
	return err
}

func (c *client) write(b []byte) error {
	_, err := c.c.Write(b)
	return err
}

// reply reads to the last line of a reply and gives that.
func (c *client) reply() (string, error) {
	_ = c.c.SetReadDeadline(time.Now().Add(replyTimeout))
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(string(line), "\r\n"), nil
		}
	}
}

// send is one transaction. A reply other than "" is the refusal.
func (c *client) send(id int, body *body) (refusal string, err error) {
	b := append(c.buf[:0], "MAIL FROM:<source@bench.test>\r\n"...)
	cuts := []int{len(b)}
	for r := range c.cfg.Recipients {
		b = append(b, "RCPT TO:<"...)
		b = appendRecipient(b, id, r, c.cfg.Domains, c.cfg.Domain)
		b = append(b, ">\r\n"...)
		cuts = append(cuts, len(b))
	}
	b = append(b, "DATA\r\n"...)
	cuts = append(cuts, len(b))
	c.buf = b
	if refusal, err = c.envelope(b, cuts); err != nil {
		return "", err
	}
	if refusal != "" {
		return refusal, c.command("RSET", "250")
	}
	if err := c.content(id, body); err != nil {
		return "", err
	}
	reply, err := c.reply()
	if err == nil && !strings.HasPrefix(reply, "250") {
		refusal = code(reply)
	}
	return refusal, err
}

// envelope says MAIL, RCPT and DATA, all at once or one by one. A message that
// lost any recipient is given up, so that a count of messages says everything;
// where DATA was accepted all the same, the connection is.
func (c *client) envelope(b []byte, cuts []int) (refusal string, err error) {
	if c.cfg.Pipelining {
		if err := c.write(b); err != nil {
			return "", err
		}
	}
	from := 0
	for i, to := range cuts {
		want := "250"
		if i == len(cuts)-1 {
			want = "354"
		}
		if !c.cfg.Pipelining {
			if refusal != "" {
				return refusal, nil
			}
			if err := c.write(b[from:to]); err != nil {
				return "", err
			}
		}
		reply, err := c.reply()
		if err != nil {
			return "", err
		}
		switch {
		case strings.HasPrefix(reply, "421"):
			return "", fmt.Errorf("%s", reply)
		case refusal == "" && !strings.HasPrefix(reply, want):
			refusal = code(reply)
		case refusal != "" && want == "354" && strings.HasPrefix(reply, want):
			return "", fmt.Errorf("%s for some recipients, 354 for the others", refusal)
		}
		from = to
	}
	return refusal, nil
}

const oneWrite = 128 << 10 // octets; larger bodies are not copied behind their header

func (c *client) content(id int, body *body) error {
	b := appendHeader(c.buf[:0], id, body)
	if len(body.wire) <= oneWrite {
		c.buf = append(b, body.wire...)
		return c.write(c.buf)
	}
	c.buf = b
	if err := c.write(b); err != nil {
		return err
	}
	return c.write(body.wire)
}

func (c *client) quit() {
	_ = c.command("QUIT", "221") // politeness; nothing depends on it
	c.close()
}

// code is a reply without the words that differ each time.
func code(reply string) string {
	words := strings.SplitN(reply, " ", 3)
	if len(words) > 1 && strings.Count(words[1], ".") == 2 {
		return words[0] + " " + words[1]
	}
	return words[0]
}
