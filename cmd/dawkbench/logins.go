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

// securePostfix adds what --tls and --user ask for to Postfix's configuration: an
// ECDSA certificate, and a server of Dovecot's authentication protocol that takes any
// password, so that a login costs Postfix less than it does in practice.
func securePostfix(dir string, w *work) (end func(), err error) {
	end = func() {}
	var more []string
	if w.TLS != "" {
		chain := filepath.Join(dir, "conf/tls.pem")
		if err := writeChain(chain); err != nil {
			return end, err
		}
		more = append(more, "smtpd_tls_chain_files = "+chain, "smtpd_tls_security_level = may")
	}
	if w.TLS == "implicit" {
		more = append(more, "smtpd_tls_wrappermode = yes")
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

// writeChain makes a key and a certificate for it.
func writeChain(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "postfix.bench.test"},
		DNSNames: []string{"postfix.bench.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...)
	return os.WriteFile(path, text, 0o600)
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
