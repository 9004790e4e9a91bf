package main

import (
	"dawk/.ci/interop/lab"
	"fmt"
	"net"
	"strings"
	"time"
)

// doorCases: versions of TLS, client certificates, and listeners that demand
// TLS, with OpenSSL and swaks as clients.
func doorCases() []lab.TestCase {
	cases := []lab.TestCase{{Name: "swaks/no TLS where it is demanded", Run: func(t *lab.T, w *lab.World) {
		r := w.Door(t)
		out, err := r.Swaks(lab.Required, newMarker())
		if err == nil || !strings.Contains(out, "530 5.7.0") {
			t.Errorf("%v\n%s", err, lab.LastLines(out, 12))
		}
	}}}
	for _, c := range []struct {
		name, listener string
		args           []string
	}{
		{"STARTTLS where it is demanded", lab.Required, []string{"--tls"}},
		{"STARTTLS if there is", lab.Required, []string{"--tls-optional"}},
		{"STARTTLS if there is, and there is none", lab.Trusted, []string{"--tls-optional"}},
		{"implicit TLS for a device", lab.Device, []string{"--tls-on-connect"}},
	} {
		cases = append(cases, lab.TestCase{Name: "swaks/" + c.name, Run: func(t *lab.T, w *lab.World) {
			r, marker := w.Door(t), newMarker()
			if out, err := r.Swaks(c.listener, marker, c.args...); err != nil {
				t.Fatalf("%v\n%s", err, lab.LastLines(out, 20))
			}
			w.Arrived(t, w.Sink, marker, 1)
		}})
	}
	return append(append(cases, externalCases()...), versionCases()...)
}

// externalCases: a client certificate logs in. (swaks of Debian 12 does not know
// EXTERNAL.)
func externalCases() (cases []lab.TestCase) {
	for _, listener := range []string{lab.External, lab.Extstart} {
		for _, c := range []struct {
			name string
			argv func(d *lab.Door, port string) []string
		}{
			{"curl", func(d *lab.Door, port string) []string {
				args := []string{"curl", "--silent", "--show-error", "--verbose", "--max-time", "30", "--disable", "--cacert", d.W.Ca.CaFile,
					"--cert", d.ClientCert, "--key", d.ClientKey, "--user", lab.UserName + ":", "--login-options", "AUTH=EXTERNAL",
					"--mail-from", lab.UserName, "--mail-rcpt", "someone@" + lab.SinkDomain, "--upload-file", "-"}
				if listener == lab.Extstart {
					return append(args, "--ssl-reqd", "--url", "smtp://localhost:"+port)
				}
				return append(args, "--url", "smtps://localhost:"+port)
			}},
			{"msmtp", func(d *lab.Door, port string) []string {
				return []string{"msmtp", "--host=localhost", "--port=" + port, "--from=" + lab.UserName, "--timeout=30", "--debug", "--tls=on",
					"--tls-starttls=" + map[string]string{lab.External: "off", lab.Extstart: "on"}[listener], "--tls-trust-file=" + d.W.Ca.CaFile,
					"--tls-cert-file=" + d.ClientCert, "--tls-key-file=" + d.ClientKey, "--auth=external", "--user=" + lab.UserName, "--", "someone@" + lab.SinkDomain}
			}},
		} {
			cases = append(cases, lab.TestCase{Name: c.name + "/EXTERNAL/" + listener, Run: func(t *lab.T, w *lab.World) {
				d, marker := w.Door(t), newMarker()
				_, port, err := net.SplitHostPort(d.Addr(listener))
				t.Must("address", err)
				if out, err := lab.RunTool(w.Ctx, time.Minute, lab.SimpleMessage(marker), []string{"HOME=" + w.Dir}, c.argv(d, port)...); err != nil {
					t.Fatalf("%v\n%s", err, lab.LastLines(out, 20))
				}
				got := w.Arrived(t, w.Sink, marker, 1)[0]
				if !strings.Contains(string(got.Content), "with ESMTPSA") {
					t.Errorf("nobody logged in: %q", lab.Clip(string(got.Content)))
				}
			}})
		}
	}
	return append(cases, lab.TestCase{Name: "openssl/EXTERNAL with and without a certificate", Run: func(t *lab.T, w *lab.World) {
		d := w.Door(t)
		for _, c := range []struct {
			args []string
			auth string
		}{{[]string{"-cert", d.ClientCert, "-key", d.ClientKey}, "235 2.7.0"}, {nil, "504 5.5.4"}} {
			talk, p, err := lab.Openssl(w, d.Addr(lab.External), c.args...)
			t.Must("openssl s_client", err)
			t.Cleanup(p.Kill)
			if err := talk.Play("< 220\n> EHLO pc7\n< 250\n> AUTH EXTERNAL =\n< " + c.auth + "\n> QUIT\n< 221\nclosed"); err != nil {
				t.Errorf("%v\n%s", err, p.Out.Tail(5))
			}
		}
	}})
}

// versionCases: what OpenSSL may speak, everything of the last century allowed
// to it, where the listener says so and nowhere else.
func versionCases() (cases []lab.TestCase) {
	const all = "ALL:@SECLEVEL=0"
	for _, c := range []struct {
		listener, version, ciphers string
		ok                         bool
	}{
		{lab.Implicit, "-tls1", all, false}, {lab.Implicit, "-tls1_1", all, false}, {lab.Implicit, "-tls1_2", all, true}, {lab.Implicit, "-tls1_3", all, true},
		{lab.Newest, "-tls1_2", all, false}, {lab.Newest, "-tls1_3", all, true},
		{lab.Device, "-tls1", all, true}, {lab.Device, "-tls1_1", all, true}, {lab.Device, "-tls1_2", all, true}, {lab.Device, "-tls1_3", all, true},
		// RSA key exchange, by itself.
		{lab.Device, "-tls1", "AES128-SHA:@SECLEVEL=0", true}, {lab.Device, "-tls1_1", "DES-CBC3-SHA:AES128-SHA:@SECLEVEL=0", true},
		{lab.Implicit, "-tls1_2", "AES128-SHA:AES256-SHA:AES128-GCM-SHA256:@SECLEVEL=0", false},
		// What nobody should speak any more, for no device.
		{lab.Device, "-tls1_2", "RC4-SHA:NULL-SHA:ADH-AES128-SHA:@SECLEVEL=0", false},
	} {
		cases = append(cases, lab.TestCase{Name: fmt.Sprintf("openssl/%s/%s %s", c.listener, c.version[1:], c.ciphers), Run: func(t *lab.T, w *lab.World) {
			r := w.Door(t)
			d, p, err := lab.Openssl(w, r.Addr(c.listener), c.version, "-cipher", c.ciphers)
			t.Must("openssl s_client", err)
			t.Cleanup(p.Kill)
			switch _, _, err := d.Reply(); {
			case !c.ok && err == nil:
				t.Errorf("the handshake succeeded")
			case c.ok && err != nil:
				t.Fatalf("%v\n%s", err, p.Out.Tail(6))
			}
			if !c.ok || c.listener != lab.Device {
				return
			}
			marker := newMarker()
			err = d.Play(`
				> HELO Copier 3 (2nd floor)
				< 250
				> MAIL FROM:<` + lab.UserName + `>
				< 250
				> RCPT TO:<someone@` + lab.SinkDomain + `>
				< 250
				> DATA
				< 354
				raw Subject: ` + marker + `\n\nscan\n\r\n.\r\n
				< 250 2.0.0 queued as
				> QUIT
				< 221
				closed`)
			t.Must("the device's message", err)
			w.Arrived(t, w.Sink, marker, 1)
		}})
	}
	return cases
}
