package main

import (
	"bytes"
	"dawk/.ci/interop/lab"
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
func realCases() []lab.TestCase {
	var cases []lab.TestCase
	modes := []string{lab.Plain, lab.Starttls, lab.Implicit}
	for i, c := range contents() {
		for j, cl := range lab.VerbatimClients() {
			cases = append(cases, lab.TestCase{Name: c.name + "/" + cl.Name, Run: func(t *lab.T, w *lab.World) {
				through(t, w, modes[(i+j)%3], "", func(e lab.Errand, marker string) (string, error) {
					e.Input = []byte(strings.ReplaceAll(c.text, "MARK", marker))
					return cl.Send(w, e)
				})
			}})
		}
	}
	for i, kind := range []string{"attachments", "eightbit"} {
		cases = append(cases, lab.TestCase{Name: "made by Python's email/" + kind, Run: func(t *lab.T, w *lab.World) {
			through(t, w, modes[i], "", func(e lab.Errand, marker string) (string, error) {
				e.Input = []byte(marker)
				return lab.Python(w, e, kind)
			})
		}})
	}
	return append(cases,
		lab.TestCase{Name: "made by swaks/default message", Run: func(t *lab.T, w *lab.World) { swaksMade(t, w, false) }},
		lab.TestCase{Name: "made by swaks/attachment", Run: func(t *lab.T, w *lab.World) { swaksMade(t, w, true) }},
		lab.TestCase{Name: "made by s-nail/text", Run: func(t *lab.T, w *lab.World) { snailMade(t, w, lab.Starttls, false) }},
		lab.TestCase{Name: "made by s-nail/attachment", Run: func(t *lab.T, w *lab.World) { snailMade(t, w, lab.Implicit, true) }},
		lab.TestCase{Name: "SMTPUTF8/Bengali", Run: func(t *lab.T, w *lab.World) { utf8Made(t, w, "bengali", "শ্রী", "ডাকঘর") }},
		lab.TestCase{Name: "SMTPUTF8/Chinese", Run: func(t *lab.T, w *lab.World) { utf8Made(t, w, "chinese", "张伟", "用户") }},
		lab.TestCase{Name: "25 MiB attachment", Run: bigMade},
		lab.TestCase{Name: "relayed by Postfix", Run: fromPostfix},
		lab.TestCase{Name: "two hundred by smtp-source", Run: fromSmtpSource},
	)
}

// through sends by way of a recorder and compares both arrivals with the
// record. An empty from means the usual two receivers.
func through(t *lab.T, w *lab.World, mode, mech string, send func(e lab.Errand, marker string) (string, error)) {
	rec, err := w.Record(w.House.Addr(mode), mode == lab.Implicit)
	t.Must("recorder", err)
	t.Cleanup(rec.Close)
	if mech == "" {
		mech = "PLAIN"
	}
	marker := newMarker()
	out, err := send(lab.Errand{Addr: rec.Addr(), Mode: mode, Mech: mech, From: lab.UserName,
		To: []string{"someone@" + lab.SinkDomain, "someone@" + lab.PostDomain}}, marker)
	if err != nil {
		t.Fatalf("%v\n%s", err, lab.LastLines(out, 12))
	}
	sent, err := rec.Message()
	t.Must("recorder", err)
	if !bytes.Contains(sent, []byte(marker)) {
		t.Fatalf("the client did not send its marker: %q", lab.Clip(string(sent)))
	}
	for name, receiver := range map[string]lab.Receiver{"smtp-sink": w.Sink, "Postfix": w.Postfix} {
		var got lab.Arrival
		// smtp-sink writes while we read: a part of the message is no verdict yet.
		lab.Eventually(w.Ctx, lab.Patience, func() bool {
			got = w.Arrived(t, receiver, marker, 1)[0]
			err = lab.Unchanged(sent, got.Content)
			return err == nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Must("remove", os.Remove(got.File))
	}
	t.Notef("%d octets", len(sent))
}

func swaksMade(t *lab.T, w *lab.World, attach bool) {
	through(t, w, lab.Starttls, "LOGIN", func(e lab.Errand, marker string) (string, error) {
		args := append(lab.SwaksArgs(w, e), "--header", "Subject: "+marker, "--body", "ডাক\n.\n驿站\n")
		if attach {
			file, err := w.Attachment("swaks.bin", 200_000)
			if err != nil {
				return "", err
			}
			args = append(args, "--attach", "@"+file)
		}
		return lab.RunTool(w.Ctx, lab.ClientLimit, nil, nil, args...)
	})
}

func snailMade(t *lab.T, w *lab.World, mode string, attach bool) {
	through(t, w, mode, "", func(e lab.Errand, marker string) (string, error) {
		e.Input = []byte("ডাক হরকরা\n.dot\n驿站传书\n" + strings.Repeat("long line ", 120) + "\n")
		args := []string{"-s", marker + " বাংলা 中文"}
		if attach {
			file, err := w.Attachment("চালান.bin", 200_000)
			if err != nil {
				return "", err
			}
			args = append(args, "-a", file)
		}
		return lab.SendMail(w, e, args...)
	})
}

// utf8Made goes to Postfix only: smtp-sink does not offer SMTPUTF8.
func utf8Made(t *lab.T, w *lab.World, kind, fromLocal, toLocal string) {
	rec, err := w.Record(w.House.Addr(lab.Starttls), false)
	t.Must("recorder", err)
	t.Cleanup(rec.Close)
	marker := newMarker()
	from, to := fromLocal+"@"+lab.SenderDomain, toLocal+"@"+lab.PostDomain
	out, err := lab.Python(w, lab.Errand{Addr: rec.Addr(), Mode: lab.Starttls, Mech: "PLAIN", From: from, To: []string{to},
		Input: []byte(marker)}, kind)
	if err != nil {
		t.Fatalf("%v\n%s", err, lab.LastLines(out, 12))
	}
	sent, err := rec.Message()
	t.Must("recorder", err)
	got := w.Arrived(t, w.Postfix, marker, 1)[0]
	if err := lab.Unchanged(sent, got.Content); err != nil {
		t.Errorf("%v", err)
	}
	if got.From != "<"+from+">" || fmt.Sprint(got.Rcpt) != "["+to+"]" {
		t.Errorf("envelope arrived as %s → %v, want <%s> → %s", got.From, got.Rcpt, from, to)
	}
	if !strings.Contains(string(got.Trace), "with UTF8SMTP") {
		t.Errorf("Postfix did not get it as SMTPUTF8: %q", got.Trace)
	}
}

func bigMade(t *lab.T, w *lab.World) {
	through(t, w, lab.Implicit, "", func(e lab.Errand, marker string) (string, error) {
		e.Input = []byte(marker)
		return lab.Python(w, e, "big")
	})
}

// fromPostfix: Postfix, whose relayhost we are, puts its Received field in
// front and changes nothing else; neither do we.
func fromPostfix(t *lab.T, w *lab.World) {
	marker := newMarker()
	message := strings.ReplaceAll(contents()[3].text, "MARK", marker)
	out, err := lab.SendCurl(w, lab.Errand{Addr: w.Postfix.Addr(), Mode: lab.Trusted, From: lab.UserName,
		To: []string{"someone@" + lab.OnwardDomain}, Input: []byte(message)})
	if err != nil {
		t.Fatalf("%v\n%s", err, lab.LastLines(out, 8))
	}
	got := w.Arrived(t, w.Sink, marker, 1)[0]
	fields, _, _ := lab.SplitMessage(got.Content)
	if len(fields) < 2 || !strings.Contains(fields[1], "by postfix.test") {
		t.Fatalf("no Received field of Postfix under ours: %q", fields)
	}
	if err := lab.Unchanged([]byte(fields[1]+message), got.Content); err != nil {
		t.Errorf("%v", err)
	}
}

// fromSmtpSource: Postfix's load generator, ten sessions at once.
func fromSmtpSource(t *lab.T, w *lab.World) {
	marker := newMarker()
	out, err := lab.RunTool(w.Ctx, lab.ClientLimit, nil, nil, "smtp-source", "-s", "10", "-m", "200", "-l", "5000",
		"-f", lab.UserName, "-t", "someone@"+lab.SinkDomain, "-S", marker, w.House.Addr(lab.Trusted))
	if err != nil {
		t.Fatalf("%v\n%s", err, lab.LastLines(out, 8))
	}
	w.Arrived(t, w.Sink, marker, 200)
}
