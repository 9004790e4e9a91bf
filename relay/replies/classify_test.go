package replies_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/replies"
)

// realReply is one line of testdata: a real reply and its category.
type realReply struct {
	reply    relay.Reply
	want     replies.Category
	provider string // "": none in particular
}

// readReplies reads testdata/replies.tsv and testdata/providers.tsv.
func readReplies(t testing.TB) (all []realReply) {
	for _, file := range []string{"replies.tsv", "providers.tsv"} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			if strings.HasPrefix(line, "#") {
				continue
			}
			var r realReply
			if file == "providers.tsv" {
				r.provider, line, _ = strings.Cut(line, "\t")
			}
			col := append(strings.SplitN(line, "\t", 5), "", "")
			code, err := strconv.Atoi(col[2])
			status, ok := relay.ParseStatus(col[3])
			if err != nil || col[3] != "" && !ok {
				t.Fatalf("%s:%d: %q", file, n+1, line)
			}
			r.want = replies.Category(col[0])
			stage, cause, _ := strings.Cut(col[1], "/")
			r.reply = relay.Reply{Code: code, Status: status, Text: relay.Sanitize(col[4]), Stage: relay.Stage(stage), Cause: relay.Cause(cause)}
			all = append(all, r)
		}
	}
	return all
}

func TestClassifyRealReplies(t *testing.T) {
	seen := map[replies.Category]bool{}
	providers := map[string]int{}
	for _, r := range readReplies(t) {
		if got := replies.Classify(r.reply); got != r.want {
			t.Errorf("%s %s %v: %s, want %s", r.provider, r.reply.Stage, r.reply, got, r.want)
		}
		seen[r.want] = true
		providers[r.provider]++
	}
	for _, c := range replies.Categories() {
		if !seen[c] {
			t.Errorf("no real reply for category %s in testdata/replies.tsv", c)
		}
	}
	for _, p := range []string{"google", "microsoft", "yahoo", "apple", "zoho", "proofpoint", "mimecast", "barracuda", "cisco", "postfix",
		"exim", "exchange", "gmx", "qq", "163"} {
		if providers[p] < 8 {
			t.Errorf("%d real replies of %s in testdata/providers.tsv", providers[p], p)
		}
	}
}

// A name inside a word must not decide.
func TestClassifyLooksAtWholeWords(t *testing.T) {
	for text, want := range map[string]replies.Category{
		"mailbox unavailable at hosts01.example.net": replies.BadAddress,
		"marble.example.net says no":                 replies.Other,
	} {
		r := relay.Reply{Code: 554, Text: text, Stage: relay.StageBody}
		if got := replies.Classify(r); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// "No such mailbox" is said only of a reply that says so: addresses are struck
// off lists for it.
func TestWhoIsToBlame(t *testing.T) {
	for _, c := range []struct {
		stage relay.Stage
		reply string
		want  replies.Category
	}{
		{relay.StageRcpt, "550 ", replies.Other},
		{relay.StageRcpt, "550 Rejected", replies.Policy},
		{relay.StageRcpt, "550 you are not welcome", replies.Other},
		{relay.StageRcpt, "551 please go elsewhere", replies.Other},
		{relay.StageRcpt, "553 something is wrong", replies.Other},
		{relay.StageRcpt, "550 5.1.0 <a@example.org> sender rejected", replies.SenderAuth},
		{relay.StageRcpt, "550 5.1.0 something is wrong", replies.Other},
		{relay.StageRcpt, "550 5.4.1 no answer from host", replies.Connection},
		{relay.StageRcpt, "550 5.5.0 something is wrong", replies.ServerTrouble},
		{relay.StageMail, "553 5.1.0 a example.org does not exist", replies.SenderAuth},
		{relay.StageMail, "550 5.1.1 <a@example.org>: user unknown", replies.SenderAuth},
		{relay.StageMail, "550 no such user", replies.SenderAuth},
		{relay.StageRcpt, "550 5.1.8 <a@example.org>: sender domain not found", replies.SenderAuth},
		{relay.StageRcpt, "550 domain [example.org] mismatches client ip 192.0.2.225.", replies.SenderAuth},
		{relay.StageRcpt, "550 see https://lists.example.net/query/bl?ip=192.0.2.1", replies.Spam},
		{relay.StageRcpt, "450 4.2.1 mailbox temporarily disabled", replies.MailboxDisabled},
		{relay.StageRcpt, "550 Mailbox is frozen", replies.MailboxDisabled},
		{relay.StageRcpt, "525 5.7.13 disabled recipient", replies.MailboxDisabled},
		{relay.StageRcpt, "550 5.4.4 invalid domain", replies.BadDomain},
		{relay.StageRcpt, "450 4.4.4 cannot route", replies.DNS},
		{relay.StageRcpt, "550 Host unknown", replies.BadDomain},
		{relay.StageRcpt, "550 the domain example.net does not exist", replies.BadDomain},
		{relay.StageRcpt, "550 to send email from a blank sender, enable blank senders", replies.Policy},
		{relay.StageBody, "550 5.2.0 Mail rejete. Mail rejected. OFR_506 [506]", replies.Spam},
		{relay.StageRcpt, "550 Requested action not taken: mailbox unavailable. Reject due to policy restrictions", replies.Policy},
		{relay.StageRcpt, "550 mailbox unavailable because of policy, your ip is on blacklist", replies.Spam},
		{relay.StageRcpt, "550 5.1.1 Mailbox unavailable: your message was blocked as spam", replies.Spam},
		{relay.StageRcpt, "550 <b@example.net>: user does not exist", replies.BadAddress},
		{relay.StageBody, "550 Unknown user b@example.net", replies.BadAddress}, // NTT Docomo says so after the content
		{relay.StageRcpt, "550 5.1.1 RCP-P2 https://postmaster.example.net/response_codes#rcp Refused due to recipient preferences", replies.Policy},
		{relay.StageRcpt, "550 5.1.1 <a@example.org>: sender unknown", replies.SenderAuth},
		{relay.StageRcpt, "550 5.1.1 <b@example.net> account is disabled", replies.MailboxDisabled},
		{relay.StageRcpt, "554 5.1.1 user suspended", replies.MailboxDisabled},
		{relay.StageRcpt, "550 5.1.1 the mailbox is over quota", replies.MailboxFull},
		{relay.StageRcpt, "550 Verification failed for <a@example.org> 550-No Such User Here 550 Sender verify failed", replies.SenderAuth},
		{relay.StageRcpt, "542 b@example.net Rejected", replies.Policy},
		{relay.StageRcpt, "550 4.4.7 QUEUE.Expired; message expired", replies.Expired},
		{relay.StageBody, "550 5.7.703 Your message can't be delivered because messages to b@example.net are blocked", replies.Policy},
		{relay.StageRcpt, "550 5.1.1 whatever", replies.BadAddress},
		{relay.StageRcpt, "550 #5.1.0 Address rejected.", replies.BadAddress},
		{relay.StageRcpt, "550 5.1.1 The email account is over its quota", replies.MailboxFull},
		{relay.StageRcpt, "550 5.1.1 Relaying denied", replies.Policy},
		{relay.StageRcpt, "550 5.1.1 Helo command rejected: invalid", replies.SenderAuth},
		{relay.StageRcpt, "550 5.1.1 SPF check failed", replies.SenderAuth},
		{relay.StageRcpt, "550 5.1.1 TLS required", replies.TLS},
		{relay.StageRcpt, "550 5.1.1 Reverse DNS lookup failed", replies.SenderAuth},
		{relay.StageRcpt, "550 5.1.1 Sender shop@home.test does not exist", replies.SenderAuth},
		{relay.StageRcpt, "550 5.1.1 Rejected: you are not allowed to send to this address", replies.Policy},
		{relay.StageRcpt, "550 5.1.1 recipient only accepts mail from internal senders", replies.Policy},
		{relay.StageRcpt, "550 5.1.1 Service unavailable, internal error", replies.ServerTrouble},
		{relay.StageRcpt, "550 5.1.1 RESOLVER.RST.NotAuthorized; not authorized", replies.Policy},
		{relay.StageRcpt, "550 5.1.1 user unknown; local database lookup failed, try later", replies.ServerTrouble},
		{relay.StageRcpt, "550 Verification failed for <a@example.org>: No such user", replies.SenderAuth},
		{relay.StageRcpt, "550 Mailbox unavailable: listed by DNSBL", replies.Spam},
		{relay.StageRcpt, "550 Too many invalid recipients", replies.RateLimited},
		{relay.StageRcpt, "550 5.1.1 Too many invalid recipients", replies.RateLimited},
		{relay.StageRcpt, "550 5.7.1 Too many invalid recipients", replies.RateLimited},
		{relay.StageRcpt, "550 Too many unknown users in this session", replies.RateLimited},
		{relay.StageRcpt, "550 5.1.0 No such user: return path could not be verified", replies.SenderAuth},
		{relay.StageRcpt, "550 <a@example.org> mailbox does not exist, callback failed", replies.Other},
		{relay.StageRcpt, "550 Requested action not taken: mailbox unavailable invalid DNS MX or A/AAAA resource record", replies.SenderAuth},
		{relay.StageRcpt, "550 5.1.1 <spam-sender@example.net>: user unknown", replies.BadAddress},
		{relay.StageRcpt, "550 5.1.1 Empfänger unbekannt", replies.BadAddress},
	} {
		code, text, _ := strings.Cut(c.reply, " ")
		r := relay.Reply{Stage: c.stage, Text: text}
		r.Code, _ = strconv.Atoi(code)
		if word, rest, _ := strings.Cut(text, " "); word != "" {
			if s, ok := relay.ParseStatus(word); ok {
				r.Status, r.Text = s, rest
			}
		}
		if got := replies.Classify(r); got != c.want {
			t.Errorf("%s at %s: %s, want %s", c.reply, c.stage, got, c.want)
		}
	}
}

// A server that did not find the sender does not blame the recipient.
func TestOfSender(t *testing.T) {
	for text, want := range map[string]replies.Category{
		"user a@example.org doesn't exist":                      replies.SenderAuth,
		"<A@Example.org>: no such user":                         replies.SenderAuth,
		"user b@example.net doesn't exist":                      replies.BadAddress,
		"user doesn't exist":                                    replies.BadAddress,
		"<b@example.net>: user unknown (mail of a@example.org)": replies.BadAddress,
		"mailbox of a@example.org is over quota":                replies.MailboxFull,
	} {
		r := replies.OfSender(relay.Reply{Stage: relay.StageRcpt, Code: 550, Text: text}, "a@example.org", "b@example.net")
		if got := replies.Classify(r); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Words that a smart host only repeats say nothing of our account: whoever runs the
// host that it asked could else hold everybody's mail.
func TestQuotedWordsHoldNoRoute(t *testing.T) {
	for _, c := range []struct {
		stage relay.Stage
		text  string
		want  relay.Cause
	}{
		{relay.StageRcpt, "Callout: remote host said: 550 your account has been suspended", ""},
		{relay.StageRcpt, "Relaying denied; the remote host said: 550 5.7.708", ""},
		{relay.StageBody, "content: subject 'outgoing mail from us' rejected", ""},
		{relay.StageRcpt, "your account has been suspended", relay.CauseLogin},
		{relay.StageRcpt, "account locked", ""}, // may be the recipient's
		{relay.StageMail, "account locked", relay.CauseLogin},
		{relay.StageBody, "The from address does not match a verified Sender Identity", relay.CauseSender},
		{relay.StageRcpt, "Relaying denied", relay.CauseLogin},
	} {
		r := relay.Reply{Stage: c.stage, Code: 550, Text: c.text}
		if _, rule := replies.Reread(replies.ProviderOther, r); rule.Cause != c.want {
			t.Errorf("%q: cause %q, want %q", c.text, rule.Cause, c.want)
		}
	}
}

// A server that takes no mail without a sender says so, at whatever step.
func TestWantsSender(t *testing.T) {
	for _, c := range []struct {
		stage relay.Stage
		reply string
		want  bool
	}{
		{relay.StageMail, "501 Invalid MAIL FROM address provided", true},
		{relay.StageMail, "550 not from you", true},
		{relay.StageMail, "451 later", false},
		{relay.StageMail, "552 message size exceeds fixed limit", false},
		{relay.StageMail, "530 Authentication required", false},
		{relay.StageMail, "550 your account has been suspended", false},
		{relay.StageMail, "554 your address is on a blocklist", false},
		{relay.StageRcpt, "550 to send email from a blank sender, enable blank senders", true},
		{relay.StageRcpt, "550 relay access denied", false},
		{relay.StageData, "550 empty envelope sender", true},
		{relay.StageBody, "554 <> is not allowed here", true},
		{relay.StageBody, "554 looks like spam", false},
		{relay.StageRcpt, "550 you must specify a sender", true},
		{relay.StageRcpt, "550 missing return-path", true},
		{relay.StageRcpt, "550 sender is empty", true},
		{relay.StageRcpt, "550 Empty MAIL FROM not allowed", true},
		{relay.StageRcpt, "550 Sender required", true},
		{relay.StageRcpt, "550 bounces are not accepted here", true},
		{relay.StageRcpt, "550 mail from null not allowed", true},
		{relay.StageRcpt, "550 Sender address cannot be empty", true},
		{relay.StageRcpt, "550 empty from address", true},
		{relay.StageRcpt, "550 Bounce messages rejected", true},
		{relay.StageRcpt, "550 Empty envelope from", true},
		{relay.StageRcpt, "550 no sender", true},
		{relay.StageRcpt, "550 Null senders are not accepted", true},
		{relay.StageBody, "554 missing From: header", false},
		{relay.StageBody, "554 we take no mail from 192.0.2.1", false},
		{relay.StageBody, "554 From header missing", false},
		{relay.StageBody, "554 sender domain not found", false},
	} {
		code, text, _ := strings.Cut(c.reply, " ")
		r := relay.Reply{Stage: c.stage, Text: text}
		r.Code, _ = strconv.Atoi(code)
		if got := replies.WantsSender(r); got != c.want {
			t.Errorf("%s at %s: %v", c.reply, c.stage, got)
		}
	}
}

// The number that a server takes is read, guessed, or no matter of the reply.
func TestRecipients(t *testing.T) {
	for _, c := range []struct {
		stage relay.Stage
		text  string
		had   int
		want  int // 0: it minds something else
	}{
		{relay.StageBody, "Transaction failed: Recipient count exceeds 50.", 60, 50},
		{relay.StageBody, "mail.example.net: 60 recipients, and too many recipients are more than 25", 60, 25},
		{relay.StageBody, "too many recipients", 60, 30},
		{relay.StageBody, "too many recipients (error 3)", 60, 30},
		{relay.StageData, "maximum number of recipients exceeded", 2, 1},
		{relay.StageBody, "too many recipients", 1, 0},
		{relay.StageBody, "too many recipients in an hour", 60, 0},
		{relay.StageBody, "5.7.1 too many recipients in one day", 100, 0},
		{relay.StageMail, "too many recipients", 60, 0},
		{relay.StageBody, "no such user 50", 60, 0},
	} {
		most, ok := replies.Recipients(relay.Reply{Code: 554, Stage: c.stage, Text: c.text}, c.had)
		if most != c.want || ok != (c.want > 0) {
			t.Errorf("%s, %d at %s: %d, %v; want %d", c.text, c.had, c.stage, most, ok, c.want)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, r := range readReplies(f) {
		f.Add(r.reply.Code, r.reply.Status.String(), string(r.reply.Stage), r.reply.Text)
	}
	all := replies.Categories()
	f.Fuzz(func(t *testing.T, code int, status, stage, text string) {
		s, _ := relay.ParseStatus(status)
		got := replies.Classify(relay.Reply{Code: code, Status: s, Stage: relay.Stage(stage), Text: text})
		if !slices.Contains(all, got) {
			t.Fatalf("%q is no category", got)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	r := relay.Reply{Code: 550, Text: strings.Repeat("some words that no rule knows ", 8), Stage: relay.StageBody}
	for b.Loop() {
		replies.Classify(r)
	}
}

// What the large receivers refuse most is told with what to do about it.
func TestRemediesOfLargeReceivers(t *testing.T) {
	for _, c := range []struct{ status, text, want string }{
		{"5.7.515", "Access denied, sending domain example.com does not meet the required authentication level.", "SPF, DKIM and DMARC pass"},
		{"5.7.26", "Your email has been blocked because the sender is unauthenticated.", "Neither SPF nor DKIM passes"},
		{"5.7.1", "Not today.", "dawk check looks for the usual reasons"},
	} {
		status, ok := relay.ParseStatus(c.status)
		if !ok {
			t.Fatal(c.status)
		}
		found := replies.Find(relay.Reply{Code: 550, Status: status, Text: c.text, Stage: relay.StageBody, MTA: "mx.example.com"})
		if !strings.Contains(found.Remedy, c.want) {
			t.Errorf("%s %s: %q", c.status, c.text, found.Remedy)
		}
	}
}
