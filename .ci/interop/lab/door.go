package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Door is a relay with listeners of every kind and an RSA certificate, without
// which there is no RSA key exchange. It starts with the first case that needs
// it.
type Door struct {
	*Relay
	ClientCert, ClientKey string
}

func (w *World) Door(t *T) *Door {
	if w.frontDoor == nil {
		d, err := w.newDoor()
		t.Must("door", err)
		w.frontDoor = d
	}
	return w.frontDoor
}

func (w *World) newDoor() (*Door, error) {
	r, err := w.NewRelay("door", []string{Implicit, Trusted, Required, External, Extstart, Device, Newest}, w.ToSink())
	if err != nil {
		return nil, err
	}
	serverKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	clientKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	d := &Door{Relay: r}
	cert, key, err := w.Ca.Issue(r.Dir, "localhost", serverKey, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	if d.ClientCert, d.ClientKey, err = w.Ca.Issue(r.Dir, "pc7.sender.test", clientKey, x509.ExtKeyUsageClientAuth); err != nil {
		return nil, err
	}
	config, err := os.ReadFile(r.Config())
	if err != nil {
		return nil, err
	}
	if err := r.Write(strings.NewReplacer(w.Ca.CertFile, cert, w.Ca.KeyFile, key).Replace(string(config))); err != nil {
		return nil, err
	}
	if out, err := r.Command(UserPass+"\n", "user", "add", UserName); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	users, err := os.OpenFile(filepath.Join(r.Dir, "users.toml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = users.WriteString("certificates = [\"pc7.sender.test\"]\n")
	if err := errors.Join(err, users.Close()); err != nil {
		return nil, err
	}
	return d, r.Up()
}

// Swaks sends a message to one of the door's listeners.
func (d *Door) Swaks(listener, marker string, more ...string) (string, error) {
	args := []string{"swaks", "--server", d.Addr(listener), "--from", UserName, "--to", "someone@" + SinkDomain,
		"--helo", "client.test", "--timeout", "30", "--tls-verify", "--tls-ca-path", d.W.Ca.CaFile, "--data", "-"}
	return RunTool(d.W.Ctx, time.Minute, SimpleMessage(marker), nil, append(args, more...)...)
}

// ToSink is a configuration that reaches the sink by MX.
func (w *World) ToSink() string {
	return fmt.Sprintf("[queue]\nretry = [\"1s\", \"2s\"]\n\n[dns]\nservers = [%q]\n\n[delivery]\nport = %d\nallow_networks = [\"127.0.0.0/8\"]\n", w.Dns.Addr(), w.Sink.port)
}
