package bounce_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dawk/bounce"
	"dawk/relay"
)

// held composes notices as they are held back.
func held(t interface{ Fatal(...any) }, c bounce.Config, reports ...bounce.Report) (all []bounce.HeldBack) {
	for i, r := range reports {
		r.Brief, r.ID.Key = true, r.ID.Key+uint64(i)
		n, err := bounce.Compose(c, r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bounce.HeldBack{ID: r.ID, Content: n.Content})
	}
	return all
}

func TestGoldenDigest(t *testing.T) {
	all := cases(t)
	c := config(t)
	n, err := bounce.Digest(c, bounce.DigestReport{ID: relay.QueueID{Key: 1772445600000000, Dir: 77}, To: path(t, "alice@example.org"), Limit: 100, Now: now,
		Notices: held(t, c, all["failed"], all["failed_several"], all["expired"], all["language_zh"])})
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/digest.eml"
	if *update {
		if err := os.WriteFile(file, n.Content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(n.Content, want) {
		t.Errorf("differs from %s (go test ./bounce -update writes it anew):\n%s", file, n.Content)
	}
	p, err := parse(n)
	if err != nil || len(p.types) != 2 || len(p.recipients) != 8 {
		t.Fatalf("%v, parts %q, %d recipients", err, p.types, len(p.recipients))
	}
	if p.header.Get("Auto-Submitted") != "auto-replied" || p.header.Get("Subject") != "4 notices about your messages" {
		t.Errorf("%v", p.header)
	}
	if g := p.recipients[0]; g.Get("X-Original-Message-Id") != "<minutes.1@example.org>" || g.Get("X-Arrival-Date") == "" || p.perMessage.Get("X-Dawk-Digest") != "4" {
		t.Errorf("%v\n%v", p.perMessage, g)
	}
	text := strings.Join(strings.Fields(p.text), " ")
	for _, says := range []string{"alice@example.org than 100 notices", "The 4 that were held back", "1. Not delivered: Minutes of the meeting bob@example.com: 550 5.1.1",
		"dan@example.net: 552 5.2.2 mailbox full", "3. Not delivered: Minutes", "4. 未送达：会议记录"} {
		if !strings.Contains(text, says) {
			t.Errorf("it does not say %q:\n%s", says, text)
		}
	}
	m := n.Message
	if !m.From.IsNull() || !m.Notice || m.Recipients[0].Path.String() != "alice@example.org" || !m.NotBefore.IsZero() || m.Size != int64(len(n.Content)) {
		t.Errorf("envelope %+v", m)
	}
}

// Whatever strangers wrote into the notices, the digest names each recipient
// once, in fields that we wrote.
func TestNothingBreaksOutOfADigest(t *testing.T) {
	c := config(t)
	rapid.Check(t, func(t *rapid.T) {
		var reports []bounce.Report
		recipients := 0
		to := hostilePath().Draw(t, "mailbox")
		for range rapid.IntRange(1, 4).Draw(t, "notices") {
			r := hostileReport(t)
			r.Message.From = to
			if r.Kind == bounce.KindDoubleBounce { // the postmaster's
				continue
			}
			reports, recipients = append(reports, r), recipients+len(r.Outcomes)
		}
		if len(reports) == 0 {
			return
		}
		n, err := bounce.Digest(c, bounce.DigestReport{ID: reports[0].ID, To: to, Limit: 1, Now: now, Notices: held(t, c, reports...)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(n)
		if err != nil || len(p.recipients) != recipients {
			t.Fatalf("%v, %d recipients, want %d\n%s", err, len(p.recipients), recipients, n.Content)
		}
	})
}

func TestDigestRefusesWhatItCannotRead(t *testing.T) {
	c := config(t)
	good := held(t, c, report(t))
	for name, change := range map[string]func(*bounce.DigestReport){
		"no ID":        func(r *bounce.DigestReport) { r.ID = relay.QueueID{} },
		"no mailbox":   func(r *bounce.DigestReport) { r.To = relay.Path{} },
		"no notice":    func(r *bounce.DigestReport) { r.Notices = nil },
		"empty notice": func(r *bounce.DigestReport) { r.Notices = append(good, bounce.HeldBack{}) },
		"plain notice": func(r *bounce.DigestReport) {
			r.Notices = append(good, bounce.HeldBack{Content: []byte("Subject: x\r\nContent-Type: text/plain\r\n\r\nx\r\n")})
		},
		"cut notice": func(r *bounce.DigestReport) {
			r.Notices = []bounce.HeldBack{{Content: good[0].Content[:len(good[0].Content)/2]}}
		},
	} {
		r := bounce.DigestReport{ID: relay.QueueID{Key: 1, Dir: 1}, To: path(t, "alice@example.org"), Now: now, Notices: good}
		change(&r)
		if _, err := bounce.Digest(c, r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
