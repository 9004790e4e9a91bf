package main

import (
	"dawk/.ci/interop/lab"
	_ "embed"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bounceCases: what cannot be delivered comes back as a notice that other
// programs read.
func bounceCases() []lab.TestCase {
	return []lab.TestCase{
		{Name: "refused by Postfix with 550", Run: refusedByPostfix},
		{Name: "refused for one of two recipients", Run: refusedForOne},
		{Name: "domain with a null MX", Run: func(t *lab.T, w *lab.World) {
			r := bounced(t, w, "anyone@nullmx.test", nil)
			r.check(t, "failed", "5.1.10", "")
		}},
		{Name: "domain that does not exist", Run: func(t *lab.T, w *lab.World) {
			r := bounced(t, w, "anyone@nowhere.test", nil)
			r.check(t, "failed", "5.1.2", "")
		}},
		{Name: "SMTPUTF8 address, host without SMTPUTF8", Run: func(t *lab.T, w *lab.World) {
			r := bounced(t, w, "用户@sink.test", []string{"SMTPUTF8"})
			r.check(t, "failed", "5.6.7", "")
		}},
		{Name: "NOTIFY=NEVER", Run: neverNotified},
		{Name: "null reverse-path", Run: nullReversePath},
		{Name: "DSN parameters reach Postfix", Run: dsnParameters},
		{Name: "450 first, retried", Run: retriedAfter450},
	}
}

// report is what client-side software reads out of a notice: see report.py.
type report struct {
	ContentType, ReportType string
	From, To, Subject       string
	AutoSubmitted           string
	Parts                   []string
	Message                 map[string]string   // fields of the per-message block
	Recipients              []map[string]string // fields of each per-recipient block
	Text, Returned          string
	Defects                 []string
	raw                     lab.Arrival
}

//go:embed report.py
var pythonReport string

// notice waits for the one notice with marker and has Python's email package
// take it apart.
func notice(t *lab.T, w *lab.World, marker string) report {
	got := w.Arrived(t, w.Postfix, marker, 1)[0]
	if got.From != "<>" {
		t.Errorf("the notice's reverse-path is %s, want <>", got.From)
	}
	out, err := lab.RunTool(w.Ctx, time.Minute, got.Content, nil, "python3", "-c", pythonReport)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := report{raw: got}
	t.Must("report.py", json.Unmarshal([]byte(out), &r))
	return r
}

// submit hands the house a message by hand, with parameters on MAIL and RCPT.
func submit(t *lab.T, w *lab.World, from, mailParams string, rcpts []string, rcptParams, message string) {
	d, err := lab.DialPlain(w.House.Addr(lab.Trusted))
	t.Must("connect", err)
	defer d.Close()
	script := lab.Greeted + "> MAIL FROM:<" + from + ">" + lab.Space(mailParams) + "\n< 250\n"
	for _, r := range rcpts {
		script += "> RCPT TO:<" + r + ">" + lab.Space(rcptParams) + "\n< 250\n"
	}
	script += "> DATA\n< 354\nraw " + strings.ReplaceAll(message, "\r\n", `\r\n`) + `.\r\n` + "\n< 250 2.0.0 queued as\n> QUIT\n< 221"
	t.Must("dialogue", d.Play(script))
}

func bounced(t *lab.T, w *lab.World, to string, mail []string) report {
	marker := newMarker()
	submit(t, w, lab.UserName, strings.Join(mail, " "), []string{to}, "", string(lab.SimpleMessage(marker)))
	r := notice(t, w, marker)
	if len(r.Recipients) != 1 || !strings.HasSuffix(unescape(r.Recipients[0]["final-recipient"]), "; "+to) {
		t.Errorf("the notice is about %v, want %s", r.Recipients, to)
	}
	return r
}

// unescape undoes utf-8-addr-xtext (RFC 6533 §3).
func unescape(s string) string {
	return regexp.MustCompile(`\\x\{([0-9A-F]+)\}`).ReplaceAllStringFunc(s, func(m string) string {
		n, err := strconv.ParseUint(m[3:len(m)-1], 16, 32)
		if err != nil {
			return m
		}
		return string(rune(n))
	})
}

// check reads a notice as RFC 3464 and RFC 3834 want it.
func (r report) check(t *lab.T, action, status, remote string) {
	equal := func(what, got, want string) {
		if got != want {
			t.Errorf("%s is %q, want %q", what, got, want)
		}
	}
	equal("Content-Type", r.ContentType, "multipart/report")
	equal("report-type", r.ReportType, "delivery-status")
	equal("To", r.To, lab.UserName)
	equal("Reporting-MTA", r.Message["reporting-mta"], "dns; "+lab.Hostname)
	if !strings.HasPrefix(r.AutoSubmitted, "auto-") {
		t.Errorf("Auto-Submitted is %q (RFC 3834)", r.AutoSubmitted)
	}
	if len(r.Parts) != 3 || r.Parts[0] != "text/plain" || !slices.Contains([]string{"message/delivery-status", "message/global-delivery-status"}, r.Parts[1]) {
		t.Errorf("the parts are %v", r.Parts)
	}
	if len(r.Defects) > 0 {
		t.Errorf("Python's email package finds defects: %v", r.Defects)
	}
	if len(r.Recipients) == 0 {
		t.Fatalf("no per-recipient block in %q", r.raw.Content)
	}
	f := r.Recipients[0]
	equal("Action", f["action"], action)
	equal("Status", f["status"], status)
	if remote != "" && !strings.HasPrefix(f["diagnostic-code"], remote) {
		t.Errorf("Diagnostic-Code is %q, want %q", f["diagnostic-code"], remote)
	}
	if !strings.Contains(r.Returned, "Subject: interop") {
		t.Errorf("the original is not returned: %q", lab.Clip(r.Returned))
	}
}

func refusedByPostfix(t *lab.T, w *lab.World) {
	r := bounced(t, w, "reject-me@"+lab.PostDomain, nil)
	r.check(t, "failed", "5.1.1", "smtp; 550 5.1.1")
	if !strings.Contains(strings.Join(strings.Fields(r.Text), " "), "No such user here") {
		t.Errorf("the text for people does not quote Postfix: %q", r.Text)
	}
}

// refusedForOne: the other recipient gets the mail, once, and the notice names
// only the one that failed.
func refusedForOne(t *lab.T, w *lab.World) {
	marker := newMarker()
	submit(t, w, lab.UserName, "", []string{"good@" + lab.PostDomain, "reject-two@" + lab.PostDomain}, "", string(lab.SimpleMessage(marker)))
	var notices, mails int
	for _, a := range w.Arrived(t, w.Postfix, marker, 2) {
		if a.From == "<>" {
			notices++
			if strings.Contains(string(a.Content), "good@"+lab.PostDomain) {
				t.Errorf("the notice names the recipient that got the mail")
			}
		} else {
			mails++
		}
	}
	if notices != 1 || mails != 1 {
		t.Errorf("%d notices and %d mails, want one each", notices, mails)
	}
}

func neverNotified(t *lab.T, w *lab.World) {
	marker := newMarker()
	submit(t, w, lab.UserName, "", []string{"reject-never@" + lab.PostDomain}, "NOTIFY=NEVER", string(lab.SimpleMessage(marker)))
	w.EmptyQueue(t, w.House)
	bounced(t, w, "reject-later@"+lab.PostDomain, nil).check(t, "failed", "5.1.1", "")
	if found, err := w.Postfix.Arrivals(lab.Contains(marker)); err != nil || len(found) > 0 {
		t.Errorf("%d notices in spite of NOTIFY=NEVER (%v)", len(found), err)
	}
}

// nullReversePath: a bounce that bounces goes to postmaster, if at all, and
// never back.
func nullReversePath(t *lab.T, w *lab.World) {
	marker := newMarker()
	submit(t, w, "", "", []string{"reject-null@" + lab.PostDomain}, "", string(lab.SimpleMessage(marker)))
	got := w.Arrived(t, w.Postfix, marker, 1)[0]
	if len(got.Rcpt) != 1 || got.Rcpt[0] != "postmaster@"+lab.SenderDomain || got.From != "<>" {
		t.Errorf("the double bounce went from %s to %v", got.From, got.Rcpt)
	}
}

// dsnParameters: Postfix, asked for NOTIFY=SUCCESS, sends a notice of its own
// that quotes ENVID and ORCPT: so it was given them. dawk sends none, since
// Postfix took the duty over (RFC 3461 §5.2.2).
func dsnParameters(t *lab.T, w *lab.World) {
	marker := newMarker()
	submit(t, w, lab.UserName, "RET=HDRS ENVID="+marker+"+2B1", []string{"success@" + lab.PostDomain},
		"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first+2Bname@sink.test", string(lab.SimpleMessage(marker)))
	w.Arrived(t, w.Postfix, marker, 2) // the mail and the notice
	found, err := w.Postfix.Arrivals(lab.Contains("Original-Envelope-Id: " + marker + "+1"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d notices name the envelope ID (%v)", len(found), err)
	}
	for _, want := range []string{"Reporting-MTA: dns; postfix.test", "Original-Recipient: rfc822;first+name@sink.test", "Action: delivered"} {
		if !strings.Contains(string(found[0].Content), want) {
			t.Errorf("Postfix's notice does not say %q", want)
		}
	}
}

// retriedAfter450: the recipient's mailbox is busy until Postfix's table
// changes; then the mail arrives without a notice.
func retriedAfter450(t *lab.T, w *lab.World) {
	marker := newMarker()
	to := "defer-" + marker + "@" + lab.PostDomain
	submit(t, w, lab.UserName, "", []string{to}, "", string(lab.SimpleMessage(marker)))
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool {
		return strings.Count(w.Postfix.Log(), "450 4.2.1 <"+to) >= 2
	}) {
		t.Fatalf("Postfix was not tried twice:\n%s", w.House.Proc.Out.Tail(6))
	}
	t.Must("Postfix", w.Postfix.Allow(w.Ctx, to))
	w.Arrived(t, w.Postfix, marker, 1)
	w.EmptyQueue(t, w.House)
}
