package lab

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"
)

// recorder stands between a client and the relay and keeps what the client
// sent: the truth that arrivals are compared with. It ends TLS and begins it
// anew, so it sees inside STARTTLS and implicit TLS too.
type recorder struct {
	w        *World
	listener net.Listener
	target   string
	implicit bool

	mu   sync.Mutex
	sent bytes.Buffer // of the client, all connections, in clear
	wg   sync.WaitGroup
}

func (w *World) Record(target string, implicit bool) (*recorder, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{w: w, listener: l, target: target, implicit: implicit}
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			r.wg.Go(func() { r.serve(c) })
		}
	})
	return r, nil
}

func (r *recorder) Addr() string { return r.listener.Addr().String() }

func (r *recorder) Close() {
	r.listener.Close()
	r.wg.Wait()
}

func (r *recorder) serverTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{r.w.Ca.pair}}
}

func (r *recorder) clientTLS() *tls.Config {
	return &tls.Config{RootCAs: r.w.Ca.pool, ServerName: "localhost"}
}

func (r *recorder) serve(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", r.target, 5*time.Second)
	if err != nil {
		return // the client sees the connection close
	}
	defer server.Close()
	deadline := time.Now().Add(2 * time.Minute)
	_ = client.SetDeadline(deadline) // a failure shows at the first read
	_ = server.SetDeadline(deadline)
	if r.implicit {
		client, server = tls.Server(client, r.serverTLS()), tls.Client(server, r.clientTLS())
	}
	fromClient, fromServer := bufio.NewReader(client), bufio.NewReader(server)
	if !r.implicit {
		upgraded, err := r.untilTLS(client, server, fromClient, fromServer)
		if err != nil {
			return
		}
		if upgraded {
			client, server = tls.Server(client, r.serverTLS()), tls.Client(server, r.clientTLS())
			fromClient, fromServer = bufio.NewReader(client), bufio.NewReader(server)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(client, fromServer) // how it ends is the client's to judge
		_ = client.Close()
	})
	_, _ = io.Copy(io.MultiWriter(server, r), fromClient)
	_ = server.Close()
	wg.Wait()
}

// untilTLS passes on one command and its reply after the other until STARTTLS
// is granted or a command comes that leaves the question behind. Nobody
// pipelines before that.
func (r *recorder) untilTLS(client, server io.Writer, fromClient, fromServer *bufio.Reader) (bool, error) {
	if _, err := passReply(client, fromServer); err != nil { // the greeting
		return false, err
	}
	for {
		line, err := fromClient.ReadString('\n')
		if err != nil {
			return false, err
		}
		if _, err := io.WriteString(server, line); err != nil {
			return false, err
		}
		verb := strings.ToUpper(strings.TrimRight(line, "\r\n"))
		if !strings.HasPrefix(verb, "EHLO") && verb != "STARTTLS" {
			_, err := io.WriteString(r, line)
			return false, err
		}
		reply, err := passReply(client, fromServer)
		if err != nil {
			return false, err
		}
		if verb == "STARTTLS" && strings.HasPrefix(reply, "220") {
			return true, nil
		}
	}
}

// passReply passes on one reply of any number of lines and gives its last.
func passReply(to io.Writer, from *bufio.Reader) (string, error) {
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			return "", err
		}
		if _, err := io.WriteString(to, line); err != nil {
			return "", err
		}
		if len(line) < 4 || line[3] != '-' {
			return line, nil
		}
	}
}

// Write keeps bytes of the client.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent.Write(p)
}

var dataCommand = regexp.MustCompile(`(?i)\nDATA\r\n`)

// Message gives the one message the client sent: the bytes between DATA and
// the final dot, with dot-stuffing undone (RFC 5321 §4.5.2).
func (r *recorder) Message() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := dataCommand.FindIndex(r.sent.Bytes())
	if at == nil {
		return nil, errors.New("the client sent no DATA")
	}
	rest := r.sent.Bytes()[at[1]:]
	if bytes.HasPrefix(rest, []byte(".\r\n")) {
		return nil, nil
	}
	data, _, ok := bytes.Cut(rest, []byte("\r\n.\r\n"))
	if !ok {
		return nil, errors.New("the client's message has no end")
	}
	var out bytes.Buffer
	for line := range bytes.Lines(append(bytes.Clone(data), "\r\n"...)) {
		out.Write(bytes.TrimPrefix(line, []byte(".")))
	}
	return out.Bytes(), nil
}
