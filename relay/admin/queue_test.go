package admin_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dawk/queue/boltstore"
	"dawk/relay"
	"dawk/relay/admin"
)

func openQueue(t *testing.T, dir string) *boltstore.Store {
	t.Helper()
	q, err := boltstore.Open(boltstore.Options{Dir: dir, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func enqueue(t *testing.T, q *boltstore.Store, content string, to ...string) relay.QueueID {
	t.Helper()
	d, err := q.NewDraft()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, content); err != nil {
		t.Fatal(err)
	}
	m := &relay.Message{ID: d.ID(), Arrival: time.Now(), Size: d.Size(), Identity: "app"}
	m.From = path(t, "sender@example.org")
	for _, r := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: path(t, r)})
	}
	if err := q.Enqueue(t.Context(), d, m); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// The real store behind the socket: what was accepted is listed, shown,
// explained and, from a backup, there again.
func TestWithTheRealQueue(t *testing.T) {
	q := openQueue(t, t.TempDir())
	defer q.Close()
	body := "Subject: one\r\n\r\n" + string(bytes.Repeat([]byte("0123456789abcdef\r\n"), 40_000)) // in a file of the spool
	large := enqueue(t, q, body, "a@one.test", "b@two.test")
	small := enqueue(t, q, "Subject: two\r\n\r\nhello\r\n", "c@two.test")
	c := serve(t, admin.Config{Queue: q, Dispatcher: newStore(), Backup: q.Backup})

	_, answer := get(t, c, "/v1/queue", url.Values{"filter": {"to=@two.test"}})
	lines, end := decodeLines(t, answer)
	if end == nil || end.Messages != 2 || end.Deliveries != 2 || lines[0].Item.Message.ID != large {
		t.Fatalf("list: %s", answer)
	}
	if _, got := get(t, c, "/v1/queue/"+large.String()+"/content", nil); got != body {
		t.Errorf("content: %d octets", len(got))
	}
	if status, answer := get(t, c, "/v1/queue/"+small.String()+"/why", nil); status != 200 {
		t.Errorf("why: %d %s", status, answer)
	}
	var shape admin.Shape
	_, answer = get(t, c, "/v1/shape", url.Values{"by": {"dest"}})
	if err := json.Unmarshal([]byte(answer), &shape); err != nil || shape.Total.Total != 3 || shape.Rows[0].Name != "two.test" {
		t.Errorf("shape: %s %v", answer, err)
	}

	resp, err := c.Get("http://dawk/v1/store/backup")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	restored := t.TempDir()
	untar(t, resp.Body, restored)
	if fault := resp.Trailer.Get(admin.BackupFault); fault != "" {
		t.Error(fault)
	}
	r := openQueue(t, restored)
	defer r.Close()
	content, err := r.Content(large)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	got, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
	if err != nil || string(got) != body {
		t.Errorf("restored: %d octets, %v", len(got), err)
	}
}

func untar(t *testing.T, r io.Reader, dir string) {
	t.Helper()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			if _, err := io.Copy(io.Discard, r); err != nil { // the trailer comes after the body
				t.Fatal(err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		b, err := io.ReadAll(archive)
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A long queue is read page by page: after is the last message of the page before.
func TestPagesOfTheQueue(t *testing.T) {
	s := newStore()
	for n := range 10 {
		s.put(t, n+1, time.Hour, "a@one.test")
	}
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	ask := func(path string) (int, []byte) {
		t.Helper()
		answer, err := c.Get("http://dawk" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, body
	}
	var all []string
	for after, more := "", true; more; {
		_, body := ask("/v1/queue?limit=4&after=" + after)
		var page admin.List
		if err := json.Unmarshal(body, &page); err != nil || len(page.Items) == 0 || len(page.Items) > 4 {
			t.Fatalf("%v: %s", err, body)
		}
		for _, i := range page.Items {
			after = i.Message.ID.String()
			all = append(all, after)
		}
		more = page.End.More
	}
	if s.walked > 10+3 { // each page has read one more, to know that there is more
		t.Errorf("%d messages were read for 10", s.walked)
	}
	if len(all) != 10 || !slices.IsSorted(all) || len(slices.Compact(all)) != 10 {
		t.Errorf("%v", all)
	}
	if status, body := ask("/v1/queue?after=nonsense"); status != http.StatusBadRequest {
		t.Errorf("%d %s", status, body)
	}
}
