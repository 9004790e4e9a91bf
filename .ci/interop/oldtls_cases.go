package main

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"dawk/.ci/interop/lab"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// oldTLSCases: OpenSSL's server with settings that receivers still have. What it
// cannot do at the first try it does at the second, or the mail goes in the clear
// or waits, as the level of the route says.
func oldTLSCases() []lab.TestCase {
	const second, clear, waits = `msg=relayed .*tls=TLS1\.2 tls_level=unverified tls_try=second tls_failed=".*" `,
		`msg=relayed .*tls_level=fallback tls_try=clear tls_failed=".*" `, `msg=delayed .*4\.7\.5 `
	var cases []lab.TestCase
	for _, c := range []struct {
		name, level, want string
		args              []string
	}{
		{"RSA key exchange only", "opportunistic", second, []string{"-tls1_2", "-cipher", "kRSA"}},
		{"RSA key exchange only", "required", second, []string{"-tls1_2", "-cipher", "kRSA"}},
		{"RSA key exchange only", "verified", waits, []string{"-tls1_2", "-cipher", "kRSA"}},
		{"an unknown server name is refused", "opportunistic", strings.Replace(second, `1\.2`, `1\.3`, 1), []string{"-servername", "other.test", "-servername_fatal"}},
		{"an unknown server name is refused", "verified", waits, []string{"-servername", "other.test", "-servername_fatal"}},
		{"a client certificate is demanded, TLS 1.3", "opportunistic", clear, []string{"-tls1_3", "-Verify", "1"}},
		{"a client certificate is demanded, TLS 1.3", "required", waits, []string{"-tls1_3", "-Verify", "1"}},
		{"a client certificate is demanded, TLS 1.2", "opportunistic", clear, []string{"-tls1_2", "-Verify", "1"}},
		{"TLS 1.2 with one curve", "verified", `msg=relayed .*tls=TLS1\.2 tls_level=verified `, []string{"-tls1_2", "-groups", "P-256"}},
	} {
		cases = append(cases, lab.TestCase{Name: c.name + "/" + c.level, Run: func(t *lab.T, w *lab.World) {
			lab.Needs(t, "openssl")
			s := newOpenSSLServer(t, w, c.args)
			defer s.Close()
			r, err := w.NewRelay("oldtls", []string{lab.Trusted}, fmt.Sprintf("[queue]\nretry = [\"1m\"]\n\n[delivery]\nca_file = %q\n\n[[route]]\nto = [\"*\"]\nvia = [\"localhost:%d\"]\nip = \"4\"\ntls = %q\n",
				w.Ca.CaFile, s.port(), c.level))
			t.Must("configure", err)
			t.Must("start", r.Up())
			defer r.Close()
			l := &lab.Laboratory{Relay: r}
			id := l.Hand(t, "", []string{"someone@old.test"}, string(lab.SimpleMessage(newMarker())))
			l.Tells(t, id, c.want)
			if want := strings.HasPrefix(c.want, "msg=relayed"); want != (s.taken() == 1) {
				t.Errorf("the server took %d messages", s.taken())
			}
		}})
	}
	return cases
}

// opensslServer is a little SMTP server of which `openssl s_server` does the TLS.
type opensslServer struct {
	t    *lab.T
	w    *lab.World
	l    net.Listener
	argv []string
	wg   sync.WaitGroup

	mu       sync.Mutex
	messages int
}

func newOpenSSLServer(t *lab.T, w *lab.World, args []string) *opensslServer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	t.Must("key", err)
	dir, err := w.Subdir("oldtls-server")
	t.Must("directory", err)
	cert, keyFile, err := w.Ca.Issue(dir, "localhost", key, x509.ExtKeyUsageServerAuth)
	t.Must("certificate", err)
	argv := append([]string{"openssl", "s_server", "-quiet", "-naccept", "1", "-cert", cert, "-key", keyFile, "-cert2", cert, "-key2", keyFile}, args...)
	s := &opensslServer{t: t, w: w, argv: argv}
	s.l, err = net.Listen("tcp", "127.0.0.1:0")
	t.Must("listen", err)
	s.wg.Go(func() {
		for {
			nc, err := s.l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() {
				defer nc.Close()
				s.serve(nc)
			})
		}
	})
	return s
}

func (s *opensslServer) port() int { return s.l.Addr().(*net.TCPAddr).Port }

func (s *opensslServer) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages
}

func (s *opensslServer) Close() {
	s.l.Close()
	s.wg.Wait()
}

func (s *opensslServer) serve(nc net.Conn) {
	fmt.Fprint(nc, "220 old.test\r\n")
	in := bufio.NewReader(nc)
	if s.talk(in, nc, "250-old.test\r\n250 STARTTLS\r\n") {
		s.secure(nc, in)
	}
}

// secure lets openssl speak TLS with the client, and talks with openssl.
func (s *opensslServer) secure(nc net.Conn, in io.Reader) {
	port := s.w.FreePort()
	cmd := exec.CommandContext(s.w.Ctx, s.argv[0], append(s.argv[1:], "-accept", fmt.Sprintf("127.0.0.1:%d", port))...)
	from, err := cmd.StdoutPipe()
	if err != nil {
		return
	}
	to, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	defer cmd.Wait()         //nolint:errcheck // it was killed
	defer cmd.Process.Kill() //nolint:errcheck // it may have ended
	var inner net.Conn
	if !lab.Eventually(s.w.Ctx, 10*time.Second, func() bool {
		inner, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err == nil
	}) {
		return
	}
	defer inner.Close()
	fmt.Fprint(nc, "220 go on\r\n")
	s.wg.Go(func() {
		io.Copy(inner, in) //nolint:errcheck // one side has gone
		inner.(*net.TCPConn).CloseWrite()
	})
	s.wg.Go(func() { s.talk(bufio.NewReader(from), to, "250 old.test\r\n") })
	io.Copy(nc, inner) //nolint:errcheck // likewise
	nc.Close()
}

// talk takes mail; true: the client has said STARTTLS.
func (s *opensslServer) talk(in *bufio.Reader, out io.Writer, ehlo string) bool {
	content := false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		reply := "250 2.0.0 ok\r\n"
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case content && line != ".\r\n":
			continue
		case content:
			content = false
			s.mu.Lock()
			s.messages++
			s.mu.Unlock()
		case verb == "STARTTLS":
			return true
		case verb == "EHLO":
			reply = ehlo
		case verb == "DATA":
			reply, content = "354 go on\r\n", true
		}
		io.WriteString(out, reply) //nolint:errcheck // the next read tells
	}
}
