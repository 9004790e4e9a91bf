package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// receivers are the laboratory's: each takes mail for a domain of its own, and
// in the clear for "plain." of that.
type receivers struct {
	exim, smtpd *unpacked
	relay       *laboratory
}

// receiverCases: Exim and OpenSMTPD get what Postfix gets: every octet, over
// TLS and in the clear, for many recipients, and after they said "later".
func receiverCases() []testCase {
	var cases []testCase
	for _, name := range []string{"exim", "opensmtpd"} {
		for _, c := range contents() {
			cases = append(cases, testCase{name + "/" + c.name, func(t *T, w *world) {
				r := w.receivers(t)
				for _, domain := range []string{name + ".test", "plain." + name + ".test"} {
					marker := newMarker()
					message := strings.ReplaceAll(c.text, "MARK", marker)
					params := ""
					if strings.Contains(c.name, "8-bit") {
						params = "BODY=8BITMIME"
					}
					id := r.relay.hand(t, params, []string{"someone@" + domain}, message)
					r.same(t, w, name, marker, message, 1)
					r.relay.tells(t, id, "msg=relayed .*"+how(name, domain))
				}
			}})
		}
		cases = append(cases,
			testCase{name + "/250 recipients", func(t *T, w *world) { manyRecipients(t, w, name) }},
			testCase{name + "/10 MiB", func(t *T, w *world) { bigBody(t, w, name) }},
			testCase{name + "/later, then yes", func(t *T, w *world) { greylisted(t, w, name) }},
			testCase{name + "/no", func(t *T, w *world) {
				r, marker := w.receivers(t), newMarker()
				id := r.relay.hand(t, "", []string{"reject-it@" + name + ".test"}, string(simpleMessage(marker)))
				r.relay.tells(t, id, `msg=failed .*code=550 status=5\.1\.1 .*No such user here`)
				w.arrived(t, w.postfix, marker, 1) // the bounce
			}},
		)
	}
	return append(cases, testCase{"exim/SMTPUTF8", func(t *T, w *world) {
		r, marker := w.receivers(t), newMarker()
		message := strings.ReplaceAll(contents()[0].text, "MARK", marker)
		id := r.relay.hand(t, "SMTPUTF8 BODY=8BITMIME", []string{"用户@exim.test"}, message)
		got := r.same(t, w, "exim", marker, message, 1)
		if len(got.rcpt) != 1 || got.rcpt[0] != "用户@exim.test" {
			t.Errorf("it arrived for %q", got.rcpt)
		}
		r.relay.tells(t, id, "msg=relayed ")
	}}, testCase{"exim/RSA key exchange only (GnuTLS)", func(t *T, w *world) {
		r := w.receivers(t)
		id := r.relay.hand(t, "", []string{"someone@old.exim.test"}, string(simpleMessage(newMarker())))
		r.relay.tells(t, id, `msg=relayed .*tls=TLS1\.2 tls_level=unverified tls_try=second `)
	}}, testCase{"opensmtpd/SMTPUTF8 is not offered", func(t *T, w *world) {
		r, marker := w.receivers(t), newMarker()
		id := r.relay.hand(t, "SMTPUTF8", []string{"用户@opensmtpd.test"}, string(simpleMessage(marker)))
		r.relay.tells(t, id, `msg=failed .*status=5\.6\.7 `)
		w.arrived(t, w.postfix, marker, 1) // the bounce
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

func (r *receivers) of(name string) *unpacked {
	if name == "exim" {
		return r.exim
	}
	return r.smtpd
}

// same waits for n copies of a message and compares them with what was sent.
func (r *receivers) same(t *T, w *world, name, marker, message string, n int) arrival {
	var first arrival
	for i, got := range w.arrived(t, r.of(name), marker, n) {
		if i == 0 {
			first = got
		}
		// Our own signature is put in front, too.
		if err := unchanged([]byte(message), unsigned(got.content)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.must("remove", os.Remove(got.file))
	}
	return first
}

// unsigned takes the DKIM-Signature fields out that our relay has put in.
func unsigned(m []byte) []byte {
	fields, body, separated := splitMessage(m)
	var b bytes.Buffer
	for _, f := range fields {
		if fieldName(f) != "dkim-signature" {
			b.WriteString(f)
		}
	}
	if separated {
		b.WriteString("\n")
	}
	b.Write(body)
	return b.Bytes()
}

func (w *world) receivers(t *T) *receivers {
	l := w.laboratory(t)
	if l.receivers != nil {
		return l.receivers
	}
	r := &receivers{relay: l}
	var err error
	if r.exim, err = w.newExim(); err == nil {
		r.smtpd, err = w.newOpenSMTPD()
	}
	l.receivers = r // to be stopped, whatever came of it
	t.must("receivers", err)
	b, err := os.ReadFile(l.config())
	t.must("read", err)
	text := string(b)
	for name, u := range map[string]*unpacked{"exim": r.exim, "opensmtpd": r.smtpd} {
		text += fmt.Sprintf("\n[[route]]\nto = [\"%s.test\"]\nvia = [%q]\n\n[[route]]\nto = [\"plain.%[1]s.test\"]\nvia = [%[2]q]\ntls = \"off\"\n", name, u.addr())
	}
	text += fmt.Sprintf("\n[[route]]\nto = [\"old.exim.test\"]\nvia = [\"127.0.0.5:%d\"]\n", r.exim.port)
	_, _, err = l.stop()
	t.must("stop", err)
	t.must("write", l.write(text))
	t.must("start", l.up())
	return r
}

func (r *receivers) close() {
	for _, u := range []*unpacked{r.exim, r.smtpd} {
		if u != nil {
			_ = u.stop() // it was killed then
		}
	}
}

func manyRecipients(t *T, w *world, name string) {
	r, marker := w.receivers(t), newMarker()
	var to []string
	for i := range 250 {
		to = append(to, fmt.Sprintf("r%03d@%s.test", i, name))
	}
	message := strings.ReplaceAll(contents()[1].text, "MARK", marker)
	r.relay.hand(t, "", to, message)
	r.same(t, w, name, marker, message, len(to))
}

func bigBody(t *T, w *world, name string) {
	r, marker := w.receivers(t), newMarker()
	line := strings.Repeat("0123456789abcdef", 4) + "\r\n"
	message := strings.ReplaceAll(head, "MARK", marker) + "\r\n" + strings.Repeat(line, (10<<20)/len(line))
	began := time.Now()
	r.relay.hand(t, "", []string{"big@" + name + ".test"}, message)
	r.same(t, w, name, marker, message, 1)
	t.Notef("%d octets in %v", len(message), time.Since(began).Round(time.Millisecond))
}

func greylisted(t *T, w *world, name string) {
	r, marker := w.receivers(t), newMarker()
	message := strings.ReplaceAll(contents()[3].text, "MARK", marker)
	id := r.relay.hand(t, "", []string{"grey@" + name + ".test"}, message)
	r.relay.tells(t, id, `msg=delayed .*code=45[01] status=4\.2\.1 .*come back later`)
	if name == "exim" {
		t.must("lift", os.WriteFile(filepath.Join(r.exim.root, "lifted"), nil, 0o644))
	} else {
		t.must("lift", r.smtpd.grey("nobody-is-put-off"))
	}
	r.same(t, w, name, marker, message, 1)
	r.relay.tells(t, id, "msg=relayed ")
}
