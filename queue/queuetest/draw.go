package queuetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"pgregory.net/rapid"

	"dawk/relay"
)

var domains = []string{"example.org", "example.com", "mail.test"}

func drawMessage(t *rapid.T, id relay.QueueID) (relay.Message, []byte) {
	size := rapid.SampledFrom([]int{0, 1, 300, 999, 1000, 1001, 1600, 5000, 40000}).Draw(t, "size")
	var seed [32]byte
	seed[0] = byte(rapid.IntRange(0, 255).Draw(t, "content"))
	content := make([]byte, size)
	rand.NewChaCha8(seed).Read(content)
	msg := relay.Message{ID: id, Arrival: time.Now().UTC(), Identity: rapid.SampledFrom([]string{"", "app", "printer", "network:192.0.2.0/24", "network:2001:db8::/32"}).Draw(t, "identity")}
	msg.Client = rapid.SampledFrom([]string{"", "192.0.2.7", "2001:db8::1:2"}).Draw(t, "client")
	msg.From = mailbox("sender", "example.org")
	msg.EnvID, msg.Ret = rapid.SampledFrom([]string{"", "QQ314159"}).Draw(t, "envid"), relay.RetHdrs
	msg.SMTPUTF8, msg.Notice = rapid.Bool().Draw(t, "smtputf8"), rapid.Bool().Draw(t, "notice")
	if rapid.Bool().Draw(t, "later") {
		msg.NotBefore = msg.Arrival.Add(time.Hour)
	}
	msg.Hold = rapid.SampledFrom([]string{"", "", "as users.toml says"}).Draw(t, "hold")
	for i := range rapid.IntRange(1, 5).Draw(t, "recipients") {
		r := relay.Recipient{Path: mailbox(fmt.Sprintf("r %d", i), rapid.SampledFrom(domains).Draw(t, "domain")),
			Notify: relay.NotifyFailure}
		if i%2 == 1 {
			r.ORcpt = relay.ORcpt{Type: "rfc822", Addr: "other@example.net"}
		}
		msg.Recipients = append(msg.Recipients, r)
	}
	if rapid.Bool().Draw(t, "back") {
		msg.Begin = drawBeginnings(t, msg)
	}
	msg.Events = drawEvents(t, msg)
	return msg, content
}

// drawBeginnings is for mail that was in a queue before.
func drawBeginnings(t *rapid.T, msg relay.Message) (all []relay.Beginning) {
	for range msg.Recipients {
		b := relay.Beginning{State: relay.State{Attempts: rapid.IntRange(0, 3).Draw(t, "attempts"), HeldFor: time.Hour,
			DelayNoticed: rapid.Bool().Draw(t, "noticed"), Rule: "retry step 1: 1m ±10 %"}}
		if b.Held = rapid.Bool().Draw(t, "held"); b.Held {
			b.HeldAt, b.Rule = msg.Arrival.Add(time.Minute), "held by the administrator"
		}
		b.Route = rapid.SampledFrom([]string{"", "smart"}).Draw(t, "route")
		b.Last = relay.Reply{Code: 450, Text: rapid.SampledFrom([]string{"later", "busy"}).Draw(t, "last")}
		all = append(all, b)
	}
	return all
}

func mailbox(local, domain string) relay.Path {
	p, err := relay.NewPath(local, domain)
	if err != nil {
		panic(err)
	}
	return p
}

// drawSettlement decides something for each open recipient: an end, a reply,
// a new route, or nothing.
func (s *run) drawSettlement(t *rapid.T, d relay.Delivery) relay.Settlement {
	now := time.Now().UTC().Truncate(time.Microsecond)
	st := relay.Settlement{ID: d.ID, Job: d.Job, Next: d.State()}
	st.Next.Due, st.Next.Rule = now.Add(time.Minute), "retry step 1: 1m ±10 %"
	st.Next.DelayNoticed, st.Next.Unknown = rapid.Bool().Draw(t, "noticed"), rapid.Bool().Draw(t, "unknown")
	if st.Next.Held = rapid.Bool().Draw(t, "held"); st.Next.Held {
		st.Next.HeldAt, st.Next.HeldFor = now, time.Hour
	}
	split := map[string][]int{}
	for _, o := range d.Open {
		reply := relay.Reply{Code: 451, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Text: "later", Stage: relay.StageRcpt, MTA: "mx.example.com"}
		switch rapid.SampledFrom([]string{"relayed", "relayed", "failed", "delayed", "split", "nothing"}).Draw(t, "outcome") {
		case "relayed":
			st.Outcomes = append(st.Outcomes, relay.Outcome{Recipient: o.Recipient, Action: relay.ActionRelayed, Reply: relay.Reply{Code: 250}})
		case "failed":
			st.Outcomes = append(st.Outcomes, relay.Outcome{Recipient: o.Recipient, Action: relay.ActionFailed, Reply: relay.Reply{Code: 550}})
		case "delayed":
			st.Outcomes = append(st.Outcomes, relay.Outcome{Recipient: o.Recipient, Action: relay.ActionDelayed, Reply: reply})
		case "split":
			to := rapid.SampledFrom([]string{"route:a", "route:b"}).Draw(t, "to")
			split[to] = append(split[to], o.Recipient)
		}
	}
	for _, to := range []string{"route:a", "route:b"} {
		if len(split[to]) > 0 {
			p := relay.Split{Destination: to, Recipients: split[to]}
			if rapid.Bool().Draw(t, "state of its own") {
				p.Next = &relay.State{Due: now, Attempts: st.Next.Attempts, Rule: "sent elsewhere", Route: "b"}
			}
			st.Split = append(st.Split, p)
		}
	}
	if rapid.Bool().Draw(t, "attempt") {
		st.Next.Attempts++
		st.Attempt = &relay.Attempt{N: st.Next.Attempts, At: now, Took: relay.Millis(time.Second), Route: "mx", Host: "mx.example.com",
			TLS: "TLS1.3", Visits: drawVisits(t), Outcomes: slices.Clone(st.Outcomes), Next: st.Next.Due, Rule: st.Next.Rule}
	}
	for range rapid.IntRange(0, 1).Draw(t, "notices") {
		msg, content := drawMessage(t, s.store.NextID())
		st.Notices = append(st.Notices, relay.Notice{Message: msg, Content: content})
	}
	for range rapid.IntRange(0, 2).Draw(t, "rows") {
		st.Rows = append(st.Rows, relay.DigestRow{ID: s.store.NextID(), Data: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "row")})
	}
	st.Listed, st.Events = s.drawListed(t), drawEvents(t, s.model.Item(d.ID).Message)
	return st
}

// drawListed are some of the rows, and one that is gone.
func (s *run) drawListed(t *rapid.T) (ids []relay.QueueID) {
	for _, r := range s.model.Rows() {
		if rapid.Bool().Draw(t, "listed") {
			ids = append(ids, r.ID)
		}
	}
	return append(ids, s.store.NextID())
}

func drawVisits(t *rapid.T) (all []relay.Visit) {
	for i := range rapid.SampledFrom([]int{0, 0, 2, relay.MaxVisits}).Draw(t, "visits") {
		all = append(all, relay.Visit{Host: fmt.Sprintf("mx%d.example.com", i), Addr: "192.0.2.25", TLS: "TLS1.2", TLSLevel: relay.TLSVerified, TLSPolicy: "dane",
			Reply: relay.Reply{Code: 421, Status: relay.Status{Class: 4, Subject: 3, Detail: 2}, Text: "busy", Stage: relay.StageGreeting, MTA: "mx.example.com"}})
	}
	return all
}
