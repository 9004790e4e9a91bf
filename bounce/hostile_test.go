package bounce_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"dawk/bounce"
	"dawk/relay"
)

// What strangers try: to end a line, a header, a part, a field, an encoded
// word; to look like another field; to be endless or no UTF-8.
var tricks = []string{"\r\n", "\n", "\r", "\x00", "\r\n\r\n", "\r\n.\r\n", "\u2028", "\u0085", "\u202e", "\xff\xfe", "\x1b[31m", " ", "  ", "\t",
	"Bcc: x@example.com", "Action: delivered", "Final-Recipient: rfc822; x@example.com", "Status: 2.0.0", "--=_dawk_", "--=_dawk_000_0--",
	"Content-Type: text/html", "<script>", "=?utf-8?q?=0D=0AX:?=", "=?", "?=", "=0D=0A", ";", ":", "\"", "\\", "<", ">", "@", "\\x{A}",
	"ü", "会议", "আলিস", "\U0001F4A9", "From ", "a", "no such user", strings.Repeat("x", 300), strings.Repeat("long ", 40), strings.Repeat("é", 700)}

func hostile() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for range rapid.IntRange(0, 12).Draw(t, "pieces") {
			b.WriteString(rapid.OneOf(rapid.SampledFrom(tricks), rapid.String()).Draw(t, "piece"))
		}
		return b.String()
	})
}

// hostilePath is any mailbox that package relay lets through.
func hostilePath() *rapid.Generator[relay.Path] {
	return rapid.Custom(func(t *rapid.T) relay.Path {
		local := []rune(relay.Sanitize(hostile().Draw(t, "local")))
		domain := rapid.SampledFrom([]string{"example.com", "例子.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"}).Draw(t, "domain")
		p, err := relay.NewPath(string(local[:min(len(local), rapid.IntRange(1, 20).Draw(t, "length"))]), domain)
		if err != nil {
			p, _ = relay.NewPath("bob", domain)
		}
		return p
	})
}

func hostileReport(t *rapid.T) bounce.Report {
	r := bounce.Report{
		Kind: rapid.SampledFrom(bounce.Kinds()).Draw(t, "kind"),
		ID:   relay.QueueID{Key: 1772442007000000, Dir: 77},
		Message: &relay.Message{ID: relay.QueueID{Key: 1772442000000000, Dir: 77}, Arrival: arrival, MessageID: hostile().Draw(t, "message-id"),
			Envelope: relay.Envelope{From: hostilePath().Draw(t, "from"), EnvID: hostile().Draw(t, "envid"),
				Ret: rapid.SampledFrom([]relay.Ret{"", relay.RetFull, relay.RetHdrs}).Draw(t, "ret")}},
		Attempted: attempted(now), Until: now, Now: now,
	}
	actions := map[bounce.Kind]relay.Action{bounce.KindFailed: relay.ActionFailed, bounce.KindDelayed: relay.ActionDelayed,
		bounce.KindRelayed: relay.ActionRelayed, bounce.KindLate: relay.ActionRelayed, bounce.KindDoubleBounce: relay.ActionExpired}
	for i := range rapid.IntRange(1, 5).Draw(t, "recipients") {
		r.Message.Recipients = append(r.Message.Recipients, relay.Recipient{Path: hostilePath().Draw(t, "to"),
			ORcpt: relay.ORcpt{Type: rapid.OneOf(rapid.SampledFrom([]string{"rfc822", "utf-8", ""}), hostile()).Draw(t, "orcpt type"), Addr: hostile().Draw(t, "orcpt")}})
		// Not sanitized: what package mx promises is not relied upon here.
		r.Outcomes = append(r.Outcomes, relay.Outcome{Recipient: i, Action: actions[r.Kind], Reply: relay.Reply{
			Code: rapid.SampledFrom([]int{0, 250, 421, 550, 554}).Draw(t, "code"), Text: hostile().Draw(t, "text"), Stage: relay.StageRcpt,
			MTA: hostile().Draw(t, "mta"), Addr: rapid.OneOf(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.1:25", "[2001:db8::1]:25"}), hostile()).Draw(t, "addr")}})
	}
	if rapid.Bool().Draw(t, "content") {
		subject := strings.NewReplacer("\r", "", "\n", "").Replace(hostile().Draw(t, "subject"))
		language := rapid.SampledFrom(append(bounce.Shipped().Tags(), "de-CH", "xx", "")).Draw(t, "language")
		r.Content = contentOf("Subject: " + subject + "\r\nContent-Language: " + language + "\r\n" + hostile().Draw(t, "header") + "\r\n\r\n" + hostile().Draw(t, "body") + "\r\n")
	}
	return r
}

// Whatever strangers write, a notice has the parts, groups and fields that we
// gave it, and none of theirs (parse refuses others, and doubles).
func TestNothingBreaksOut(t *testing.T) {
	c := config(t)
	rapid.Check(t, func(t *rapid.T) {
		r := hostileReport(t)
		n, err := bounce.Compose(c, r)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(n)
		if err != nil {
			t.Fatalf("%v\n%s", err, n.Content)
		}
		if len(p.recipients) != len(r.Outcomes) || r.Content == nil && len(p.types) != 2 {
			t.Fatalf("%d groups for %d recipients, parts %q\n%s", len(p.recipients), len(r.Outcomes), p.types, n.Content)
		}
		for i, h := range p.recipients {
			path := r.Message.Recipients[i].Path
			if path.ASCII() && h.Get("Final-Recipient") != "rfc822; "+path.String() {
				t.Fatalf("Final-Recipient %q of %q", h.Get("Final-Recipient"), path)
			}
			if got, want := h.Get("Diagnostic-Code"), r.Outcomes[i].Reply; !keepsWords(got, want.Text, p.types[1] == "message/global-delivery-status") {
				t.Fatalf("Diagnostic-Code %q of %q", got, want.Text)
			}
		}
		for _, r := range p.text {
			if unicode.IsControl(r) && r != '\r' && r != '\n' || r >= 0x202a && r <= 0x202e {
				t.Fatalf("%q in the text\n%q", r, p.text)
			}
		}
	})
}

// keepsWords: every word of the text, in order, stands in the field.
func keepsWords(field, text string, utf8 bool) bool {
	if !utf8 || len(text) > 800 {
		return true // escaped, or cut: the golden files show both
	}
	text = strings.Map(func(r rune) rune {
		if r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0xfeff {
			return -1
		}
		return r
	}, relay.Sanitize(text))
	return strings.HasSuffix(field, strings.Join(strings.Fields(text), " "))
}

func FuzzCompose(f *testing.F) {
	f.Add("550 no", "alice@example.org", "bob@example.com", "env", "<id@example.org>", []byte(original))
	f.Add("x\r\n\r\n--=_dawk_", "আলিস@example.org", "\"a b\"@例子.example", "\r\nAction: delivered", "<a\r\nb@c>", []byte("Subject: \xff\r\n Action: x\r\n\r\n\x80"))
	c := config(f)
	f.Fuzz(func(t *testing.T, text, from, to, envID, messageID string, original []byte) {
		sender, err := relay.ParsePath(from)
		recipient, err2 := relay.ParsePath(to)
		if err != nil || err2 != nil || sender.IsNull() || recipient.IsNull() {
			t.Skip()
		}
		r := report(t)
		r.Message.From, r.Message.EnvID, r.Message.MessageID = sender, envID, messageID
		r.Message.Recipients[0] = relay.Recipient{Path: recipient, ORcpt: relay.ORcpt{Type: "rfc822", Addr: to}}
		r.Outcomes[0].Reply.Text, r.Outcomes[0].Reply.MTA = text, text
		r.Content = content{bytes.NewReader(original)}
		n, err := bounce.Compose(c, r)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := parse(n); err != nil || len(p.recipients) != 1 {
			t.Fatalf("%v\n%s", err, n.Content)
		}
	})
}
