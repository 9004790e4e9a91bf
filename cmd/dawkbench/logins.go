package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// securePostfix adds what --tls, --sink-tls and --user ask for to Postfix's configuration: an
// ECDSA certificate, and a server of Dovecot's authentication protocol that takes any
// password, so that a login costs Postfix less than it does in practice.
func securePostfix(dir string, w *work) (end func(), err error) {
	end = func() {}
	var more []string
	if w.TLS != "" {
		chain := filepath.Join(dir, "conf/tls.pem")
		text, err := newChain("postfix.bench.test")
		if err == nil {
			err = os.WriteFile(chain, text, 0o600)
		}
		if err != nil {
			return end, err
		}
		more = append(more, "smtpd_tls_chain_files = "+chain, "smtpd_tls_security_level = may")
	}
	if w.TLS == "implicit" {
		more = append(more, "smtpd_tls_wrappermode = yes")
	}
	if w.SinkTLS {
		more = append(more, "smtp_tls_security_level = may", "smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache")
	}
	if w.user != "" {
		socket := filepath.Join(dir, "auth")
		if end, err = serveLogins(socket); err != nil {
			return end, err
		}
		more = append(more, "smtpd_sasl_auth_enable = yes", "smtpd_sasl_type = dovecot", "smtpd_sasl_path = "+socket,
			"smtpd_sasl_security_options = noanonymous")
	}
	f, err := os.OpenFile(filepath.Join(dir, "conf/main.cf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return end, err
	}
	defer f.Close()
	_, err = f.WriteString(strings.Join(more, "\n") + "\n")
	return end, err
}

// newChain is a new key and a certificate for it, in PEM.
func newChain(name string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...), nil
}

// serveLogins answers each AUTH on a socket with OK until end is called.
func serveLogins(socket string) (end func(), err error) {
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return func() {}, err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go answerLogins(c)
		}
	}()
	return func() { ln.Close() }, os.Chmod(socket, 0o666) // Postfix's user connects to it
}

func answerLogins(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00000000000000000000000000000000\nDONE\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		if words := strings.Split(in.Text(), "\t"); words[0] == "AUTH" && len(words) > 1 {
			fmt.Fprintf(c, "OK\t%s\tuser=bench\n", words[1])
		}
	}
}
