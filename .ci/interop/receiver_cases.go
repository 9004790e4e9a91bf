package main

import (
	"dawk/.ci/interop/lab"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// receiverCases: Exim and OpenSMTPD get what Postfix gets: every octet, over
// TLS and in the clear, for many recipients, and after they said "later".
func receiverCases() []lab.TestCase {
	var cases []lab.TestCase
	for _, name := range []string{"exim", "opensmtpd"} {
		for _, c := range contents() {
			cases = append(cases, lab.TestCase{Name: name + "/" + c.name, Run: func(t *lab.T, w *lab.World) {
				r := w.Receivers(t)
				for _, domain := range []string{name + ".test", "plain." + name + ".test"} {
					marker := newMarker()
					message := strings.ReplaceAll(c.text, "MARK", marker)
					params := ""
					if strings.Contains(c.name, "8-bit") {
						params = "BODY=8BITMIME"
					}
					id := r.Relay.Hand(t, params, []string{"someone@" + domain}, message)
					r.Same(t, w, name, marker, message, 1)
					r.Relay.Tells(t, id, "msg=relayed .*"+how(name, domain))
				}
			}})
		}
		cases = append(cases,
			lab.TestCase{Name: name + "/250 recipients", Run: func(t *lab.T, w *lab.World) { manyRecipients(t, w, name) }},
			lab.TestCase{Name: name + "/10 MiB", Run: func(t *lab.T, w *lab.World) { bigBody(t, w, name) }},
			lab.TestCase{Name: name + "/later, then yes", Run: func(t *lab.T, w *lab.World) { greylisted(t, w, name) }},
			lab.TestCase{Name: name + "/no", Run: func(t *lab.T, w *lab.World) {
				r, marker := w.Receivers(t), newMarker()
				id := r.Relay.Hand(t, "", []string{"reject-it@" + name + ".test"}, string(lab.SimpleMessage(marker)))
				r.Relay.Tells(t, id, `msg=failed .*code=550 status=5\.1\.1 .*No such user here`)
				w.Arrived(t, w.Postfix, marker, 1) // the bounce
			}},
		)
	}
	return append(cases, lab.TestCase{Name: "exim/SMTPUTF8", Run: func(t *lab.T, w *lab.World) {
		r, marker := w.Receivers(t), newMarker()
		message := strings.ReplaceAll(contents()[0].text, "MARK", marker)
		id := r.Relay.Hand(t, "SMTPUTF8 BODY=8BITMIME", []string{"用户@exim.test"}, message)
		got := r.Same(t, w, "exim", marker, message, 1)
		if len(got.Rcpt) != 1 || got.Rcpt[0] != "用户@exim.test" {
			t.Errorf("it arrived for %q", got.Rcpt)
		}
		r.Relay.Tells(t, id, "msg=relayed ")
	}}, lab.TestCase{Name: "exim/RSA key exchange only (GnuTLS)", Run: func(t *lab.T, w *lab.World) {
		r := w.Receivers(t)
		id := r.Relay.Hand(t, "", []string{"someone@old.exim.test"}, string(lab.SimpleMessage(newMarker())))
		r.Relay.Tells(t, id, `msg=relayed .*tls=TLS1\.2 tls_level=unverified tls_try=second `)
	}}, lab.TestCase{Name: "opensmtpd/SMTPUTF8 is not offered", Run: func(t *lab.T, w *lab.World) {
		r, marker := w.Receivers(t), newMarker()
		id := r.Relay.Hand(t, "SMTPUTF8", []string{"用户@plain.opensmtpd.test"}, string(lab.SimpleMessage(marker)))
		r.Relay.Tells(t, id, `msg=failed .*status=5\.6\.7 `)
		w.Arrived(t, w.Postfix, marker, 1) // the bounce
	}})
}

// how is what the log says of the TLS that was reached with a receiver.
func how(name, domain string) string {
	switch plain := strings.HasPrefix(domain, "plain."); {
	case plain:
		return `addr=127\.0\.0\.1 tls_level=clear attempt=`
	case name == "opensmtpd": // breaks every handshake: see smtpdConf
		return `addr=127\.0\.0\.1 tls_level=fallback tls_try=clear tls_failed=".*handshake.*" attempt=`
	}
	return `tls=TLS1\.3 tls_level=unverified `
}

func manyRecipients(t *lab.T, w *lab.World, name string) {
	r, marker := w.Receivers(t), newMarker()
	var to []string
	for i := range 250 {
		to = append(to, fmt.Sprintf("r%03d@%s.test", i, name))
	}
	message := strings.ReplaceAll(contents()[1].text, "MARK", marker)
	r.Relay.Hand(t, "", to, message)
	r.Same(t, w, name, marker, message, len(to))
}

func bigBody(t *lab.T, w *lab.World, name string) {
	r, marker := w.Receivers(t), newMarker()
	line := strings.Repeat("0123456789abcdef", 4) + "\r\n"
	message := strings.ReplaceAll(head, "MARK", marker) + "\r\n" + strings.Repeat(line, (10<<20)/len(line))
	began := time.Now()
	r.Relay.Hand(t, "", []string{"big@" + name + ".test"}, message)
	r.Same(t, w, name, marker, message, 1)
	t.Notef("%d octets in %v", len(message), time.Since(began).Round(time.Millisecond))
}

func greylisted(t *lab.T, w *lab.World, name string) {
	r, marker := w.Receivers(t), newMarker()
	message := strings.ReplaceAll(contents()[3].text, "MARK", marker)
	id := r.Relay.Hand(t, "", []string{"grey@" + name + ".test"}, message)
	r.Relay.Tells(t, id, `msg=delayed .*code=45[01] status=4\.2\.1 .*come back later`)
	if name == "exim" {
		t.Must("lift", os.WriteFile(filepath.Join(r.Exim.Root, "lifted"), nil, 0o644))
	} else {
		t.Must("lift", r.Smtpd.Grey("nobody-is-put-off"))
	}
	r.Same(t, w, name, marker, message, 1)
	r.Relay.Tells(t, id, "msg=relayed ")
}
