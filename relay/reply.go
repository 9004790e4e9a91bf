package relay

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Status is an enhanced mail system status code (RFC 3463): class, subject,
// detail. The zero value: none was given.
type Status struct{ Class, Subject, Detail int }

// IsZero says whether no status was given.
func (s Status) IsZero() bool { return s == Status{} }

// String is "5.1.1", or "" for the zero value.
func (s Status) String() string {
	if s.IsZero() {
		return ""
	}
	b := strconv.AppendInt(make([]byte, 0, 11), int64(s.Class), 10)
	b = strconv.AppendInt(append(b, '.'), int64(s.Subject), 10)
	b = strconv.AppendInt(append(b, '.'), int64(s.Detail), 10)
	return string(b)
}

// ParseStatus reads "5.1.1". Subject and detail have up to three digits.
func ParseStatus(s string) (Status, bool) {
	if len(s) < len("5.1.1") || s[1] != '.' || s[0] != '2' && s[0] != '4' && s[0] != '5' {
		return Status{}, false
	}
	subject, detail, _ := strings.Cut(s[2:], ".")
	st := Status{Class: int(s[0] - '0')}
	for _, part := range []struct {
		text string
		to   *int
	}{{subject, &st.Subject}, {detail, &st.Detail}} {
		n, err := strconv.ParseUint(part.text, 10, 16)
		if err != nil || len(part.text) > 3 {
			return Status{}, false
		}
		*part.to = int(n)
	}
	return st, true
}

// MarshalText and UnmarshalText use the form of String.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseStatus; an empty text is the zero value.
func (s *Status) UnmarshalText(b []byte) error {
	v, ok := ParseStatus(string(b))
	if len(b) > 0 && !ok {
		return fmt.Errorf("%q is not an enhanced status code", Clip(string(b)))
	}
	*s = v
	return nil
}

// Stage is the step of a delivery attempt at which a Reply arose.
type Stage string

// The stages in their order. The ones before StageConnect have no server.
const (
	StageRoute    Stage = "route" // our own decision: configuration, policy, expiry
	StageDNS      Stage = "dns"
	StageConnect  Stage = "connect"
	StageGreeting Stage = "greeting"
	StageEHLO     Stage = "ehlo"
	StageTLS      Stage = "tls" // STARTTLS and the handshake
	StageAuth     Stage = "auth"
	StageMail     Stage = "mail"
	StageRcpt     Stage = "rcpt"
	StageData     Stage = "data" // the DATA command
	StageBody     Stage = "body" // content up to the final dot and its reply
)

// Cause is the class of what we make of a Reply. Where a server spoke it is
// empty, unless the reply is known to be about our account there.
type Cause string

// The causes.
const (
	CauseDNS      Cause = "dns"      // a lookup gave no usable answer
	CauseConnect  Cause = "connect"  // no connection, or no greeting
	CauseSession  Cause = "session"  // the dialogue broke, or the mail and the server's extensions do not fit
	CauseTLS      Cause = "tls"      // no encryption, or not what the policy demands
	CauseLogin    Cause = "login"    // our login or account at the server, or what they need
	CauseSender   Cause = "sender"   // our account may not send as this sender
	CauseThrottle Cause = "throttle" // the server takes no more from our account for now
	CauseBudget   Cause = "budget"   // this relay sends no more there for now
	CauseContent  Cause = "content"  // the message cannot be sent as it is
	CausePolicy   Cause = "policy"   // a rule of this relay
	CauseLocal    Cause = "local"    // trouble of this relay: its configuration, machine or disk
	CauseDamage   Cause = "damage"   // our disk lost or spoilt the message, or cannot give it
	CauseOperator Cause = "operator" // a person decided it
	// CauseSuppressed: the recipient is on the suppression list.
	CauseSuppressed Cause = "suppressed"
)

// Own says whether a reply without a server's word tells of this relay's own
// trouble, which concerns its administrator alone: its Text may name keys,
// files and accounts.
func (r Reply) Own() bool {
	return r.Code == 0 && (r.Cause == CauseLogin || r.Cause == CauseLocal)
}

// causeAt is the Cause of what happened at a stage without a server's word.
func causeAt(s Stage) Cause {
	switch s {
	case StageRoute:
		return CauseLocal
	case StageDNS:
		return CauseDNS
	case StageConnect, StageGreeting:
		return CauseConnect
	case StageTLS:
		return CauseTLS
	case StageAuth:
		return CauseLogin
	}
	return CauseSession
}

// MaxReplyText is the most of a server's words that a Reply keeps, in octets.
const MaxReplyText = 1024

// Reply carries a status from where it arose to the log, the metric and the
// bounce. What a server said has its Code; what happened without a server's
// word (DNS, dial, TLS, a timeout, our own policy) has Code 0 and a Status.
type Reply struct {
	Code   int    `json:"code,omitempty"` // RFC 5321 §4.2; 0: no server spoke
	Status Status `json:"status,omitzero"`
	Text   string `json:"text,omitempty"` // the server's words without codes, lines joined by a space; made by Sanitize
	Stage  Stage  `json:"stage,omitempty"`
	MTA    string `json:"mta,omitempty"`  // the server's host name; "" when none was reached
	Addr   string `json:"addr,omitempty"` // its address
	Cause  Cause  `json:"cause,omitempty"`
	Remedy string `json:"remedy,omitempty"` // what an administrator can do; senders never see it

	// Refused: the connection was refused at once, or there is no way to the host. Where
	// another host kept silent, that says more. Until [Summary] only.
	Refused bool `json:"-"`
}

// IsZero says whether there is no reply.
func (r Reply) IsZero() bool { return r == Reply{} }

// Positive says whether the server agreed (2yz).
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Permanent is the one place where permanence is decided: trying the same
// recipient again is pointless. Everything unknown is temporary.
//
// A 5yz counts only as an answer to what concerns this message or recipient
// (MAIL, RCPT, DATA, content). A 5yz to the greeting, EHLO, STARTTLS or AUTH
// speaks of the host or of our account there, and the mail waits until an
// operator mended it or its time is up. Without a server's word, class 5 is
// our own considered verdict (no such domain, null MX, expired …).
func (r Reply) Permanent() bool {
	if r.Code == 0 {
		return r.Status.Class == 5
	}
	if r.Code < 500 || r.Code > 599 || r.Cause == CauseSession {
		return false
	}
	switch r.Stage {
	case StageMail, StageRcpt, StageData, StageBody:
		// RFC 5321 §4.5.3.1.10: 552 for too many recipients is to be read as
		// 452. Only where the server says that it means recipients.
		tooMany := r.Code == 552 && r.Stage == StageRcpt && r.Status == Status{5, 5, 3}
		return !tooMany && !r.OutOfOrder()
	}
	return false
}

// OutOfOrder says whether a server minds the order of our commands: that speaks
// of the session, never of the mail (RFC 5321 §4.2.3, 503). A status about
// anything but the protocol says that it means something else by it.
func (r Reply) OutOfOrder() bool {
	return r.Code == 503 && r.Stage != StageBody && (r.Status.IsZero() || r.Status.Subject == 5)
}

// Enhanced is the Status, or the best that follows from the code alone
// (RFC 3463 §2: X.0.0 when nothing more is known). Its class always agrees
// with what we do: a 5yz that we treat as temporary is reported as class 4.
func (r Reply) Enhanced() Status {
	s := r.Status
	if s.IsZero() {
		s = Status{Class: r.Code / 100}
	}
	switch {
	case r.Positive():
		s.Class = 2
	case r.Permanent():
		s.Class = 5
	default:
		s.Class = 4
	}
	return s
}

// String is the reply on one line: "550 5.1.1 no such user".
func (r Reply) String() string {
	var parts []string
	if r.Code != 0 {
		parts = append(parts, strconv.Itoa(r.Code))
	}
	if !r.Status.IsZero() {
		parts = append(parts, r.Status.String())
	}
	if r.Text != "" {
		parts = append(parts, r.Text)
	}
	return strings.Join(parts, " ")
}

// Advised is String with the remedy behind it, for administrators.
func (r Reply) Advised() string { return Advised(r.String(), r.Remedy) }

// Advised joins what happened and what an administrator can do.
func Advised(words, remedy string) string {
	if remedy == "" {
		return words
	}
	return strings.TrimRight(words, ". ") + " → " + remedy
}

// Failure makes a Reply for what happened without a server's word. Its Cause
// follows from the stage.
func Failure(stage Stage, status Status, format string, args ...any) Reply {
	return Reply{Status: status, Stage: stage, Cause: causeAt(stage), Text: Sanitize(fmt.Sprintf(format, args...))}
}

// Decision makes a Reply for what this relay decided before it asked a server.
func Decision(cause Cause, status Status, format string, args ...any) Reply {
	r := Failure(StageRoute, status, format, args...)
	r.Cause = cause
	return r
}

// Parted is a reply that was stored before there were causes: what its stage and
// status tell of the cause, and the remedy, which stood behind an arrow.
func (r Reply) Parted() Reply {
	r.Text, r.Remedy, _ = strings.Cut(r.Text, " → ")
	if r.Code != 0 || r.IsZero() {
		return r
	}
	r.Cause = causeAt(r.Stage)
	if s := r.Status; r.Stage == StageRoute {
		switch {
		case s == Status{5, 0, 0}, s == Status{5, 3, 0}:
			r.Cause = CauseOperator
		case s.Class == 5 && s.Subject == 6:
			r.Cause = CauseContent
		case s.Class == 5, s == Status{4, 4, 0}, s.Class == 2:
			r.Cause = CausePolicy
		case s == Status{4, 3, 2}:
			r.Cause = CauseBudget
		}
	}
	return r
}

// Remedied is an error with what an administrator can do about it.
type Remedied interface {
	error
	Remedy() string
}

// FailureOf is Failure for an error, with the remedy that it carries.
func FailureOf(stage Stage, status Status, err error) Reply {
	r := Failure(stage, status, "%v", err)
	r.Remedy = RemedyOf(err)
	return r
}

// RemedyOf is the remedy that an error carries, or "".
func RemedyOf(err error) string {
	var e Remedied
	if !errors.As(err, &e) {
		return ""
	}
	return Sanitize(e.Remedy())
}

// Sanitize makes hostile text fit for one line of a log, a reply or a notice:
// valid UTF-8, nothing that Hidden says is hidden, at most MaxReplyText octets.
func Sanitize(s string) string {
	if len(s) <= MaxReplyText && isPlain(s) && s == strings.TrimSpace(s) {
		return s // as nearly all are
	}
	if len(s) > 4*MaxReplyText {
		s = s[:4*MaxReplyText]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if Hidden(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= MaxReplyText {
		return s
	}
	return s[:CutAt(s, MaxReplyText-len("…"))] + "…"
}

// isPlain says whether s is printable ASCII.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
