package main_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dawk/mx/mxtest"
	"dawk/queue/postgres/postgrestest"
	"dawk/relay/tlsrpt"
)

// tlsCommand makes the TLS side of the world: one authority a script.
//
//	tls ca FILE                       writes the authority, for ca_file
//	tls mx NAME CERTNAME [IP]         as mx start, with a certificate for CERTNAME
//	tls tlsa NAME HOST [wrong]        adds the TLSA record (3 1 1) of NAME's certificate, or of none
//	tls policy IP DOMAIN MODE MX …    an MTA-STS policy host on port 443 of IP, or its new policy
//	tls policy IP stop                takes it down
//	tls inbox IP NAME                 an HTTPS host for NAME on port 443 that takes what is posted, but with 500 at /fails, and 307 at /moved
//	tls posted IP N FILE              waits for the Nth post, prints its kind and writes it, unpacked
//	tls counted DIR DOMAIN            a session with DOMAIN two days ago, in the counters at DIR
//
// Port 443 cannot be chosen: scripts with policy hosts begin with
// [!port443] skip.
func tlsCommand(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	w.need(args, 2, "tls ca|mx|tlsa|policy …")
	t := tlsOf(ts)
	switch args[0] {
	case "ca":
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), t.ca.PEM(), 0o600))
	case "mx":
		w.need(args, 3, "tls mx NAME CERTNAME [IP]")
		cert, err := t.ca.Certificate(time.Hour, args[2])
		ts.Check(err)
		ip := "127.0.0.1"
		if len(args) > 3 {
			ip = args[3]
		}
		s, err := mxtest.NewServer(mxtest.Config{Addr: net.JoinHostPort(ip, fmt.Sprint(w.port)), Hostname: args[1] + ".test", Certificate: &cert})
		ts.Check(err)
		w.mx[args[1]], w.port, t.certs[args[1]] = s, s.Port(), cert
		ts.Setenv("MXPORT", fmt.Sprint(w.port))
	case "tlsa":
		w.need(args, 3, "tls tlsa NAME HOST [wrong]")
		leaf, err := x509.ParseCertificate(t.certs[args[1]].Certificate[0])
		ts.Check(err)
		sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		if len(args) > 3 {
			sum[0]++
		}
		ts.Check(w.dns.Add(fmt.Sprintf("_%d._tcp.%s. TLSA 3 1 1 %s", w.port, args[2], hex.EncodeToString(sum[:]))))
	case "policy":
		w.need(args, 3, "tls policy IP DOMAIN MODE MX …")
		t.Policy(args[1], args[2:])
	case "inbox":
		t.inbox(args[1], args[len(args)-1])
	case "posted":
		w.need(args, 4, "tls posted IP N FILE")
		t.posted(args[1], args[2], args[3])
	case "counted":
		w.need(args, 3, "tls counted DIR DOMAIN")
		then := time.Now().AddDate(0, 0, -2)
		c, err := tlsrpt.Open(ts.MkAbs(args[1]), then)
		ts.Check(err)
		c.Add(then, tlsrpt.Session{Domain: args[2], Type: "sts", Host: "mx." + args[2], Result: "certificate-expired"})
		ts.Check(c.Save(then))
	default:
		ts.Fatalf("tls %s: no such command", args[0])
	}
}

type tlsWorld struct {
	ts    *testscript.TestScript
	ca    *mxtest.CA
	certs map[string]tls.Certificate

	mu    sync.Mutex
	text  map[string]string // policy by IP
	posts map[string]chan post
	hosts map[string]*http.Server
}

var tlsWorlds sync.Map // *testscript.TestScript → *tlsWorld

func tlsOf(ts *testscript.TestScript) *tlsWorld {
	if old, ok := tlsWorlds.Load(ts); ok {
		return old.(*tlsWorld)
	}
	ca, err := mxtest.NewCA()
	ts.Check(err)
	t := &tlsWorld{ts: ts, ca: ca, certs: map[string]tls.Certificate{}, text: map[string]string{}, posts: map[string]chan post{}, hosts: map[string]*http.Server{}}
	tlsWorlds.Store(ts, t)
	ts.Defer(func() {
		tlsWorlds.Delete(ts)
		for _, h := range t.hosts {
			h.Close()
		}
	})
	return t
}

func (t *tlsWorld) Policy(ip string, args []string) {
	if args[0] == "stop" {
		t.ts.Check(t.hosts[ip].Close())
		delete(t.hosts, ip)
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\nmode: %s\nmax_age: 86400\n", args[1])
	for _, m := range args[2:] {
		fmt.Fprintf(&b, "mx: %s\n", m)
	}
	t.mu.Lock()
	t.text[ip] = b.String()
	t.mu.Unlock()
	if t.hosts[ip] != nil {
		return
	}
	t.serve(ip, "mta-sts."+args[0], func(w http.ResponseWriter, _ *http.Request) {
		t.mu.Lock()
		defer t.mu.Unlock()
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, t.text[ip]) //nolint:errcheck // the client is gone
	})
}

// serve is an HTTPS host.
func (t *tlsWorld) serve(ip, name string, answer http.HandlerFunc) {
	cert, err := t.ca.Certificate(time.Hour, name)
	t.ts.Check(err)
	plain, err := listenIn(patience, net.JoinHostPort(ip, "443"))
	t.ts.Check(err)
	l := tls.NewListener(plain, &tls.Config{Certificates: []tls.Certificate{cert}})
	t.hosts[ip] = &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: answer}
	go t.hosts[ip].Serve(l) //nolint:errcheck // ends with Close
}

// listenIn listens within limit: where the port is given, another run of the
// tests on this machine may have it for some seconds.
func listenIn(limit time.Duration, addr string) (l net.Listener, err error) {
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		if l, err = net.Listen("tcp", addr); !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			return l, err
		}
	}
}

// post is one that an inbox got.
type post struct {
	kind string
	body []byte
}

func (t *tlsWorld) inbox(ip, name string) {
	got := make(chan post, 10)
	t.posts[ip] = got
	t.serve(ip, name, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		if r.URL.Path == "/fails" {
			http.Error(w, "not now", http.StatusInternalServerError)
		}
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "https://"+name+"/v1?followed", http.StatusTemporaryRedirect)
		}
		got <- post{r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Content-Type"), body}
	})
}

func (t *tlsWorld) posted(ip, n, file string) {
	var p post
	var count int
	if _, err := fmt.Sscan(n, &count); err != nil {
		t.ts.Fatalf("%q is not a number", n)
	}
	for range count {
		select {
		case p = <-t.posts[ip]:
		case <-time.After(patience):
			t.ts.Fatalf("nothing was posted to %s", ip)
		}
	}
	fmt.Fprintln(t.ts.Stdout(), p.kind)
	z, err := gzip.NewReader(bytes.NewReader(p.body))
	t.ts.Check(err)
	text, err := io.ReadAll(z)
	t.ts.Check(err)
	t.ts.Check(os.WriteFile(t.ts.MkAbs(file), text, 0o600))
}

// condition knows what a machine must have for a script.
func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "postgres":
		return postgrestest.Binaries() != "", nil
	}
	if name != "port443" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	l, err := net.Listen("tcp", "127.0.43.1:443")
	if err == nil {
		l.Close()
	}
	return err == nil, nil
}
