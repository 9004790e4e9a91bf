package main_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"flag"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/rogpeppe/go-internal/testscript"
)

// smtpCommand plays a dialogue against $SMTP or the given address. Lines of
// the file:
//
//	-> text        is sent, with CRLF; $VAR is replaced, \r \n \t \0 are themselves
//	->- text       is sent without CRLF
//	<- 250 text    the next reply must begin so, on its last line; other lines of
//	               a multi-line reply are skipped unless <-- names one; a queue ID in it
//	               becomes $ID
//	<-- 250-SIZE   the reply that follows must contain this line's beginning
//	!<-- 250-AUTH  the reply that follows must not
//	plain U P      sends AUTH PLAIN with an initial response
//	login U P      answers as AUTH LOGIN does, after -> AUTH LOGIN
//	starttls       the handshake, after the 220; any certificate
//	dottedtls      the handshake, with a dot behind the server's name, as some
//	               devices write it; the server is to refuse it
//	close          the connection is to be closed by the server
//	cut            closes it from here
//
// Empty lines and lines that begin with # are for people.
func smtpCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: smtp FILE [ADDR]")
	}
	addr := ts.Getenv("SMTP")
	if len(args) > 1 {
		addr = args[1]
	}
	c, err := net.Dial("tcp", addr)
	ts.Check(err)
	d := &dialogue{ts: ts, conn: c, r: bufio.NewReader(c)}
	defer func() { d.conn.Close() }()
	for i, line := range strings.Split(ts.ReadFile(args[0]), "\n") {
		if err := d.step(strings.TrimRight(line, "\r")); err != nil {
			ts.Fatalf("%s:%d: %s: %v", args[0], i+1, line, err)
		}
	}
}

// hiddenCommand sets $TURN to characters that turn text around, have no width or
// are not seen, $STEER to what steers a terminal besides, and $HIDDEN to a regular
// expression that finds any of them.
func hiddenCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: hidden")
	}
	turn := "\u202e\u200b\u3164\ufeff"
	ts.Setenv("TURN", turn)
	ts.Setenv("STEER", turn+"\x1b[31m\x1b[2J\x1b]0;x\a\u009b")
	ts.Setenv("HIDDEN", `[\x00-\x08\x0b-\x1f\x7f-\x9f\x{200b}\x{202e}\x{feff}\x{3164}]`)
}

type dialogue struct {
	ts         *testscript.TestScript
	conn       net.Conn
	r          *bufio.Reader
	want, deny []string
}

var escapes = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\0`, "\x00")

func (d *dialogue) step(line string) error {
	_ = d.conn.SetDeadline(time.Now().Add(patience))
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "", "#":
		return nil
	case "->":
		return d.send(rest + `\r\n`)
	case "->-":
		return d.send(rest)
	case "<--":
		d.want = append(d.want, rest)
		return nil
	case "!<--":
		d.deny = append(d.deny, rest)
		return nil
	case "<-":
		return d.expect(rest)
	case "plain":
		u, p, _ := strings.Cut(d.expand(rest), " ")
		return d.send("AUTH PLAIN " + b64("\x00"+u+"\x00"+p) + `\r\n`)
	case "login":
		u, p, _ := strings.Cut(rest, " ")
		for _, answer := range []string{u, p} {
			if err := d.expect("334"); err != nil {
				return err
			}
			if err := d.send(b64(answer) + `\r\n`); err != nil {
				return err
			}
		}
		return nil
	case "starttls":
		tc := tls.Client(d.conn, &tls.Config{InsecureSkipVerify: true})
		d.conn, d.r = tc, bufio.NewReader(tc)
		return tc.Handshake()
	case "dottedtls":
		tc := tls.Client(dotted{d.conn}, &tls.Config{InsecureSkipVerify: true, ServerName: "relay.test-"})
		if err := tc.Handshake(); err == nil || !strings.Contains(err.Error(), "error decoding message") {
			return fmt.Errorf("the handshake: %v", err)
		}
		return nil
	case "close":
		if b, err := d.r.ReadByte(); err == nil {
			return fmt.Errorf("it is still open, and says %q", b)
		}
		return nil
	case "cut":
		return d.conn.Close()
	}
	return fmt.Errorf("no such step")
}

// dotted writes a dot into the server name of a handshake, which crypto/tls would
// leave out.
type dotted struct{ net.Conn }

func (d dotted) Write(p []byte) (int, error) {
	return d.Conn.Write(bytes.Replace(p, []byte("relay.test-"), []byte("relay.test."), 1))
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

var variable = regexp.MustCompile(`\$[A-Z]+[0-9]*`)

func (d *dialogue) expand(s string) string {
	return variable.ReplaceAllStringFunc(s, func(v string) string { return d.ts.Getenv(v[1:]) })
}

func (d *dialogue) send(s string) error {
	_, err := d.conn.Write([]byte(escapes.Replace(d.expand(s))))
	return err
}

func (d *dialogue) expect(prefix string) error {
	want, deny := d.want, d.deny
	d.want, d.deny = nil, nil
	var lines []string
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%w after %q", err, lines)
		}
		line = strings.TrimRight(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			break
		}
	}
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, prefix) {
		return fmt.Errorf("the reply is %q", lines)
	}
	if m := queuedAs.FindStringSubmatch(last); m != nil {
		d.ts.Setenv("ID", m[1])
	}
	has := func(start string) bool {
		for _, l := range lines {
			// The last line of a reply has a space where the others have a hyphen.
			if strings.HasPrefix(l, start) || len(l) > 3 && strings.HasPrefix(l[:3]+"-"+l[4:], start) {
				return true
			}
		}
		return false
	}
	for _, w := range want {
		if !has(w) {
			return fmt.Errorf("no line %q in %q", w, lines)
		}
	}
	for _, w := range deny {
		if has(w) {
			return fmt.Errorf("a line %q in %q", w, lines)
		}
	}
	return nil
}

var queuedAs = regexp.MustCompile(`queued as (\S+)`)

// sendCommand submits the message in FILE, as it stands but with CRLF, by
// go-smtp's client. It sets $ID to the queue ID. "!" expects a refusal, which
// goes to standard output. TO may be several addresses, joined by commas.
func sendCommand(ts *testscript.TestScript, neg bool, args []string) {
	f := flag.NewFlagSet("send", flag.ContinueOnError)
	user, pass := f.String("user", "", ""), f.String("pass", "", "")
	mode := f.String("tls", "", "starttls or implicit")
	if err := f.Parse(args); err != nil || f.NArg() < 3 {
		ts.Fatalf("usage: send [-user U -pass P] [-tls starttls|implicit] FROM TO FILE [ADDR]")
	}
	addr := ts.Getenv("SMTP")
	if f.NArg() > 3 {
		addr = f.Arg(3)
	}
	body := strings.ReplaceAll(strings.ReplaceAll(ts.ReadFile(f.Arg(2)), "\r\n", "\n"), "\n", "\r\n")
	reply, err := submit(addr, *mode, *user, *pass, f.Arg(0), strings.Split(f.Arg(1), ","), body)
	if neg {
		if err == nil {
			ts.Fatalf("it was accepted: %s", reply)
		}
		fmt.Fprintln(ts.Stdout(), err)
		return
	}
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), reply)
	m := queuedAs.FindStringSubmatch(reply)
	if m == nil {
		ts.Fatalf("no queue ID in the reply %q", reply)
	}
	ts.Setenv("ID", m[1])
}

// submit sends one message with go-smtp's client and gives the final reply.
func submit(addr, mode, user, pass, from string, to []string, body string) (string, error) {
	anyCert := &tls.Config{InsecureSkipVerify: true}
	var c *smtp.Client
	var err error
	switch mode {
	case "starttls":
		c, err = smtp.DialStartTLS(addr, anyCert)
	case "implicit":
		c, err = smtp.DialTLS(addr, anyCert)
	default:
		c, err = smtp.Dial(addr)
	}
	if err != nil {
		return "", err
	}
	defer c.Close()
	if user != "" {
		if err := c.Auth(sasl.NewPlainClient("", user, pass)); err != nil {
			return "", err
		}
	}
	if err := c.Mail(from, nil); err != nil {
		return "", err
	}
	for _, t := range to {
		if err := c.Rcpt(t, nil); err != nil {
			return "", err
		}
	}
	w, err := c.Data()
	if err != nil {
		return "", err
	}
	if _, err := w.Write([]byte(body)); err != nil {
		return "", err
	}
	r, err := w.CloseWithResponse()
	if err != nil {
		return "", err
	}
	return r.StatusText, c.Quit()
}
