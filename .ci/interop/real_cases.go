package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// content is a message that a client is handed as it is. MARK stands for its
// marker.
type content struct{ name, text string }

const head = "From: Alice <alice@sender.test>\r\nTo: someone@sink.test\r\n" +
	"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <MARK@client.test>\r\nSubject: MARK\r\n"

func contents() []content {
	return []content{
		{"998 octets", head + "X-Long: " + strings.Repeat("h", 990) + "\r\n\r\n" +
			strings.Repeat("a", 998) + "\r\n" + strings.Repeat("b", 997) + "\r\n." + strings.Repeat("c", 997) + "\r\nend\r\n"},
		{"dots", head + "\r\n.\r\n..\r\n...\r\n.start\r\n. .\r\nmiddle.\r\n.\r\n\r\n.\r\n"},
		{"empty body", head + "\r\n"},
		{"blank lines and blanks", head + "\r\n\r\n\r\n  leading\r\ntrailing  \t \r\n\r\nFrom the start\r\n>From\r\n-- \r\nname\r\n\r\n\r\n"},
		{"odd headers", "Received: from old.test by older.test;\r\n\tSun, 22 Nov 2026 11:00:00 +0000\r\n" +
			"subject:no space, MARK\r\nX-Folded: one\r\n  two\r\n\tthree\r\nx-MiXeD-cAsE:value\r\n" +
			"X-Twice: a\r\nX-Twice: b\r\nX-Empty:\r\nFrom: =?utf-8?B?4Ka24KeN4Kaw4KeA?= <alice@sender.test>\r\n" +
			"To: undisclosed-recipients:;\r\nDATE: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-Id: <MARK@client.test>\r\n\r\nbody\r\n"},
		{"Bcc and Return-Path", head + "Bcc: secret@sink.test,\r\n\tother@sink.test\r\nReturn-Path: <x@sender.test>\r\n" +
			"BCC: third@sink.test\r\nX-After: kept\r\n\r\nBcc: in the body stays\r\n"},
		{"no Date, no Message-ID", "From: alice@sender.test\r\nSubject: MARK\r\n\r\nbody\r\n"},
		{"8-bit", head + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
			"ডাক হরকরা\r\n驿站传书\r\n\xff\xfe octets of no charset\r\n"},
	}
}

// realCases: what real programs make passes through unchanged (design §9), to
// Postfix and to smtp-sink at once.
func realCases() []testCase {
	var cases []testCase
	modes := []string{plain, starttls, implicit}
	for i, c := range contents() {
		for j, cl := range verbatimClients() {
			cases = append(cases, testCase{c.name + "/" + cl.name, func(t *T, w *world) {
				through(t, w, modes[(i+j)%3], "", func(e errand, marker string) (string, error) {
					e.input = []byte(strings.ReplaceAll(c.text, "MARK", marker))
					return cl.send(w, e)
				})
			}})
		}
	}
	for i, kind := range []string{"attachments", "eightbit"} {
		cases = append(cases, testCase{"made by Python's email/" + kind, func(t *T, w *world) {
			through(t, w, modes[i], "", func(e errand, marker string) (string, error) {
				e.input = []byte(marker)
				return python(w, e, kind)
			})
		}})
	}
	return append(cases,
		testCase{"made by swaks/default message", func(t *T, w *world) { swaksMade(t, w, false) }},
		testCase{"made by swaks/attachment", func(t *T, w *world) { swaksMade(t, w, true) }},
		testCase{"made by s-nail/text", func(t *T, w *world) { snailMade(t, w, starttls, false) }},
		testCase{"made by s-nail/attachment", func(t *T, w *world) { snailMade(t, w, implicit, true) }},
		testCase{"SMTPUTF8/Bengali", func(t *T, w *world) { utf8Made(t, w, "bengali", "শ্রী", "ডাকঘর") }},
		testCase{"SMTPUTF8/Chinese", func(t *T, w *world) { utf8Made(t, w, "chinese", "张伟", "用户") }},
		testCase{"25 MiB attachment", bigMade},
		testCase{"relayed by Postfix", fromPostfix},
		testCase{"two hundred by smtp-source", fromSmtpSource},
	)
}

// through sends by way of a recorder and compares both arrivals with the
// record. An empty from means the usual two receivers.
func through(t *T, w *world, mode, mech string, send func(e errand, marker string) (string, error)) {
	rec, err := w.record(w.house.addr(mode), mode == implicit)
	t.must("recorder", err)
	t.Cleanup(rec.close)
	if mech == "" {
		mech = "PLAIN"
	}
	marker := newMarker()
	out, err := send(errand{addr: rec.addr(), mode: mode, mech: mech, from: userName,
		to: []string{"someone@" + sinkDomain, "someone@" + postDomain}}, marker)
	if err != nil {
		t.Fatalf("%v\n%s", err, lastLines(out, 12))
	}
	sent, err := rec.message()
	t.must("recorder", err)
	if !bytes.Contains(sent, []byte(marker)) {
		t.Fatalf("the client did not send its marker: %q", clip(string(sent)))
	}
	for name, receiver := range map[string]receiver{"smtp-sink": w.sink, "Postfix": w.postfix} {
		var got arrival
		// smtp-sink writes while we read: a part of the message is no verdict yet.
		eventually(w.ctx, patience, func() bool {
			got = w.arrived(t, receiver, marker, 1)[0]
			err = unchanged(sent, got.content)
			return err == nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.must("remove", os.Remove(got.file))
	}
	t.Notef("%d octets", len(sent))
}

func swaksMade(t *T, w *world, attach bool) {
	through(t, w, starttls, "LOGIN", func(e errand, marker string) (string, error) {
		args := append(swaksArgs(w, e), "--header", "Subject: "+marker, "--body", "ডাক\n.\n驿站\n")
		if attach {
			file, err := w.attachment("swaks.bin", 200_000)
			if err != nil {
				return "", err
			}
			args = append(args, "--attach", "@"+file)
		}
		return runTool(w.ctx, clientLimit, nil, nil, args...)
	})
}

func snailMade(t *T, w *world, mode string, attach bool) {
	through(t, w, mode, "", func(e errand, marker string) (string, error) {
		e.input = []byte("ডাক হরকরা\n.dot\n驿站传书\n" + strings.Repeat("long line ", 120) + "\n")
		args := []string{"-s", marker + " বাংলা 中文"}
		if attach {
			file, err := w.attachment("চালান.bin", 200_000)
			if err != nil {
				return "", err
			}
			args = append(args, "-a", file)
		}
		return sendMail(w, e, args...)
	})
}

// utf8Made goes to Postfix only: smtp-sink does not offer SMTPUTF8.
func utf8Made(t *T, w *world, kind, fromLocal, toLocal string) {
	rec, err := w.record(w.house.addr(starttls), false)
	t.must("recorder", err)
	t.Cleanup(rec.close)
	marker := newMarker()
	from, to := fromLocal+"@"+senderDomain, toLocal+"@"+postDomain
	out, err := python(w, errand{addr: rec.addr(), mode: starttls, mech: "PLAIN", from: from, to: []string{to},
		input: []byte(marker)}, kind)
	if err != nil {
		t.Fatalf("%v\n%s", err, lastLines(out, 12))
	}
	sent, err := rec.message()
	t.must("recorder", err)
	got := w.arrived(t, w.postfix, marker, 1)[0]
	if err := unchanged(sent, got.content); err != nil {
		t.Errorf("%v", err)
	}
	if got.from != "<"+from+">" || fmt.Sprint(got.rcpt) != "["+to+"]" {
		t.Errorf("envelope arrived as %s → %v, want <%s> → %s", got.from, got.rcpt, from, to)
	}
	if !strings.Contains(string(got.trace), "with UTF8SMTP") {
		t.Errorf("Postfix did not get it as SMTPUTF8: %q", got.trace)
	}
}

func bigMade(t *T, w *world) {
	through(t, w, implicit, "", func(e errand, marker string) (string, error) {
		e.input = []byte(marker)
		return python(w, e, "big")
	})
}

// fromPostfix: Postfix, whose relayhost we are, puts its Received field in
// front and changes nothing else; neither do we.
func fromPostfix(t *T, w *world) {
	marker := newMarker()
	message := strings.ReplaceAll(contents()[3].text, "MARK", marker)
	out, err := sendCurl(w, errand{addr: w.postfix.addr(), mode: trusted, from: userName,
		to: []string{"someone@" + onwardDomain}, input: []byte(message)})
	if err != nil {
		t.Fatalf("%v\n%s", err, lastLines(out, 8))
	}
	got := w.arrived(t, w.sink, marker, 1)[0]
	fields, _, _ := splitMessage(got.content)
	if len(fields) < 2 || !strings.Contains(fields[1], "by postfix.test") {
		t.Fatalf("no Received field of Postfix under ours: %q", fields)
	}
	if err := unchanged([]byte(fields[1]+message), got.content); err != nil {
		t.Errorf("%v", err)
	}
}

// fromSmtpSource: Postfix's load generator, ten sessions at once.
func fromSmtpSource(t *T, w *world) {
	marker := newMarker()
	out, err := runTool(w.ctx, clientLimit, nil, nil, "smtp-source", "-s", "10", "-m", "200", "-l", "5000",
		"-f", userName, "-t", "someone@"+sinkDomain, "-S", marker, w.house.addr(trusted))
	if err != nil {
		t.Fatalf("%v\n%s", err, lastLines(out, 8))
	}
	w.arrived(t, w.sink, marker, 200)
}
