package main

import (
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
func bounceCases() []testCase {
	return []testCase{
		{"refused by Postfix with 550", refusedByPostfix},
		{"refused for one of two recipients", refusedForOne},
		{"domain with a null MX", func(t *T, w *world) {
			r := bounced(t, w, "anyone@nullmx.test", nil)
			r.check(t, "failed", "5.1.10", "")
		}},
		{"domain that does not exist", func(t *T, w *world) {
			r := bounced(t, w, "anyone@nowhere.test", nil)
			r.check(t, "failed", "5.1.2", "")
		}},
		{"SMTPUTF8 address, host without SMTPUTF8", func(t *T, w *world) {
			r := bounced(t, w, "用户@sink.test", []string{"SMTPUTF8"})
			r.check(t, "failed", "5.6.7", "")
		}},
		{"NOTIFY=NEVER", neverNotified},
		{"null reverse-path", nullReversePath},
		{"DSN parameters reach Postfix", dsnParameters},
		{"450 first, retried", retriedAfter450},
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
	raw                     arrival
}

//go:embed report.py
var pythonReport string

// notice waits for the one notice with marker and has Python's email package
// take it apart.
func notice(t *T, w *world, marker string) report {
	got := w.arrived(t, w.postfix, marker, 1)[0]
	if got.from != "<>" {
		t.Errorf("the notice's reverse-path is %s, want <>", got.from)
	}
	out, err := runTool(w.ctx, time.Minute, got.content, nil, "python3", "-c", pythonReport)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := report{raw: got}
	t.must("report.py", json.Unmarshal([]byte(out), &r))
	return r
}

// submit hands the house a message by hand, with parameters on MAIL and RCPT.
func submit(t *T, w *world, from, mailParams string, rcpts []string, rcptParams, message string) {
	d, err := dialPlain(w.house.addr(trusted))
	t.must("connect", err)
	defer d.close()
	script := greeted + "> MAIL FROM:<" + from + ">" + space(mailParams) + "\n< 250\n"
	for _, r := range rcpts {
		script += "> RCPT TO:<" + r + ">" + space(rcptParams) + "\n< 250\n"
	}
	script += "> DATA\n< 354\nraw " + strings.ReplaceAll(message, "\r\n", `\r\n`) + `.\r\n` + "\n< 250 2.0.0 queued as\n> QUIT\n< 221"
	t.must("dialogue", d.play(script))
}

func space(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

func bounced(t *T, w *world, to string, mail []string) report {
	marker := newMarker()
	submit(t, w, userName, strings.Join(mail, " "), []string{to}, "", string(simpleMessage(marker)))
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
func (r report) check(t *T, action, status, remote string) {
	equal := func(what, got, want string) {
		if got != want {
			t.Errorf("%s is %q, want %q", what, got, want)
		}
	}
	equal("Content-Type", r.ContentType, "multipart/report")
	equal("report-type", r.ReportType, "delivery-status")
	equal("To", r.To, userName)
	equal("Reporting-MTA", r.Message["reporting-mta"], "dns; "+hostname)
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
		t.Fatalf("no per-recipient block in %q", r.raw.content)
	}
	f := r.Recipients[0]
	equal("Action", f["action"], action)
	equal("Status", f["status"], status)
	if remote != "" && !strings.HasPrefix(f["diagnostic-code"], remote) {
		t.Errorf("Diagnostic-Code is %q, want %q", f["diagnostic-code"], remote)
	}
	if !strings.Contains(r.Returned, "Subject: interop") {
		t.Errorf("the original is not returned: %q", clip(r.Returned))
	}
}

func refusedByPostfix(t *T, w *world) {
	r := bounced(t, w, "reject-me@"+postDomain, nil)
	r.check(t, "failed", "5.1.1", "smtp; 550 5.1.1")
	if !strings.Contains(strings.Join(strings.Fields(r.Text), " "), "No such user here") {
		t.Errorf("the text for people does not quote Postfix: %q", r.Text)
	}
}

// refusedForOne: the other recipient gets the mail, once, and the notice names
// only the one that failed.
func refusedForOne(t *T, w *world) {
	marker := newMarker()
	submit(t, w, userName, "", []string{"good@" + postDomain, "reject-two@" + postDomain}, "", string(simpleMessage(marker)))
	var notices, mails int
	for _, a := range w.arrived(t, w.postfix, marker, 2) {
		if a.from == "<>" {
			notices++
			if strings.Contains(string(a.content), "good@"+postDomain) {
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

func neverNotified(t *T, w *world) {
	marker := newMarker()
	submit(t, w, userName, "", []string{"reject-never@" + postDomain}, "NOTIFY=NEVER", string(simpleMessage(marker)))
	w.emptyQueue(t, w.house)
	bounced(t, w, "reject-later@"+postDomain, nil).check(t, "failed", "5.1.1", "")
	if found, err := w.postfix.arrivals(contains(marker)); err != nil || len(found) > 0 {
		t.Errorf("%d notices in spite of NOTIFY=NEVER (%v)", len(found), err)
	}
}

// nullReversePath: a bounce that bounces goes to postmaster, if at all, and
// never back.
func nullReversePath(t *T, w *world) {
	marker := newMarker()
	submit(t, w, "", "", []string{"reject-null@" + postDomain}, "", string(simpleMessage(marker)))
	got := w.arrived(t, w.postfix, marker, 1)[0]
	if len(got.rcpt) != 1 || got.rcpt[0] != "postmaster@"+senderDomain || got.from != "<>" {
		t.Errorf("the double bounce went from %s to %v", got.from, got.rcpt)
	}
}

// dsnParameters: Postfix, asked for NOTIFY=SUCCESS, sends a notice of its own
// that quotes ENVID and ORCPT: so it was given them. dawk sends none, since
// Postfix took the duty over (RFC 3461 §5.2.2).
func dsnParameters(t *T, w *world) {
	marker := newMarker()
	submit(t, w, userName, "RET=HDRS ENVID="+marker+"+2B1", []string{"success@" + postDomain},
		"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first+2Bname@sink.test", string(simpleMessage(marker)))
	w.arrived(t, w.postfix, marker, 2) // the mail and the notice
	found, err := w.postfix.arrivals(contains("Original-Envelope-Id: " + marker + "+1"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d notices name the envelope ID (%v)", len(found), err)
	}
	for _, want := range []string{"Reporting-MTA: dns; postfix.test", "Original-Recipient: rfc822;first+name@sink.test", "Action: delivered"} {
		if !strings.Contains(string(found[0].content), want) {
			t.Errorf("Postfix's notice does not say %q", want)
		}
	}
}

// retriedAfter450: the recipient's mailbox is busy until Postfix's table
// changes; then the mail arrives without a notice.
func retriedAfter450(t *T, w *world) {
	marker := newMarker()
	to := "defer-" + marker + "@" + postDomain
	submit(t, w, userName, "", []string{to}, "", string(simpleMessage(marker)))
	if !eventually(w.ctx, patience, func() bool {
		return strings.Count(w.postfix.log(), "450 4.2.1 <"+to) >= 2
	}) {
		t.Fatalf("Postfix was not tried twice:\n%s", w.house.proc.out.tail(6))
	}
	t.must("Postfix", w.postfix.allow(w.ctx, to))
	w.arrived(t, w.postfix, marker, 1)
	w.emptyQueue(t, w.house)
}
