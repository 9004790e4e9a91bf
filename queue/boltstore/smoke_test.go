package boltstore_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"dawk/queue/boltstore"
	"dawk/relay"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	open := func() *boltstore.Store {
		q, err := boltstore.Open(boltstore.Options{Dir: dir, InlineLimit: 1000, MinFree: 1})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := open()
	var told []relay.Entry
	q.Watch(func(e []relay.Entry) { told = append(told, e...) })
	var ids []relay.QueueID
	for _, n := range []int{10, 5000} {
		d, err := q.NewDraft()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(d, strings.Repeat("x", n))
		d.Prepend([]byte("Received: x\r\n"))
		p, _ := relay.ParsePath("a@example.org")
		p2, _ := relay.ParsePath("b@example.com")
		m := &relay.Message{ID: d.ID(), Arrival: time.Now(), Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: p}, {Path: p2}}}}
		if err := q.Enqueue(context.Background(), d, m); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, d.ID())
	}
	for i := range 2 {
		for _, id := range ids {
			for job := range uint16(2) {
				c, err := q.Claim(id, job)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(io.NewSectionReader(c.Content, 0, c.Content.Size()))
				if err != nil || !strings.HasPrefix(string(b), "Received: x\r\nxxxx") {
					t.Fatal(err, string(b))
				}
				c.Content.Close()
			}
		}
		if i == 0 {
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			q = open()
		}
	}
	n := 0
	for e, err := range q.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		n++
		done := make(chan error)
		q.Settle(relay.Settlement{ID: e.ID, Job: e.Job, Outcomes: []relay.Outcome{{Recipient: int(e.Job), Action: relay.ActionRelayed}}}, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n != 4 || q.Stats().Messages != 0 || q.Stats().Deliveries != 0 {
		t.Fatal(n, q.Stats())
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}
