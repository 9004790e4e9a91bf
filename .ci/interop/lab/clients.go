package lab

import (
	"cmp"
	"crypto/tls"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Errand is one message to be sent, and how.
type Errand struct {
	Addr    string // host:port
	Mode    string // plain, starttls, implicit, or trusted: no login
	Mech    string // PLAIN or LOGIN
	Pass    string // default: the right one
	Account string // default: userName
	From    string
	To      []string
	Input   []byte // the message, where the client takes one as it is
}

func (e Errand) user() string { return cmp.Or(e.Account, UserName) }

func (e Errand) Password() string {
	if e.Pass != "" {
		return e.Pass
	}
	return UserPass
}

func (e Errand) login() bool { return e.Mode != Trusted && e.Mode != Strict }

const ClientLimit = Patience

// Client sends errand.input as its own program does. The result is what it
// printed and whether it thought it had succeeded.
type Client struct {
	Name string
	Send func(*World, Errand) (string, error)
}

func VerbatimClients() []Client {
	return []Client{{"swaks", SendSwaks}, {"msmtp", sendMsmtp}, {"curl", SendCurl}, {"smtplib", sendPython}, {"net-smtp", sendGo}}
}

func SwaksArgs(w *World, e Errand) []string {
	args := []string{"swaks", "--server", e.Addr, "--from", e.From, "--to", strings.Join(e.To, ","),
		"--helo", "client.test", "--timeout", "60"}
	switch e.Mode {
	case Starttls:
		args = append(args, "--tls", "--tls-verify", "--tls-ca-path", w.Ca.CaFile)
	case Implicit:
		args = append(args, "--tls-on-connect", "--tls-verify", "--tls-ca-path", w.Ca.CaFile)
	}
	if e.login() {
		args = append(args, "--auth", e.Mech, "--auth-user", e.user(), "--auth-password", e.Password())
	}
	return args
}

func SendSwaks(w *World, e Errand) (string, error) {
	return RunTool(w.Ctx, ClientLimit, e.Input, nil, append(SwaksArgs(w, e), "--data", "-")...)
}

func sendMsmtp(w *World, e Errand) (string, error) {
	host, port, err := net.SplitHostPort(e.Addr)
	if err != nil {
		return "", err
	}
	args := []string{"msmtp", "--host=" + host, "--port=" + port, "--from=" + e.From, "--domain=client.test",
		"--timeout=60", "--debug"}
	switch e.Mode {
	case Starttls:
		args = append(args, "--tls=on", "--tls-starttls=on", "--tls-trust-file="+w.Ca.CaFile)
	case Implicit:
		args = append(args, "--tls=on", "--tls-starttls=off", "--tls-trust-file="+w.Ca.CaFile)
	}
	if e.login() {
		args = append(args, "--auth="+strings.ToLower(e.Mech), "--user="+e.user(),
			"--passwordeval=echo "+e.Password())
	}
	return RunTool(w.Ctx, ClientLimit, e.Input, []string{"HOME=" + w.Dir}, append(append(args, "--"), e.To...)...)
}

func SendCurl(w *World, e Errand) (string, error) {
	scheme := "smtp"
	if e.Mode == Implicit {
		scheme = "smtps"
	}
	args := []string{"curl", "--silent", "--show-error", "--verbose", "--max-time", "60", "--disable",
		"--url", scheme + "://" + e.Addr + "/client.test", "--cacert", w.Ca.CaFile,
		"--mail-from", e.From, "--upload-file", "-"}
	if e.Mode == Starttls {
		args = append(args, "--ssl-reqd")
	}
	if e.login() {
		args = append(args, "--user", e.user()+":"+e.Password(), "--login-options", "AUTH="+e.Mech)
	}
	for _, to := range e.To {
		args = append(args, "--mail-rcpt", to)
	}
	return RunTool(w.Ctx, ClientLimit, e.Input, nil, args...)
}

// sendGo is the client of Go's standard library.
func sendGo(w *World, e Errand) (string, error) {
	c, err := dialGo(w, e)
	if err != nil {
		return "", err
	}
	defer c.Close()
	steps := []func() error{func() error { return c.Hello("client.test") }}
	config := &tls.Config{RootCAs: w.Ca.pool, ServerName: "localhost"}
	if e.Mode == Starttls {
		steps = append(steps, func() error { return c.StartTLS(config) })
	}
	if e.login() {
		auth := smtp.PlainAuth("", e.user(), e.Password(), "localhost")
		if e.Mech == "LOGIN" {
			auth = &loginAuth{e.user(), e.Password()}
		}
		steps = append(steps, func() error { return c.Auth(auth) })
	}
	steps = append(steps, func() error { return c.Mail(e.From) })
	for _, to := range e.To {
		steps = append(steps, func() error { return c.Rcpt(to) })
	}
	steps = append(steps, func() error {
		body, err := c.Data()
		if err != nil {
			return err
		}
		_, err = body.Write(e.Input)
		return errors.Join(err, body.Close())
	}, c.Quit)
	for _, step := range steps {
		if err := step(); err != nil {
			return err.Error(), fmt.Errorf("net/smtp: %w", err) // which is all that it prints
		}
	}
	return "", nil
}

func dialGo(w *World, e Errand) (*smtp.Client, error) {
	conn, err := net.DialTimeout("tcp", e.Addr, replyTimeout)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(ClientLimit)); err != nil {
		return nil, err
	}
	if e.Mode == Implicit {
		conn = tls.Client(conn, &tls.Config{RootCAs: w.Ca.pool, ServerName: "localhost"})
	}
	return smtp.NewClient(conn, "localhost")
}

// loginAuth is LOGIN, which net/smtp leaves to its users.
type loginAuth struct{ user, pass string }

func (a *loginAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return "LOGIN", nil, nil }

func (a *loginAuth) Next(question []byte, more bool) ([]byte, error) {
	switch {
	case !more:
		return nil, nil
	case string(question) == "Username:":
		return []byte(a.user), nil
	}
	return []byte(a.pass), nil
}

//go:embed client.py
var pythonClient string

func sendPython(w *World, e Errand) (string, error) { return Python(w, e, "raw") }

// Python runs client.py; kind says which message it makes.
func Python(w *World, e Errand, kind string) (string, error) {
	host, port, err := net.SplitHostPort(e.Addr)
	if err != nil {
		return "", err
	}
	mech := e.Mech
	if !e.login() {
		mech = ""
	}
	return RunTool(w.Ctx, ClientLimit, e.Input,
		[]string{"INTEROP_PASSWORD=" + e.Password(), "PYTHONIOENCODING=utf-8"},
		append([]string{"python3", "-c", pythonClient, e.Mode, host, port, w.Ca.CaFile, mech, e.user(),
			kind, e.From}, e.To...)...)
}

// SendMail is s-nail, the mail(1) of Debian: it makes the message itself.
func SendMail(w *World, e Errand, args ...string) (string, error) {
	// It compares certificates with names only.
	mta := url.URL{Scheme: "smtp", Host: strings.Replace(e.Addr, "127.0.0.1", "localhost", 1)}
	if e.Mode == Implicit {
		mta.Scheme = "smtps"
	}
	argv := []string{"s-nail", "-:/", "-vv", "-Sv15-compat", "-Ssendwait", "-Sexpandaddr", "-Shostname=client.test",
		"-Snosave", "-Sttycharset=utf-8", "-Stls-ca-file=" + w.Ca.CaFile, "-Stls-ca-no-defaults", "-Stls-verify=strict"}
	if e.Mode == Starttls {
		argv = append(argv, "-Ssmtp-use-starttls")
	}
	if e.login() {
		argv = append(argv, "-Ssmtp-auth="+strings.ToLower(e.Mech))
		mta.User = url.UserPassword(e.user(), e.Password())
	} else {
		argv = append(argv, "-Ssmtp-auth=none")
	}
	argv = append(argv, "-Smta="+mta.String())
	argv = append(append(argv, "-r", e.From), args...)
	return RunTool(w.Ctx, ClientLimit, e.Input, []string{"HOME=" + w.Dir, "MAILRC=/dev/null", "LC_ALL=C.UTF-8"},
		append(argv, e.To...)...)
}

// pipes are a program's standard input and output.
type pipes struct {
	io.WriteCloser
	io.Reader
}

// Openssl speaks through s_client: TLS by an independent implementation.
func Openssl(w *World, addr string, more ...string) (*dialogue, *process, error) {
	cmd := exec.Command("openssl", append([]string{"s_client", "-quiet", "-connect", addr, "-CAfile", w.Ca.CaFile,
		"-verify_return_error", "-verify_hostname", "localhost", "-servername", "localhost"}, more...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	r, out, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p := &process{Cmd: cmd, Out: &output{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, p.Out
	err = cmd.Start()
	out.Close()
	if err != nil {
		r.Close()
		return nil, nil, err
	}
	go func() { p.err = cmd.Wait(); close(p.done) }()
	return newDialogue(pipes{in, r}), p, r.SetReadDeadline(time.Now().Add(time.Minute))
}

func Base64Plain(pass string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + UserName + "\x00" + pass))
}

// Attachment makes a file of n octets that no compression shortens.
func (w *World) Attachment(name string, n int) (string, error) {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	file := filepath.Join(w.Dir, name)
	return file, os.WriteFile(file, b, 0o644)
}

// HostPort are the parts of an address; certificates are made out to localhost.
func (e Errand) HostPort() (host, port string) {
	_, port, _ = net.SplitHostPort(e.Addr) // ours
	return "localhost", port
}

func LastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func SimpleMessage(marker string) []byte {
	return fmt.Appendf(nil, "From: Alice <%s>\r\nTo: someone@%s\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n"+
		"Message-ID: <%s@client.test>\r\nSubject: %s\r\n\r\nHello,\r\nthis is %s.\r\n", UserName, SinkDomain, marker, marker, marker)
}
