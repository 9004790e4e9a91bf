package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// doorCases: versions of TLS, client certificates, and listeners that demand
// TLS, with OpenSSL and swaks as clients.
func doorCases() []testCase {
	cases := []testCase{{"swaks/no TLS where it is demanded", func(t *T, w *world) {
		r := w.door(t)
		out, err := r.swaks(required, newMarker())
		if err == nil || !strings.Contains(out, "530 5.7.0") {
			t.Errorf("%v\n%s", err, lastLines(out, 12))
		}
	}}}
	for _, c := range []struct {
		name, listener string
		args           []string
	}{
		{"STARTTLS where it is demanded", required, []string{"--tls"}},
		{"STARTTLS if there is", required, []string{"--tls-optional"}},
		{"STARTTLS if there is, and there is none", trusted, []string{"--tls-optional"}},
		{"implicit TLS for a device", device, []string{"--tls-on-connect"}},
	} {
		cases = append(cases, testCase{"swaks/" + c.name, func(t *T, w *world) {
			r, marker := w.door(t), newMarker()
			if out, err := r.swaks(c.listener, marker, c.args...); err != nil {
				t.Fatalf("%v\n%s", err, lastLines(out, 20))
			}
			w.arrived(t, w.sink, marker, 1)
		}})
	}
	return append(append(cases, externalCases()...), versionCases()...)
}

// externalCases: a client certificate logs in. (swaks of Debian 12 does not know
// EXTERNAL.)
func externalCases() (cases []testCase) {
	for _, listener := range []string{external, extstart} {
		for _, c := range []struct {
			name string
			argv func(d *door, port string) []string
		}{
			{"curl", func(d *door, port string) []string {
				args := []string{"curl", "--silent", "--show-error", "--verbose", "--max-time", "30", "--disable", "--cacert", d.w.ca.caFile,
					"--cert", d.clientCert, "--key", d.clientKey, "--user", userName + ":", "--login-options", "AUTH=EXTERNAL",
					"--mail-from", userName, "--mail-rcpt", "someone@" + sinkDomain, "--upload-file", "-"}
				if listener == extstart {
					return append(args, "--ssl-reqd", "--url", "smtp://localhost:"+port)
				}
				return append(args, "--url", "smtps://localhost:"+port)
			}},
			{"msmtp", func(d *door, port string) []string {
				return []string{"msmtp", "--host=localhost", "--port=" + port, "--from=" + userName, "--timeout=30", "--debug", "--tls=on",
					"--tls-starttls=" + map[string]string{external: "off", extstart: "on"}[listener], "--tls-trust-file=" + d.w.ca.caFile,
					"--tls-cert-file=" + d.clientCert, "--tls-key-file=" + d.clientKey, "--auth=external", "--user=" + userName, "--", "someone@" + sinkDomain}
			}},
		} {
			cases = append(cases, testCase{c.name + "/EXTERNAL/" + listener, func(t *T, w *world) {
				d, marker := w.door(t), newMarker()
				_, port, err := net.SplitHostPort(d.addr(listener))
				t.must("address", err)
				if out, err := runTool(w.ctx, time.Minute, simpleMessage(marker), []string{"HOME=" + w.dir}, c.argv(d, port)...); err != nil {
					t.Fatalf("%v\n%s", err, lastLines(out, 20))
				}
				got := w.arrived(t, w.sink, marker, 1)[0]
				if !strings.Contains(string(got.content), "with ESMTPSA") {
					t.Errorf("nobody logged in: %q", clip(string(got.content)))
				}
			}})
		}
	}
	return append(cases, testCase{"openssl/EXTERNAL with and without a certificate", func(t *T, w *world) {
		d := w.door(t)
		for _, c := range []struct {
			args []string
			auth string
		}{{[]string{"-cert", d.clientCert, "-key", d.clientKey}, "235 2.7.0"}, {nil, "504 5.5.4"}} {
			talk, p, err := openssl(w, d.addr(external), c.args...)
			t.must("openssl s_client", err)
			t.Cleanup(p.kill)
			if err := talk.play("< 220\n> EHLO pc7\n< 250\n> AUTH EXTERNAL =\n< " + c.auth + "\n> QUIT\n< 221\nclosed"); err != nil {
				t.Errorf("%v\n%s", err, p.out.tail(5))
			}
		}
	}})
}

// versionCases: what OpenSSL may speak, everything of the last century allowed
// to it, where the listener says so and nowhere else.
func versionCases() (cases []testCase) {
	const all = "ALL:@SECLEVEL=0"
	for _, c := range []struct {
		listener, version, ciphers string
		ok                         bool
	}{
		{implicit, "-tls1", all, false}, {implicit, "-tls1_1", all, false}, {implicit, "-tls1_2", all, true}, {implicit, "-tls1_3", all, true},
		{newest, "-tls1_2", all, false}, {newest, "-tls1_3", all, true},
		{device, "-tls1", all, true}, {device, "-tls1_1", all, true}, {device, "-tls1_2", all, true}, {device, "-tls1_3", all, true},
		// RSA key exchange, by itself.
		{device, "-tls1", "AES128-SHA:@SECLEVEL=0", true}, {device, "-tls1_1", "DES-CBC3-SHA:AES128-SHA:@SECLEVEL=0", true},
		{implicit, "-tls1_2", "AES128-SHA:AES256-SHA:AES128-GCM-SHA256:@SECLEVEL=0", false},
		// What nobody should speak any more, for no device.
		{device, "-tls1_2", "RC4-SHA:NULL-SHA:ADH-AES128-SHA:@SECLEVEL=0", false},
	} {
		cases = append(cases, testCase{fmt.Sprintf("openssl/%s/%s %s", c.listener, c.version[1:], c.ciphers), func(t *T, w *world) {
			r := w.door(t)
			d, p, err := openssl(w, r.addr(c.listener), c.version, "-cipher", c.ciphers)
			t.must("openssl s_client", err)
			t.Cleanup(p.kill)
			switch _, _, err := d.reply(); {
			case !c.ok && err == nil:
				t.Errorf("the handshake succeeded")
			case c.ok && err != nil:
				t.Fatalf("%v\n%s", err, p.out.tail(6))
			}
			if !c.ok || c.listener != device {
				return
			}
			marker := newMarker()
			err = d.play(`
				> HELO Copier 3 (2nd floor)
				< 250
				> MAIL FROM:<` + userName + `>
				< 250
				> RCPT TO:<someone@` + sinkDomain + `>
				< 250
				> DATA
				< 354
				raw Subject: ` + marker + `\n\nscan\n\r\n.\r\n
				< 250 2.0.0 queued as
				> QUIT
				< 221
				closed`)
			t.must("the device's message", err)
			w.arrived(t, w.sink, marker, 1)
		}})
	}
	return cases
}

// door is a relay with listeners of every kind and an RSA certificate, without
// which there is no RSA key exchange. It starts with the first case that needs
// it.
type door struct {
	*relay
	clientCert, clientKey string
}

func (w *world) door(t *T) *door {
	if w.frontDoor == nil {
		d, err := w.newDoor()
		t.must("door", err)
		w.frontDoor = d
	}
	return w.frontDoor
}

func (w *world) newDoor() (*door, error) {
	r, err := w.newRelay("door", []string{implicit, trusted, required, external, extstart, device, newest}, w.toSink())
	if err != nil {
		return nil, err
	}
	serverKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	clientKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	d := &door{relay: r}
	cert, key, err := w.ca.issue(r.dir, "localhost", serverKey, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	if d.clientCert, d.clientKey, err = w.ca.issue(r.dir, "pc7.sender.test", clientKey, x509.ExtKeyUsageClientAuth); err != nil {
		return nil, err
	}
	config, err := os.ReadFile(r.config())
	if err != nil {
		return nil, err
	}
	if err := r.write(strings.NewReplacer(w.ca.certFile, cert, w.ca.keyFile, key).Replace(string(config))); err != nil {
		return nil, err
	}
	if out, err := r.command(userPass+"\n", "user", "add", userName); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	users, err := os.OpenFile(filepath.Join(r.dir, "users.toml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = users.WriteString("certificates = [\"pc7.sender.test\"]\n")
	if err := errors.Join(err, users.Close()); err != nil {
		return nil, err
	}
	return d, r.up()
}

// swaks sends a message to one of the door's listeners.
func (d *door) swaks(listener, marker string, more ...string) (string, error) {
	args := []string{"swaks", "--server", d.addr(listener), "--from", userName, "--to", "someone@" + sinkDomain,
		"--helo", "client.test", "--timeout", "30", "--tls-verify", "--tls-ca-path", d.w.ca.caFile, "--data", "-"}
	return runTool(d.w.ctx, time.Minute, simpleMessage(marker), nil, append(args, more...)...)
}

// toSink is a configuration that reaches the sink by MX.
func (w *world) toSink() string {
	return fmt.Sprintf("[queue]\nretry = [\"1s\", \"2s\"]\n\n[dns]\nservers = [%q]\n\n[delivery]\nport = %d\nallow_networks = [\"127.0.0.0/8\"]\n", w.dns.Addr(), w.sink.port)
}
