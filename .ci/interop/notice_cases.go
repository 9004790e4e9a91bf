package main

import (
	"bytes"
	"dawk/.ci/interop/lab"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// noticeCases: notices as they lie in a mailbox behind Postfix are what other
// people's readers of bounces expect.
func noticeCases() []lab.TestCase {
	return []lab.TestCase{
		{Name: "flufl.bounce reads the failure", Run: fluflReads},
		{Name: "BounceParser reads the failure", Run: bounceParserReads},
		{Name: "neither takes a recipient of a report inside", Run: noOtherRecipient},
		{Name: "in German, by Content-Language", Run: inGerman},
		{Name: "RET=HDRS returns no body", Run: headersOnly},
	}
}

// rejected has Postfix refuse a recipient and gives the notice that arrives.
func rejected(t *lab.T, w *lab.World, to, mailParams, header string) report {
	marker := newMarker()
	message := append([]byte(header), lab.SimpleMessage(marker)...)
	submit(t, w, lab.UserName, mailParams, []string{to}, "", string(message))
	return notice(t, w, marker)
}

const fluflReader = `import email, sys
from flufl.bounce import all_failures
temporary, permanent = all_failures(email.message_from_binary_file(sys.stdin.buffer))
print(" ".join(sorted(a.decode() for a in permanent)), "|", " ".join(sorted(a.decode() for a in temporary)))
`

func fluflReads(t *lab.T, w *lab.World) {
	if _, err := lab.RunTool(w.Ctx, time.Minute, nil, nil, "/usr/bin/python3", "-c", "import flufl.bounce"); err != nil {
		t.Skipf("python3-flufl.bounce is not installed")
	}
	to := "reject-flufl@" + lab.PostDomain
	r := rejected(t, w, to, "", "")
	out, err := lab.RunTool(w.Ctx, time.Minute, r.raw.Content, nil, "/usr/bin/python3", "-c", fluflReader)
	t.Must("flufl.bounce", err)
	if got := strings.TrimSpace(out); got != to+" |" {
		t.Errorf("flufl.bounce finds %q", got)
	}
}

const parserReader = `use strict; use Mail::DeliveryStatus::BounceParser;
my $text = do { local $/; <STDIN> }; $text =~ s/\r\n/\n/g;
print join(' ', $_->get('email'), $_->get('std_reason'), $_->get('Status')), "\n" for Mail::DeliveryStatus::BounceParser->new($text)->reports;
`

func bounceParserReads(t *lab.T, w *lab.World) {
	if _, err := lab.RunTool(w.Ctx, time.Minute, nil, nil, "/usr/bin/perl", "-MMail::DeliveryStatus::BounceParser", "-e", "1"); err != nil {
		t.Skipf("libmail-deliverystatus-bounceparser-perl is not installed")
	}
	to := "reject-parser@" + lab.PostDomain
	r := rejected(t, w, to, "", "")
	script := filepath.Join(w.Dir, "reader.pl")
	t.Must("write", os.WriteFile(script, []byte(parserReader), 0o600))
	out, err := lab.RunTool(w.Ctx, time.Minute, r.raw.Content, nil, "/usr/bin/perl", script)
	t.Must("BounceParser", err)
	if got := strings.TrimSpace(out); got != to+" user_unknown 5.1.1" {
		t.Errorf("BounceParser finds %q", got)
	}
}

// noOtherRecipient: a message that is a bounce itself, about somebody else, is
// refused and comes back. Readers of bounces look into every part of the notice;
// the somebody else must not be struck off.
func noOtherRecipient(t *lab.T, w *lab.World) {
	marker, to := newMarker(), "reject-inside@"+lab.PostDomain
	message := "From: <" + lab.UserName + ">\r\nTo: <" + to + ">\r\nSubject: interop " + marker + "\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nit came back\r\n--b\r\n" +
		"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n" +
		"Final-Recipient: rfc822; victim@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"
	submit(t, w, lab.UserName, "RET=FULL", []string{to}, "", message)
	r := notice(t, w, marker)
	r.check(t, "failed", "5.1.1", "smtp; 550 5.1.1")
	if len(r.Parts) != 3 || r.Parts[2] != "text/rfc822-headers" {
		t.Errorf("returned as %v", r.Parts)
	}
	if _, err := lab.RunTool(w.Ctx, time.Minute, nil, nil, "/usr/bin/python3", "-c", "import flufl.bounce"); err == nil {
		out, err := lab.RunTool(w.Ctx, time.Minute, r.raw.Content, nil, "/usr/bin/python3", "-c", fluflReader)
		t.Must("flufl.bounce", err)
		if got := strings.TrimSpace(out); got != to+" |" {
			t.Errorf("flufl.bounce finds %q", got)
		}
	}
	if _, err := lab.RunTool(w.Ctx, time.Minute, nil, nil, "/usr/bin/perl", "-MMail::DeliveryStatus::BounceParser", "-e", "1"); err == nil {
		script := filepath.Join(w.Dir, "reader.pl")
		t.Must("write", os.WriteFile(script, []byte(parserReader), 0o600))
		out, err := lab.RunTool(w.Ctx, time.Minute, r.raw.Content, nil, "/usr/bin/perl", script)
		t.Must("BounceParser", err)
		if got := strings.TrimSpace(out); got != to+" user_unknown 5.1.1" {
			t.Errorf("BounceParser finds %q", got)
		}
	}
}

func inGerman(t *lab.T, w *lab.World) {
	r := rejected(t, w, "reject-german@"+lab.PostDomain, "", "Content-Language: de-CH\r\n")
	r.check(t, "failed", "5.1.1", "smtp; 550 5.1.1")
	if !strings.HasPrefix(r.Subject, "Nicht zugestellt: ") || !strings.Contains(strings.Join(strings.Fields(r.Text), " "), "Dieses Postfach gibt es nicht.") {
		t.Errorf("%q: %s", r.Subject, lab.Clip(r.Text))
	}
	if !bytes.Contains(r.raw.Content, []byte("Content-Language: de\n")) && !bytes.Contains(r.raw.Content, []byte("Content-Language: de\r\n")) {
		t.Errorf("its text has no Content-Language: de")
	}
}

func headersOnly(t *lab.T, w *lab.World) {
	r := rejected(t, w, "reject-headers@"+lab.PostDomain, "RET=HDRS", "")
	if len(r.Parts) != 3 || r.Parts[2] != "text/rfc822-headers" || strings.Contains(r.Returned, "this is") {
		t.Errorf("returned as %v: %s", r.Parts, lab.Clip(r.Returned))
	}
	t.Notef("%d octets", len(r.raw.Content))
}
