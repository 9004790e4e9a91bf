package main

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

// errand is one message to be sent, and how.
type errand struct {
	addr    string // host:port
	mode    string // plain, starttls, implicit, or trusted: no login
	mech    string // PLAIN or LOGIN
	pass    string // default: the right one
	account string // default: userName
	from    string
	to      []string
	input   []byte // the message, where the client takes one as it is
}

func (e errand) user() string { return cmp.Or(e.account, userName) }

func (e errand) password() string {
	if e.pass != "" {
		return e.pass
	}
	return userPass
}

func (e errand) login() bool { return e.mode != trusted && e.mode != strict }

const clientLimit = patience

// client sends errand.input as its own program does. The result is what it
// printed and whether it thought it had succeeded.
type client struct {
	name string
	send func(*world, errand) (string, error)
}

func verbatimClients() []client {
	return []client{{"swaks", sendSwaks}, {"msmtp", sendMsmtp}, {"curl", sendCurl}, {"smtplib", sendPython}, {"net-smtp", sendGo}}
}

func swaksArgs(w *world, e errand) []string {
	args := []string{"swaks", "--server", e.addr, "--from", e.from, "--to", strings.Join(e.to, ","),
		"--helo", "client.test", "--timeout", "60"}
	switch e.mode {
	case starttls:
		args = append(args, "--tls", "--tls-verify", "--tls-ca-path", w.ca.caFile)
	case implicit:
		args = append(args, "--tls-on-connect", "--tls-verify", "--tls-ca-path", w.ca.caFile)
	}
	if e.login() {
		args = append(args, "--auth", e.mech, "--auth-user", e.user(), "--auth-password", e.password())
	}
	return args
}

func sendSwaks(w *world, e errand) (string, error) {
	return runTool(w.ctx, clientLimit, e.input, nil, append(swaksArgs(w, e), "--data", "-")...)
}

func sendMsmtp(w *world, e errand) (string, error) {
	host, port, err := net.SplitHostPort(e.addr)
	if err != nil {
		return "", err
	}
	args := []string{"msmtp", "--host=" + host, "--port=" + port, "--from=" + e.from, "--domain=client.test",
		"--timeout=60", "--debug"}
	switch e.mode {
	case starttls:
		args = append(args, "--tls=on", "--tls-starttls=on", "--tls-trust-file="+w.ca.caFile)
	case implicit:
		args = append(args, "--tls=on", "--tls-starttls=off", "--tls-trust-file="+w.ca.caFile)
	}
	if e.login() {
		args = append(args, "--auth="+strings.ToLower(e.mech), "--user="+e.user(),
			"--passwordeval=echo "+e.password())
	}
	return runTool(w.ctx, clientLimit, e.input, []string{"HOME=" + w.dir}, append(append(args, "--"), e.to...)...)
}

func sendCurl(w *world, e errand) (string, error) {
	scheme := "smtp"
	if e.mode == implicit {
		scheme = "smtps"
	}
	args := []string{"curl", "--silent", "--show-error", "--verbose", "--max-time", "60", "--disable",
		"--url", scheme + "://" + e.addr + "/client.test", "--cacert", w.ca.caFile,
		"--mail-from", e.from, "--upload-file", "-"}
	if e.mode == starttls {
		args = append(args, "--ssl-reqd")
	}
	if e.login() {
		args = append(args, "--user", e.user()+":"+e.password(), "--login-options", "AUTH="+e.mech)
	}
	for _, to := range e.to {
		args = append(args, "--mail-rcpt", to)
	}
	return runTool(w.ctx, clientLimit, e.input, nil, args...)
}

// sendGo is the client of Go's standard library.
func sendGo(w *world, e errand) (string, error) {
	c, err := dialGo(w, e)
	if err != nil {
		return "", err
	}
	defer c.Close()
	steps := []func() error{func() error { return c.Hello("client.test") }}
	config := &tls.Config{RootCAs: w.ca.pool, ServerName: "localhost"}
	if e.mode == starttls {
		steps = append(steps, func() error { return c.StartTLS(config) })
	}
	if e.login() {
		auth := smtp.PlainAuth("", e.user(), e.password(), "localhost")
		if e.mech == "LOGIN" {
			auth = &loginAuth{e.user(), e.password()}
		}
		steps = append(steps, func() error { return c.Auth(auth) })
	}
	steps = append(steps, func() error { return c.Mail(e.from) })
	for _, to := range e.to {
		steps = append(steps, func() error { return c.Rcpt(to) })
	}
	steps = append(steps, func() error {
		body, err := c.Data()
		if err != nil {
			return err
		}
		_, err = body.Write(e.input)
		return errors.Join(err, body.Close())
	}, c.Quit)
	for _, step := range steps {
		if err := step(); err != nil {
			return err.Error(), fmt.Errorf("net/smtp: %w", err) // which is all that it prints
		}
	}
	return "", nil
}

func dialGo(w *world, e errand) (*smtp.Client, error) {
	conn, err := net.DialTimeout("tcp", e.addr, replyTimeout)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(clientLimit)); err != nil {
		return nil, err
	}
	if e.mode == implicit {
		conn = tls.Client(conn, &tls.Config{RootCAs: w.ca.pool, ServerName: "localhost"})
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

func sendPython(w *world, e errand) (string, error) { return python(w, e, "raw") }

// python runs client.py; kind says which message it makes.
func python(w *world, e errand, kind string) (string, error) {
	host, port, err := net.SplitHostPort(e.addr)
	if err != nil {
		return "", err
	}
	mech := e.mech
	if !e.login() {
		mech = ""
	}
	return runTool(w.ctx, clientLimit, e.input,
		[]string{"INTEROP_PASSWORD=" + e.password(), "PYTHONIOENCODING=utf-8"},
		append([]string{"python3", "-c", pythonClient, e.mode, host, port, w.ca.caFile, mech, e.user(),
			kind, e.from}, e.to...)...)
}

// sendMail is s-nail, the mail(1) of Debian: it makes the message itself.
func sendMail(w *world, e errand, args ...string) (string, error) {
	// It compares certificates with names only.
	mta := url.URL{Scheme: "smtp", Host: strings.Replace(e.addr, "127.0.0.1", "localhost", 1)}
	if e.mode == implicit {
		mta.Scheme = "smtps"
	}
	argv := []string{"s-nail", "-:/", "-vv", "-Sv15-compat", "-Ssendwait", "-Sexpandaddr", "-Shostname=client.test",
		"-Snosave", "-Sttycharset=utf-8", "-Stls-ca-file=" + w.ca.caFile, "-Stls-ca-no-defaults", "-Stls-verify=strict"}
	if e.mode == starttls {
		argv = append(argv, "-Ssmtp-use-starttls")
	}
	if e.login() {
		argv = append(argv, "-Ssmtp-auth="+strings.ToLower(e.mech))
		mta.User = url.UserPassword(e.user(), e.password())
	} else {
		argv = append(argv, "-Ssmtp-auth=none")
	}
	argv = append(argv, "-Smta="+mta.String())
	argv = append(append(argv, "-r", e.from), args...)
	return runTool(w.ctx, clientLimit, e.input, []string{"HOME=" + w.dir, "MAILRC=/dev/null", "LC_ALL=C.UTF-8"},
		append(argv, e.to...)...)
}

// pipes are a program's standard input and output.
type pipes struct {
	io.WriteCloser
	io.Reader
}

// openssl speaks through s_client: TLS by an independent implementation.
func openssl(w *world, addr string, more ...string) (*dialogue, *process, error) {
	cmd := exec.Command("openssl", append([]string{"s_client", "-quiet", "-connect", addr, "-CAfile", w.ca.caFile,
		"-verify_return_error", "-verify_hostname", "localhost", "-servername", "localhost"}, more...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	r, out, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p := &process{cmd: cmd, out: &output{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, p.out
	err = cmd.Start()
	out.Close()
	if err != nil {
		r.Close()
		return nil, nil, err
	}
	go func() { p.err = cmd.Wait(); close(p.done) }()
	return newDialogue(pipes{in, r}), p, r.SetReadDeadline(time.Now().Add(time.Minute))
}

func base64Plain(pass string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + userName + "\x00" + pass))
}

// attachment makes a file of n octets that no compression shortens.
func (w *world) attachment(name string, n int) (string, error) {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	file := filepath.Join(w.dir, name)
	return file, os.WriteFile(file, b, 0o644)
}
