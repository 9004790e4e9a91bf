package delivery_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"dawk/bounce"
	"dawk/queue/boltstore"
	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/notices"
)

// until is an Observer that says when something has happened so often.
type until struct {
	mu   sync.Mutex
	left map[relay.EventKind]int
	done chan struct{}
}

func (u *until) Observe(e relay.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left[e.Kind]--; u.left[e.Kind] > 0 {
		return
	}
	for _, n := range u.left {
		if n > 0 {
			return
		}
	}
	select {
	case <-u.done:
	default:
		close(u.done)
	}
}

// With the store on a real disk: mail of an earlier run is loaded, routes part,
// a failure's notice travels, an operator's act holds, and the store ends empty
// but for what is held.
func TestWithTheRealQueue(t *testing.T) {
	dir := t.TempDir()
	open := func() *boltstore.Store {
		q, err := boltstore.Open(boltstore.Options{Dir: dir, MinFree: 1})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	send := func(q *boltstore.Store, to ...string) relay.QueueID {
		draft, err := q.NewDraft()
		if err != nil {
			t.Fatal(err)
		}
		draft.Write([]byte("Subject: x\r\n\r\ny\r\n"))
		m := mail("sender@example.org", to...)
		m.ID, m.Arrival, m.Size = draft.ID(), draft.ID().Time(), draft.Size()
		if err := q.Enqueue(context.Background(), draft, m); err != nil {
			t.Fatal(err)
		}
		return m.ID
	}
	q := open()
	for range 50 {
		send(q, "a@dest.test", "vip@dest.test", "bad@dest.test")
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}

	q = open()
	hop := &nextHop{route: func(_ *relay.Message, p relay.Path) string {
		if strings.HasPrefix(p.Local(), "vip") {
			return "route:vip"
		}
		return p.Domain()
	}}
	hop.answer(func(_ context.Context, task relay.Task) relay.Result {
		res := all(task, relayed)
		for i, r := range task.Recipients {
			switch task.Message.Recipients[r].Path.Local() {
			case "bad":
				res.Replies[i] = noUser
			case "later":
				res.Replies[i] = greylist
			}
		}
		return res
	})
	want := &until{left: map[relay.EventKind]int{relay.EventRelayed: 50*2 + 51 + 1, relay.EventFailed: 51, relay.EventNotified: 51, relay.EventDelayed: 1}, done: make(chan struct{})}
	d := delivery.New(delivery.Config{Notices: notices.Config{Bounce: bounce.Config{Hostname: "relay.example.org"}}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, q, hop, want)
	ctx, stop := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- d.Run(ctx) }()
	<-d.Ready()
	fresh := send(q, "c@other.test", "bad@other.test")
	later := send(q, "later@dest.test")
	<-want.done
	if err := d.Act(context.Background(), later, relay.VerbHold); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-result; err != nil {
		t.Error(err)
	}
	if st := d.Stats(); st.Queued != 1 || st.Held != 1 || st.Adrift != 0 {
		t.Errorf("stats %+v", st)
	}
	if item, err := q.Item(later); err != nil || !item.Deliveries[0].Held || item.Deliveries[0].Attempts != 1 {
		t.Errorf("%+v, %v", item, err)
	}
	if _, err := q.Item(fresh); err == nil {
		t.Error("what is finished is still in the store")
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	dests := map[string]bool{}
	for _, try := range hop.tries {
		dests[try.dest] = true
	}
	if !dests["route:vip"] || len(dests) != 4 {
		t.Errorf("destinations %v", slices.Collect(func(yield func(string) bool) {
			for k := range dests {
				yield(k)
			}
		}))
	}
}
