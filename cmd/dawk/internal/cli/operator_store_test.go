package cli

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"dawk/cmd/dawk/internal/server"
	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/relay"
)

// fillQueue makes a queue in dir with so many messages of 244 KiB, which stay in the queue file.
func fillQueue(t *testing.T, dir string, messages int) *boltstore.Store {
	t.Helper()
	q, err := boltstore.Open(boltstore.Options{Dir: dir, MinFree: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 76) + "\r\n"
	for range messages {
		d, err := q.NewDraft()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(d, "Subject: x\r\n\r\n"+strings.Repeat(line, 3200)); err != nil {
			t.Fatal(err)
		}
		m := &relay.Message{ID: d.ID(), Arrival: time.Now(), Size: d.Size()}
		m.Recipients = waiting(t).Message.Recipients
		if err := q.Enqueue(t.Context(), d, m); err != nil {
			t.Fatal(err)
		}
	}
	return q
}

// drain deletes everything but the last message.
func drain(t *testing.T, q *boltstore.Store) {
	t.Helper()
	var ids []relay.QueueID
	for e, err := range q.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	done := make(chan error, len(ids))
	for _, id := range ids[1:] {
		q.Settle(relay.Settlement{ID: id, Outcomes: []relay.Outcome{{Action: relay.ActionDeleted}}}, func(err error) { done <- err })
	}
	for range ids[1:] {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestCompactSaysWhatItBrought(t *testing.T) {
	q := fillQueue(t, t.TempDir(), 100) // 24 MiB; bbolt's file grows in steps of 16
	defer q.Close()
	drain(t, q)
	r, err := server.Compact(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if r.After >= r.Before || r.Messages != 1 {
		t.Errorf("%+v", r)
	}
}

// Without a relay, verify and compact work on the data directory themselves;
// the store's lock keeps them from one that is in use.
func TestStoreCommandsOffline(t *testing.T) {
	dir := t.TempDir()
	q := fillQueue(t, dir, 2)
	if status, out, errs := command(t, dir, "queue", "verify"); status != 1 || out != "" || !strings.Contains(errs, "dawk") {
		t.Errorf("verify beside a process that holds the queue: %d, %q, %q", status, out, errs)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if status, out, errs := command(t, dir, "queue", "verify"); status != 0 || out != "Checked 2 messages and 2 deliveries: every invariant holds.\n" {
		t.Errorf("verify: %d, %q, %q", status, out, errs)
	}
	if status, out, errs := command(t, dir, "queue", "compact"); status != 0 || !strings.HasPrefix(out, "The queue file has") {
		t.Errorf("compact: %d, %q, %q", status, out, errs)
	}
	if status, out, errs := command(t, dir, "queue", "verify", "--json"); status != 0 || !strings.Contains(out, `"messages":2`) {
		t.Errorf("verify after it: %d, %q, %q", status, out, errs)
	}
}

func TestAdminReportKeepsEverything(t *testing.T) {
	r := server.AdminReport(queue.Report{Messages: 1, Deliveries: 2, Problems: []string{"p"}, More: 3,
		Quarantined: []queue.Quarantined{{Kind: "message", Reason: "checksum"}}})
	if r.Messages != 1 || r.Deliveries != 2 || len(r.Problems) != 1 || r.More != 3 || len(r.SetAside) != 1 || !strings.Contains(r.SetAside[0], "checksum") {
		t.Errorf("%+v", r)
	}
}
