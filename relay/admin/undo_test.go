package admin_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/admin/acts"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/bundle"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/past"
)

// The relay is killed in the middle of an act that deletes: what the list says went, what it
// lost went too, one is still in the queue, and one was delivered before its turn. After the
// next start the audit log knows the act, its number is not given again, and undo brings
// back what has gone, and nothing else.
func TestUndoOfAnActThatWasCut(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, filepath.Join(dir, "queue"))
	defer q.Close()
	back, err := kept.Open(filepath.Join(dir, "acts"), "relay.example.org")
	if err != nil {
		t.Fatal(err)
	}
	history := past.NewHistory(10, nil)
	cut, err := back.Begin("1", "alice", "delete", "to=@one.test", true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var ids []relay.QueueID
	for n := range 4 {
		id := enqueue(t, q, fmt.Sprintf("Subject: %d\r\n\r\nhello\r\n", n), fmt.Sprintf("r%d@one.test", n))
		ids = append(ids, id)
		item, err := q.Item(id)
		if err != nil {
			t.Fatal(err)
		}
		content, err := q.Content(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(cut.Add(bundle.Of(item), content), content.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := cut.Sync(); err != nil {
		t.Fatal(err)
	}
	end := func(n int, kind relay.EventKind, action relay.Action) {
		t.Helper()
		done := make(chan error, 1)
		q.Settle(relay.Settlement{ID: ids[n], Outcomes: []relay.Outcome{{Action: action}}}, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if kind != "" {
			history.Observe(relay.Event{Kind: kind, ID: ids[n], Recipient: path(t, fmt.Sprintf("r%d@one.test", n)), Time: time.Now()})
		}
	}
	end(0, relay.EventDeleted, relay.ActionDeleted)
	end(1, "", relay.ActionDeleted) // the history lost it, too
	end(2, relay.EventRelayed, relay.ActionRelayed)
	// Nothing of cut is closed: it was killed.

	who, err := audit.Open(filepath.Join(dir, "audit"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // two starts record it once
		if err := acts.Recover(back, who); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := who.Read(audit.Query{}); err != nil || len(all) != 1 || all[0].Who != "alice" || all[0].Verb != "delete" || all[0].Act != "1" {
		t.Errorf("recorded is %+v %v", all, err)
	}
	c := serve(t, admin.Config{Queue: q, Dispatcher: newStore(), History: history, Audit: who, Kept: back})
	_, body := act(t, c, admin.ActRequest{Verb: "undo", Act: "1"})
	_, sum := decodeLines(t, body)
	if sum == nil || sum.Deliveries != 2 || sum.Failed != 0 || !strings.Contains(body, ids[0].String()) || !strings.Contains(body, ids[1].String()) {
		t.Fatalf("%s", body)
	}
	var left int
	for item, err := range q.Items(t.Context(), relay.QueueID{}) {
		if err != nil {
			t.Fatal(err)
		}
		content, err := q.Content(item.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
		content.Close()
		if err != nil || !strings.Contains(string(got), "hello") {
			t.Errorf("%q %v", got, err)
		}
		left++
	}
	if left != 3 {
		t.Errorf("%d messages are in the queue, want 3", left)
	}
	if n := who.Next(); n == "1" {
		t.Error("the number of the act is given again")
	}
}

// An act on what is being attempted is done when the attempt ends. An undo before that
// neither forgets the act nor passes over what it is to be done to.
func TestUndoOfAnActThatIsPending(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, filepath.Join(dir, "queue"))
	defer q.Close()
	back, err := kept.Open(filepath.Join(dir, "acts"), "relay.example.org")
	if err != nil {
		t.Fatal(err)
	}
	who, err := audit.Open(filepath.Join(dir, "audit"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	history, dispatcher := past.NewHistory(10, nil), newStore()
	id := enqueue(t, q, "Subject: one\r\n\r\nhello\r\n", "r@one.test")
	c := serve(t, admin.Config{Queue: q, Dispatcher: dispatcher, History: history, Audit: who, Kept: back})
	begin := func(verb relay.Verb, route string) {
		t.Helper()
		dispatcher.fail = map[relay.QueueID]error{id: relay.ErrPending}
		dispatcher.where = []relay.Where{{Activity: relay.Activity{State: relay.StateActive}}}
		if _, body := act(t, c, admin.ActRequest{Verb: verb, Filter: "to=@one.test", Route: route}); !strings.Contains(body, `"pending":1`) {
			t.Fatalf("%s: %s", verb, body)
		}
	}
	for _, verb := range []relay.Verb{relay.VerbHold, relay.VerbReroute} { // what is opposite comes behind it
		begin(verb, map[relay.Verb]string{relay.VerbReroute: relay.RouteMX}[verb])
		_, body := act(t, c, admin.ActRequest{Verb: "undo"})
		if _, sum := decodeLines(t, body); sum == nil || sum.Deliveries != 1 || sum.Pending != 1 {
			t.Errorf("undo of %s: %s", verb, body)
		}
	}

	begin(relay.VerbDelete, "")
	_, body := act(t, c, admin.ActRequest{Verb: "undo"})
	if _, sum := decodeLines(t, body); sum == nil || sum.Failed != 1 || !strings.Contains(body, "it is being attempted") {
		t.Errorf("undo of delete, too early: %s", body)
	}
	done := make(chan error, 1)
	q.Settle(relay.Settlement{ID: id, Outcomes: []relay.Outcome{{Action: relay.ActionDeleted}}}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	history.Observe(relay.Event{Kind: relay.EventDeleted, ID: id, Recipient: path(t, "r@one.test"), Time: time.Now()})
	dispatcher.fail, dispatcher.where = nil, nil
	_, body = act(t, c, admin.ActRequest{Verb: "undo"})
	if _, sum := decodeLines(t, body); sum == nil || sum.Deliveries != 1 || sum.Failed != 0 {
		t.Errorf("undo of delete: %s", body)
	}
}

// What was deleted comes back as it was: on hold or not, with its route, its attempts, what was
// said of it last, and the time for which it was held.
func TestUndoBringsBackWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, filepath.Join(dir, "queue"))
	defer q.Close()
	back, err := kept.Open(filepath.Join(dir, "acts"), "relay.example.org")
	if err != nil {
		t.Fatal(err)
	}
	who, err := audit.Open(filepath.Join(dir, "audit"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	draft, err := q.NewDraft()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(draft, "Subject: one\r\n\r\nhello\r\n"); err != nil {
		t.Fatal(err)
	}
	busy := relay.Reply{Code: 450, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Text: "busy", Stage: relay.StageRcpt, MTA: "mx.one.test"}
	m := &relay.Message{ID: draft.ID(), Arrival: at, Identity: "app", Envelope: relay.Envelope{From: path(t, "a@example.org")}}
	for i, state := range []relay.State{
		{Attempts: 3, Held: true, HeldAt: at.Add(time.Hour), HeldFor: time.Minute, DelayNoticed: true, Rule: "held by the administrator", Route: "spare"},
		{Attempts: 2, HeldFor: time.Minute, Unknown: true, Rule: "retry step 2", Route: relay.RouteMX},
	} {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: path(t, fmt.Sprintf("r%d@one.test", i)), Notify: relay.NotifyFailure})
		m.Begin = append(m.Begin, relay.Beginning{State: state, Last: busy})
	}
	if err := q.Enqueue(t.Context(), draft, m); err != nil {
		t.Fatal(err)
	}
	was, err := q.Item(m.ID)
	if err != nil || len(was.Deliveries) != 2 {
		t.Fatal(was, err)
	}
	c := serve(t, admin.Config{Queue: q, Dispatcher: deleting{newStore(), q}, History: past.NewHistory(10, nil), Audit: who, Kept: back})
	for _, req := range []admin.ActRequest{{Verb: relay.VerbDelete, Filter: "to=@one.test"}, {Verb: "undo"}} {
		if _, body := act(t, c, req); strings.Contains(body, `"failed"`) {
			t.Fatal(body)
		}
	}
	var now *relay.Item
	for now = range q.Items(t.Context(), relay.QueueID{}) {
	}
	if now == nil || now.Message.ID == m.ID {
		t.Fatalf("%+v", now)
	}
	if was := was.Deliveries[1].HeldFor; now.Deliveries[1].HeldFor < was {
		t.Errorf("held for %s, was %s", now.Deliveries[1].HeldFor, was)
	}
	now.Deliveries[1].HeldFor = was.Deliveries[1].HeldFor
	for _, item := range []*relay.Item{was, now} {
		item.Message.ID = relay.QueueID{}
		for i := range item.Deliveries {
			item.Deliveries[i].ID, item.Deliveries[i].Activity = relay.QueueID{}, relay.Activity{}
		}
	}
	if diff := cmp.Diff(was.Deliveries, now.Deliveries) + cmp.Diff(was.Message, now.Message, cmp.AllowUnexported(relay.Path{})); diff != "" {
		t.Error(diff)
	}
}
