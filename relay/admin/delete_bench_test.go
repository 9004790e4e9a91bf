package admin_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dawk/queue/boltstore"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/operator"
)

// deleting is a dispatcher that deletes from the store, at once, whatever is asked for.
type deleting struct {
	*store
	q *boltstore.Store
}

func (s deleting) Act(_ context.Context, id relay.QueueID, _ relay.Verb) error {
	item, err := s.q.Item(id)
	if err != nil {
		return err
	}
	for _, d := range item.Deliveries {
		end := relay.Settlement{ID: id, Job: d.Job}
		for _, o := range d.Open {
			end.Outcomes = append(end.Outcomes, relay.Outcome{Recipient: o.Recipient, Action: relay.ActionDeleted})
		}
		done := make(chan error, 1)
		s.q.Settle(end, func(err error) { done <- err })
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkDelete is what a deleted message of 10 KiB costs, with and without being kept
// for undo.
func BenchmarkDelete(b *testing.B) {
	for _, purge := range []bool{false, true} {
		name := map[bool]string{false: "kept", true: "purged"}[purge]
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			q, err := boltstore.Open(boltstore.Options{Dir: filepath.Join(dir, "queue"), MinFree: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer q.Close()
			back, err := kept.Open(filepath.Join(dir, "acts"), "relay.example.org")
			if err != nil {
				b.Fatal(err)
			}
			who, err := audit.Open(filepath.Join(dir, "audit"), time.Now())
			if err != nil {
				b.Fatal(err)
			}
			body := "Subject: x\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcde\r\n", 310)
			to, err := relay.ParsePath("a@one.test")
			if err != nil {
				b.Fatal(err)
			}
			for range b.N {
				d, err := q.NewDraft()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.WriteString(d, body); err != nil {
					b.Fatal(err)
				}
				m := &relay.Message{ID: d.ID(), Arrival: time.Now()}
				m.From, m.Recipients = to, []relay.Recipient{{Path: to}}
				if err := q.Enqueue(b.Context(), d, m); err != nil {
					b.Fatal(err)
				}
			}
			h := admin.NewHandler(admin.Config{Queue: q, Dispatcher: deleting{newStore(), q}, Audit: who, Kept: back})
			req := `{"verb": "delete", "filter": "to=@one.test", "dry_run": false, "all": false, "purge": ` + map[bool]string{false: "false", true: "true"}[purge] + `}`
			b.ResetTimer()
			w := httptest.NewRecorder()
			operator.As(operator.Caller{Name: "alice", Role: operator.Admin}, h).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/queue/act", strings.NewReader(req)))
			if w.Code != http.StatusOK || strings.Contains(w.Body.String(), `"failed"`) {
				b.Fatalf("%d %s", w.Code, w.Body)
			}
		})
	}
}
