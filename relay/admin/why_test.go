package admin_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/admin/past"
)

func whyOf(t *testing.T, c admin.Config, id relay.QueueID) (int, admin.Why, string) {
	t.Helper()
	status, body := get(t, serve(t, c), "/v1/queue/"+id.String()+"/why", nil)
	var y admin.Why
	if status == 200 {
		if err := json.Unmarshal([]byte(body), &y); err != nil {
			t.Fatal(err)
		}
	}
	return status, y, body
}

func TestWhyExplainsWhatWaits(t *testing.T) {
	s := newStore()
	i := s.put(t, 1, 3*time.Hour, "done@one.test", "ann@one.test", "bob@two.test", "eve@one.test")
	greylisted := relay.Reply{Code: 450, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Text: "Greylisted, come back later", Stage: relay.StageRcpt, MTA: "mx.one.test"}
	d := &i.Deliveries[0]
	d.Open = []relay.Open{{Recipient: 1, Last: greylisted}}
	d.Rule = "retry step 2 of 6: 5m ±10 %"
	i.Deliveries[1].Held, i.Deliveries[1].HeldAt = true, time.Now().Add(-time.Hour)
	i.Attempts = map[uint16][]relay.Attempt{0: {{N: 1, At: i.Message.Arrival, Took: relay.Millis(time.Second), Route: "mx", Host: "mx.one.test", Addr: "192.0.2.1", TLS: "TLS1.3 verified", Outcomes: []relay.Outcome{
		{Recipient: 0, Action: relay.ActionRelayed, Reply: relay.Reply{Code: 250, Stage: relay.StageBody, MTA: "mx.one.test", Addr: "192.0.2.1"}},
		{Recipient: 3, Action: relay.ActionRelayed, Reply: relay.Reply{Code: 250, Stage: relay.StageBody, MTA: "old.one.test", Addr: "192.0.2.2"}},
		{Recipient: 1, Action: relay.ActionDelayed, Reply: greylisted}}}}}
	c := admin.Config{Queue: s, Dispatcher: s, MaxAge: func() time.Duration { return 5 * 24 * time.Hour }, History: past.NewHistory(0, nil),
		Route: func(_ *relay.Message, p relay.Path) string {
			if p.Domain() == "two.test" {
				return "route:office"
			}
			return p.Domain()
		}}
	s.said = []relay.Transcript{{Job: 1, Attempt: 2, Lines: []relay.Spoken{{By: relay.SpokenByHost, Text: "450 4.7.1 later"}}}}
	_, y, body := whyOf(t, c, i.Message.ID)
	if len(y.Transcripts) != 1 || y.Transcripts[0].Lines[0] != s.said[0].Lines[0] {
		t.Errorf("transcripts: %s", body)
	}
	if y.State != "queued" || len(y.Waiting) != 2 {
		t.Fatal(body)
	}
	one, two := y.Waiting[0], y.Waiting[1]
	if one.Route != "mx" || one.State != relay.StateDeferred || !one.Next.Equal(d.Due) || one.Rule != d.Rule || len(one.Attempts) != 1 ||
		one.Open[0].Last.Text != greylisted.Text || !one.Expires.Equal(i.Message.Arrival.Add(c.MaxAge())) {
		t.Errorf("%+v", one)
	}
	if len(one.Advice) != 1 || !strings.Contains(one.Advice[0], "greylists") {
		t.Errorf("advice: %q", one.Advice)
	}
	if two.Route != "office" || two.State != relay.StateHeld || !two.Next.IsZero() || !two.Expires.IsZero() || !strings.Contains(two.Advice[0], "dawk queue release "+i.Message.ID.String()) {
		t.Errorf("%+v", two)
	}
	// Known from the store alone: the memory is that of a relay just started.
	if len(y.Ended) != 2 || y.Ended[0].Recipient.String() != "done@one.test" || y.Ended[0].Action != relay.ActionRelayed || y.Ended[0].Host != "mx.one.test" ||
		y.Ended[0].TLS != "TLS1.3 verified" {
		t.Errorf("ended: %+v", y.Ended)
	} else if e := y.Ended[1]; e.Host != "old.one.test" || e.Addr != "192.0.2.2" || e.TLS != "" { // who spoke last is not who took it
		t.Errorf("taken by another host: %+v", e)
	}
}

func TestWhyKnowsTheSchedule(t *testing.T) {
	s := newStore()
	i := s.put(t, 1, time.Hour, "a@one.test")
	c := admin.Config{Queue: s, Dispatcher: s}
	i.Deliveries[0].Attempts = 0
	now := time.Now()
	suspended := &relay.ProviderLoad{Name: "one", State: relay.LoadSuspended, Since: now.Add(-time.Hour), Until: now.Add(time.Minute),
		Failure: relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "connection refused")}
	for _, x := range []struct {
		where relay.Where
		turn  relay.Turn
		want  []string
	}{
		{relay.Where{Activity: relay.Activity{State: relay.StateActive}}, relay.Turn{}, []string{"at this moment"}},
		{relay.Where{Activity: relay.Activity{State: relay.StateActive, Host: "mx.one.test", Stage: relay.StageRcpt, Since: now.Add(-time.Minute)}}, relay.Turn{},
			[]string{"with mx.one.test", `"rcpt"`, "(1m0s)", "retry --now cuts the attempt"}},
		{relay.Where{Activity: relay.Activity{State: relay.StateActive, Host: "mx.one.test", Stage: relay.StageBody, Since: now.Add(-time.Minute)}}, relay.Turn{},
			[]string{`"body"`, "Once the final dot is on its way the attempt cannot be cut"}},
		{relay.Where{Activity: relay.Activity{State: relay.StateReady}}, relay.Turn{Place: 12, Of: 30}, []string{"number 12 of the 30"}},
		{relay.Where{Activity: relay.Activity{State: relay.StateReady}, Load: &relay.ProviderLoad{Name: "one", State: relay.LoadRate, Until: now.Add(9 * time.Second), Ready: 30}},
			relay.Turn{Place: 12, Of: 30, At: now.Add(90 * time.Second)}, []string{"number 12 of the 30", "at the earliest", "rate, the next message in 9s"}},
		{relay.Where{Activity: relay.Activity{State: relay.StateReady}}, relay.Turn{}, []string{"a connection is free"}},
		{relay.Where{Activity: relay.Activity{State: relay.StateDeferred}}, relay.Turn{}, []string{"not been tried yet"}},
		// Also of mail that was never tried.
		{relay.Where{Activity: relay.Activity{State: relay.StateSuspended}, Load: suspended}, relay.Turn{},
			[]string{"left alone", "let nobody in since " + suspended.Since.UTC().Format("15:04:05 UTC"), "asks again in 1m0s", "last: 4.4.1 connection refused"}},
	} {
		s.where, s.turn = []relay.Where{x.where}, x.turn
		_, y, body := whyOf(t, c, i.Message.ID)
		for _, want := range x.want {
			if y.Waiting[0].State != x.where.State || !strings.Contains(strings.Join(y.Waiting[0].Advice, " "), want) {
				t.Errorf("%+v: without %q: %s", x.where, want, body)
			}
		}
	}
}

// A held route's mail says who holds it, in whose words, and what to do: fields each.
func TestWhyOfAHeldRoute(t *testing.T) {
	s := newStore()
	i := s.put(t, 1, time.Hour, "a@one.test")
	s.where = []relay.Where{{Activity: relay.Activity{State: relay.StateDeferred}}}
	refused := relay.Reply{Code: 535, Stage: relay.StageAuth, Text: "no such user", Remedy: "mend the password"}
	c := admin.Config{Queue: s, Dispatcher: s, Route: func(*relay.Message, relay.Path) string { return "route:office" },
		HeldRoutes: func() []admin.HeldRoute {
			return []admin.HeldRoute{{Route: "office", Since: time.Now().Add(-time.Hour), Reply: refused}}
		}}
	_, y, body := whyOf(t, c, i.Message.ID)
	w := y.Waiting[0]
	if w.RouteHeldBy != refused || w.Provider == nil || w.Provider.State != relay.LoadHeld || w.Provider.Failure != refused {
		t.Error(body)
	}
	if strings.Contains(w.Provider.Said, "mend") || !strings.Contains(w.Provider.Said, "no such user") || !slices.Contains(w.Advice, "mend the password") {
		t.Error(body)
	}
	var got admin.Providers
	if _, body := get(t, serve(t, c), "/v1/providers", nil); json.Unmarshal([]byte(body), &got) != nil || len(got.Providers) != 1 ||
		got.Providers[0].State != relay.LoadHeld || got.Providers[0].Name != "route:office" {
		t.Error(body)
	}
}

// Each kind of trouble gets its own advice.
func TestAdvice(t *testing.T) {
	status := func(c, s, d int) relay.Status { return relay.Status{Class: c, Subject: s, Detail: d} }
	for _, x := range []struct {
		reply relay.Reply
		route string
		want  string
	}{
		{relay.Reply{Status: status(4, 4, 3), Stage: relay.StageDNS, Text: "SERVFAIL"}, "", "DNS gave no usable answer"},
		{relay.Reply{Status: status(4, 4, 1), Stage: relay.StageConnect}, "", "port 25"},
		{relay.Reply{Status: status(4, 4, 1), Stage: relay.StageConnect}, "office", `smart host of route "office"`},
		{relay.Reply{Status: status(4, 7, 5), Stage: relay.StageTLS}, "", "TLS with the server failed"},
		{relay.Reply{Code: 535, Stage: relay.StageAuth}, "office", "password_file"},
		{relay.Reply{Status: status(4, 4, 2), Stage: relay.StageBody}, "", "The connection broke"},
		{relay.Reply{Code: 452, Status: status(4, 2, 2), Stage: relay.StageRcpt}, "", "mailbox is full"},
		{relay.Reply{Code: 451, Text: "listed by Spamhaus", Stage: relay.StageRcpt}, "", "block list"},
		{relay.Reply{Code: 421, Text: "Too many messages", Stage: relay.StageMail}, "", "limits how much"},
		{relay.Reply{Code: 450, Text: "no PTR record", Stage: relay.StageMail}, "", "reverse DNS"},
		{relay.Reply{Code: 421, Text: "fails SPF", Stage: relay.StageBody}, "", "SPF, DKIM or DMARC"},
		{relay.Reply{Code: 452, Status: status(4, 3, 1), Stage: relay.StageMail}, "", "short of something"},
		{relay.Reply{Code: 421, Stage: relay.StageMail}, "", "closed the connection"},
		{relay.Reply{Code: 554, Stage: relay.StageGreeting}, "", "not this message"},
		{relay.Reply{Code: 451, Text: "marbles", Stage: relay.StageMail}, "", "all there is to know"},
	} {
		s := newStore()
		i := s.put(t, 1, time.Hour, "a@one.test")
		i.Deliveries[0].Open[0].Last = x.reply
		c := admin.Config{Queue: s, Dispatcher: s, Route: func(*relay.Message, relay.Path) string {
			if x.route != "" {
				return "route:" + x.route
			}
			return "one.test"
		}}
		_, y, _ := whyOf(t, c, i.Message.ID)
		if got := strings.Join(y.Waiting[0].Advice, " "); !strings.Contains(got, x.want) {
			t.Errorf("%v: %q", x.reply, got)
		}
	}
}

func TestWhyRemembersWhatIsFinished(t *testing.T) {
	s, h := newStore(), past.NewHistory(3, nil)
	now := time.Now().Round(0)
	id := func(n uint64) relay.QueueID { return relay.QueueID{Key: 1_700_000_000_000_000 + n, Dir: 7} }
	to := path(t, "ann@one.test")
	ended := func(n uint64, kind relay.EventKind) relay.Event {
		return relay.Event{Kind: kind, ID: id(n), Time: now, Age: time.Hour, From: path(t, "x@example.org"), Recipient: to,
			Attempt: 2, Host: "mx.one.test", Reply: relay.Reply{Code: 250, Text: strings.Repeat("ok", 500)}}
	}
	c := admin.Config{Queue: s, Dispatcher: s, History: h}

	h.Observe(relay.Event{Kind: relay.EventAccepted, ID: id(1)})
	h.Observe(relay.Event{Kind: relay.EventDelayed, ID: id(1), Recipient: to})
	if status, _, body := whyOf(t, c, id(1)); status != 404 || !strings.Contains(body, "qid="+id(1).String()) {
		t.Errorf("nothing has ended yet: %d %s", status, body)
	}

	h.Observe(ended(1, relay.EventFailed))
	h.Observe(relay.Event{Kind: relay.EventNotified, ID: id(1), NoticeID: id(9), NoticeKind: "failed", Time: now})
	_, y, body := whyOf(t, c, id(1))
	if y.State != "finished" || len(y.Ended) != 1 || y.Ended[0].Action != relay.ActionFailed || y.Ended[0].Attempt != 2 ||
		!y.Arrival.Equal(now.Add(-time.Hour)) || len(y.Notices) != 1 || y.Notices[0].ID != id(9) {
		t.Error(body)
	}
	if n := len(y.Ended[0].Reply.Text); n > 300 {
		t.Errorf("a reply of %d octets is kept", n)
	}

	// The oldest is forgotten; one message never takes more than one place.
	for range 200 {
		h.Observe(ended(2, relay.EventRelayed))
	}
	h.Observe(ended(3, relay.EventRelayed))
	if p, ok := h.Get(id(1)); !ok || len(p.Ended) != 1 {
		t.Error("the first was forgotten too early")
	}
	if p, _ := h.Get(id(2)); len(p.Ended) != 50 || p.MoreEnded != 150 {
		t.Errorf("%d and %d", len(p.Ended), p.MoreEnded)
	}
	h.Observe(ended(4, relay.EventRelayed))
	if _, ok := h.Get(id(1)); ok {
		t.Error("more is remembered than was asked for")
	}
}

func TestHistoryIsSafeForMany(t *testing.T) {
	h := past.NewHistory(10, nil)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 500 {
				id := relay.QueueID{Key: uint64(1 + (g+n)%20), Dir: 1}
				h.Observe(relay.Event{Kind: relay.EventRelayed, ID: id, Reply: relay.Reply{Text: fmt.Sprint(n)}})
				h.Get(id)
			}
		})
	}
	wg.Wait()
}

// What happened to a message is one timeline, whatever list of the answer it stands in.
func TestTimeline(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	y := admin.Why{Delayed: []past.Ended{{At: at(2), Action: relay.ActionDelayed}}, Ended: []past.Ended{{At: at(5), Action: relay.ActionFailed}},
		Events: []past.Ended{{At: at(1), Action: "held"}, {At: at(3), Action: "released"}, {At: at(7), Action: "bounced"}}, Notices: []past.Notice{{At: at(4), Kind: "delayed"}, {At: at(6), Kind: "failed"}}}
	got := ""
	for _, h := range y.Timeline() {
		if h.Notice != nil {
			got += "notice:" + h.Notice.Kind + " "
			continue
		}
		got += string(h.Action) + " "
	}
	if got != "held delayed released notice:delayed failed notice:failed bounced " {
		t.Error(got)
	}
}
