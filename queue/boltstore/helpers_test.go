package boltstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	"dawk/relay"
)

func mailbox(s string) relay.Path {
	p, err := relay.ParsePath(s)
	if err != nil {
		panic(err)
	}
	return p
}

func mustOpen(t testing.TB, opt boltstore.Options) *boltstore.Store {
	t.Helper()
	q, err := boltstore.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// put enqueues content for recipients at one domain each.
func put(q *boltstore.Store, content []byte, to ...string) (relay.QueueID, error) {
	return putAs(q, "", content, to...)
}

// putAs is put for an identity.
func putAs(q *boltstore.Store, who string, content []byte, to ...string) (relay.QueueID, error) {
	d, err := q.NewDraft()
	if err != nil {
		return relay.QueueID{}, err
	}
	if _, err := d.Write(content); err != nil {
		d.Discard()
		return d.ID(), err
	}
	m := &relay.Message{ID: d.ID(), Arrival: time.Now(), Identity: who}
	m.From = mailbox("sender@example.org")
	for _, r := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: mailbox(r)})
	}
	return d.ID(), q.Enqueue(context.Background(), d, m)
}

func mustPut(t testing.TB, q *boltstore.Store, content []byte, to ...string) relay.QueueID {
	t.Helper()
	id, err := put(q, content, to...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func settle(q *boltstore.Store, s relay.Settlement) error {
	done := make(chan error, 1)
	q.Settle(s, func(err error) { done <- err })
	return <-done
}

func relayed(id relay.QueueID, job uint16, recipients ...int) relay.Settlement {
	s := relay.Settlement{ID: id, Job: job}
	for _, r := range recipients {
		s.Outcomes = append(s.Outcomes, relay.Outcome{Recipient: r, Action: relay.ActionRelayed, Reply: relay.Reply{Code: 250}})
	}
	return s
}

// contentOf claims job 0 and reads it all.
func contentOf(q *boltstore.Store, id relay.QueueID) ([]byte, error) {
	c, err := q.Claim(id, 0)
	if err != nil {
		return nil, err
	}
	defer c.Content.Close()
	return io.ReadAll(io.NewSectionReader(c.Content, 0, c.Content.Size()))
}

// body is n octets that name their message.
func body(name string, n int) []byte {
	return bytes.Repeat([]byte(name+"\r\n"), n/(len(name)+2)+1)[:n]
}

// sound fails when a verification finds anything.
func sound(t testing.TB, q *boltstore.Store) {
	t.Helper()
	q.WaitTasks()
	r, err := q.Verify(context.Background(), nil)
	if err != nil || len(r.Problems) > 0 {
		t.Fatalf("verify: %v\n%s", err, strings.Join(r.Problems, "\n"))
	}
}

func spoolFiles(t testing.TB, dir string) (files []string) {
	t.Helper()
	filepath.WalkDir(filepath.Join(dir, "spool"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	return files
}

func wantErr(t testing.TB, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	for _, w := range words {
		if !strings.Contains(fmt.Sprint(err), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// fillDisk takes the last block of a disk.
func fillDisk(t testing.TB, path string) {
	t.Helper()
	if _, err := queuetest.Fill(path); err != nil {
		t.Fatal(err)
	}
}
