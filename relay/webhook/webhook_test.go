package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dawk/queue/queuetest"
	"dawk/relay"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func keys(t testing.TB, text ...string) func() ([][]byte, error) {
	list, err := ParseSecrets([]byte(strings.Join(text, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return func() ([][]byte, error) { return list, nil }
}

// receiver is one in memory, which answers as it is told to.
type receiver struct {
	mu     sync.Mutex
	answer func(b got) (int, error)
	taken  []got // requests that were answered with 2xx
	asked  int
	most   int // requests at once
	now    int
}

type got struct {
	header map[string]string
	body   struct {
		Type string
		Data json.RawMessage
	}
	ids []string // of its events
	ev  []data
}

func (r *receiver) post(_ context.Context, _ string, header map[string]string, b []byte) (int, error) {
	g := got{header: header}
	if err := json.Unmarshal(b, &g.body); err != nil {
		return 0, err
	}
	all := []json.RawMessage{b}
	if g.body.Type == "batch" {
		json.Unmarshal(g.body.Data, &all)
	}
	for _, one := range all {
		var e struct {
			Type string
			Data data
		}
		json.Unmarshal(one, &e)
		g.ids, g.ev = append(g.ids, e.Data.ID), append(g.ev, e.Data)
	}
	r.mu.Lock()
	r.asked++
	r.now++
	r.most = max(r.most, r.now)
	answer := r.answer
	r.mu.Unlock()
	status, err := 204, error(nil)
	if answer != nil {
		status, err = answer(g)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now--
	if err == nil && status/100 == 2 {
		r.taken = append(r.taken, g)
	}
	return status, err
}

func (r *receiver) events() (all []data) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.taken {
		all = append(all, g.ev...)
	}
	return all
}

// set is a store with webhooks.
type set struct {
	t     *testing.T
	dir   string
	store *queuetest.Memory
	hooks *Hooks
	stop  func()
}

func newSet(t *testing.T, dir string, store *queuetest.Memory, list ...Config) *set {
	t.Helper()
	store.Outbox().SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 30})
	h, err := New(Options{Dir: dir, Outbox: store.Outbox(), Log: slog.New(slog.DiscardHandler)}, list)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	return &set{t, dir, store, h, func() { cancel(); <-ended }}
}

// happen puts an event of a message into the outbox.
func (s *set) happen(kind relay.EventKind, message uint64) {
	s.store.Settle(relay.Settlement{Events: []relay.Event{{Kind: kind, Time: time.Now(), ID: relay.QueueID{Key: message, Dir: 1}, Identity: "shop"}}}, nil)
}

// inOrder fails unless the events of each message came in their order, each at least once and in numbers 1 to n of Attempt.
func queueIDs(all []data) (ids []string) {
	for _, d := range all {
		ids = append(ids, d.QueueID)
	}
	return ids
}

func TestEventsAreToldInOrderOfTheirMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: func(g got) (int, error) {
			time.Sleep(time.Duration(len(g.ev[0].QueueID)+int(g.ev[0].QueueID[10])%7) * time.Millisecond)
			return 200, nil
		}}
		s := newSet(t, t.TempDir(), queuetest.NewMemory(), Config{Name: "crm", Secrets: keys(t, secret), Post: r.post})
		defer s.stop()
		synctest.Wait()
		for range 3 {
			for m := range uint64(40) {
				s.happen(relay.EventDelayed, m+1)
			}
		}
		time.Sleep(time.Minute)
		last := map[string]string{}
		all := r.events()
		for _, d := range all {
			if n := func() int { var n int; fmt.Sscanf(d.ID, "evt_%d", &n); return n }(); fmt.Sprintf("%06d", n) <= last[d.QueueID] {
				t.Fatalf("event %s of %s came after %s", d.ID, d.QueueID, last[d.QueueID])
			} else {
				last[d.QueueID] = fmt.Sprintf("%06d", n)
			}
		}
		if len(all) != 120 || r.most > concurrency || r.most < 2 {
			t.Errorf("%d events of 120; %d requests at once", len(all), r.most)
		}
	})
}

// A receiver that answers 500 for a day gets everything afterwards, in order; meanwhile
// another webhook is told at once, and the first is not pressed.
func TestReceiverThatFailsForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, store := t.TempDir(), queuetest.NewMemory()
		back := time.Now().Add(24 * time.Hour)
		bad := &receiver{answer: func(got) (int, error) {
			if time.Now().Before(back) {
				return 500, nil
			}
			return 200, nil
		}}
		good := &receiver{}
		s := newSet(t, dir, store, Config{Name: "bad", Secrets: keys(t, secret), Post: bad.post}, Config{Name: "good", Secrets: keys(t, secret), Post: good.post})
		synctest.Wait()
		for m := range uint64(5) {
			s.happen(relay.EventAccepted, m+1)
			s.happen(relay.EventRelayed, m+1)
		}
		time.Sleep(time.Second)
		if n := len(good.events()); n != 10 {
			t.Fatalf("the other webhook got %d events", n)
		}
		time.Sleep(12 * time.Hour)
		s.stop() // a restart in between
		s = newSet(t, dir, store, Config{Name: "bad", Secrets: keys(t, secret), Post: bad.post}, Config{Name: "good", Secrets: keys(t, secret), Post: good.post})
		defer func() { s.stop() }()
		time.Sleep(time.Second)
		if st := s.hooks.List(); st[0].Pending != 10 || st[0].State != Active || st[1].Pending != 0 {
			t.Fatalf("%+v", st)
		}
		bad.mu.Lock()
		asked := bad.asked
		bad.mu.Unlock()
		if asked > 5*12 {
			t.Errorf("%d requests in half a day", asked)
		}
		time.Sleep(20 * time.Hour)
		all := bad.events()
		if len(all) != 10 || len(good.events()) != 10 {
			t.Fatalf("after a day %d events came, and %d", len(all), len(good.events()))
		}
		for m := range 5 {
			id := relay.QueueID{Key: uint64(m + 1), Dir: 1}.String()
			a, b := slices.Index(queueIDs(all), id), 0
			for i, d := range all {
				if d.QueueID == id {
					b = i
				}
			}
			if all[a].ID >= all[b].ID && len(all[a].ID) >= len(all[b].ID) {
				t.Errorf("%s: %s before %s", id, all[a].ID, all[b].ID)
			}
		}
	})
}

// An event that is refused for three days is given up, once, and can be asked for again.
func TestEventIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var poison atomic.Bool
		poison.Store(true)
		r := &receiver{}
		r.answer = func(g got) (int, error) {
			if g.ev[0].QueueID == "00000000001-0001" && poison.Load() {
				return 400, nil
			}
			return 200, nil
		}
		s := newSet(t, t.TempDir(), queuetest.NewMemory(), Config{Name: "crm", Secrets: keys(t, secret), Post: r.post})
		defer s.stop()
		synctest.Wait()
		s.happen(relay.EventFailed, 1)
		s.happen(relay.EventDeleted, 1) // it waits behind the first
		s.happen(relay.EventFailed, 2)
		time.Sleep(time.Second)
		if n := len(r.events()); n != 1 {
			t.Fatalf("%d events came, one of them waits behind another", n)
		}
		time.Sleep(7 * 24 * time.Hour)
		st := s.hooks.List()[0]
		if st.Failed != 2 || st.Pending != 0 || st.Delivered != 1 {
			t.Fatalf("%+v", st)
		}
		poison.Store(false)
		if n, err := s.hooks.Replay("crm", []string{"00000000001-0001"}, time.Now()); n != 2 || err != nil {
			t.Fatalf("replay: %d, %v", n, err)
		}
		time.Sleep(time.Second)
		if all := r.events(); len(all) != 3 || all[1].ID != "evt_1" || all[2].ID != "evt_2" {
			t.Fatalf("%+v", all)
		}
		if n, err := s.hooks.Replay("crm", []string{"is=deleted"}, time.Now()); n != 1 || err != nil {
			t.Fatalf("replay: %d, %v", n, err)
		}
		if _, err := s.hooks.Replay("crm", []string{"colour=red"}, time.Now()); err == nil {
			t.Error("a term that there is not was taken")
		}
		if _, err := s.hooks.Replay("other", []string{"is=deleted"}, time.Now()); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	})
}

// 410 ends a webhook, also over a restart; enabled again it goes on where it was.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		gone.Store(true)
		dir, store := t.TempDir(), queuetest.NewMemory()
		r := &receiver{answer: func(got) (int, error) {
			if gone.Load() {
				return 410, nil
			}
			return 200, nil
		}}
		c := Config{Name: "crm", Secrets: keys(t, secret), Post: r.post}
		s := newSet(t, dir, store, c)
		synctest.Wait()
		s.happen(relay.EventFailed, 1)
		time.Sleep(time.Minute)
		s.stop()
		s = newSet(t, dir, store, c)
		defer func() { s.stop() }()
		s.happen(relay.EventFailed, 2)
		time.Sleep(10 * 24 * time.Hour)
		r.mu.Lock()
		asked := r.asked
		r.mu.Unlock()
		if st := s.hooks.List()[0]; st.State != Ended || asked != 1 {
			t.Fatalf("%+v, asked %d times", st, asked)
		}
		gone.Store(false)
		if err := s.hooks.Enable("crm"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if st := s.hooks.List()[0]; st.State != Active || len(r.events()) != 2 {
			t.Fatalf("%+v: %d events", st, len(r.events()))
		}
	})
}

// A webhook gets what it asked for, in lists where it takes them, however many wait.
func TestChoiceAndBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		lists, few := &receiver{}, &receiver{}
		lists.answer = func(got) (int, error) {
			if down.Load() {
				return 0, errors.New("connection refused")
			}
			return 200, nil
		}
		s := newSet(t, t.TempDir(), queuetest.NewMemory(), Config{Name: "lists", Secrets: keys(t, secret), Post: lists.post, Batch: 100},
			Config{Name: "few", Secrets: keys(t, secret), Post: few.post, Kinds: []relay.EventKind{relay.EventFailed}, Identities: []string{"shop"}},
			Config{Name: "none", Secrets: keys(t, secret), Post: few.post, Identities: []string{"other"}})
		defer s.stop()
		synctest.Wait()
		const n = window + 200
		for m := range uint64(n / 2) {
			s.happen(relay.EventAccepted, m+1)
			s.happen(relay.EventFailed, m+1)
		}
		time.Sleep(time.Second)
		if st := s.hooks.List(); st[0].Pending != n || st[2].Pending != 0 {
			t.Fatalf("%+v", st)
		}
		time.Sleep(time.Hour)
		if n := len(few.events()); n != (window+200)/2 {
			t.Errorf("%d events came where %d were asked for", n, (window+200)/2)
		}
		down.Store(false)
		time.Sleep(24 * time.Hour)
		all := lists.events()
		lists.mu.Lock()
		defer lists.mu.Unlock()
		if st := s.hooks.List()[0]; len(all) != n || st.Pending != 0 || st.Delivered != n || len(lists.taken) > n/20 {
			t.Fatalf("%d events of %d in %d requests; %+v", len(all), n, len(lists.taken), st)
		}
		if g := lists.taken[0]; g.body.Type != "batch" || !strings.HasPrefix(g.header["webhook-id"], "bat_") {
			t.Errorf("%+v", g.header)
		}
	})
}

// However many events wait behind one that is not taken, those of other messages are told at once, as long as
// there is room for any.
func TestOneMessageHoldsUpNoOther(t *testing.T) {
	for _, most := range []int{1, concurrency} {
		synctest.Test(t, func(t *testing.T) {
			r := &receiver{answer: func(g got) (int, error) {
				if strings.HasPrefix(g.ev[0].QueueID, "00000000001-") {
					return 500, nil
				}
				time.Sleep(time.Millisecond)
				return 200, nil
			}}
			s := newSet(t, t.TempDir(), queuetest.NewMemory(), Config{Name: "crm", Secrets: keys(t, secret), Post: r.post})
			defer s.stop()
			synctest.Wait()
			for range window - most {
				s.happen(relay.EventDelayed, 1)
			}
			time.Sleep(time.Second)
			for m := range uint64(100) {
				s.happen(relay.EventFailed, m+2)
			}
			time.Sleep(3 * time.Second) // before the first is tried again
			if n := len(r.events()); n != 100 {
				t.Errorf("%d of 100 events came", n)
			}
		})
	}
}

// The outbox knows from the start how far everybody was told, also by one that has ended and one whose file cannot
// be read: otherwise it would keep everything until it is full, and then lose what is new.
func TestOutboxKnowsFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, store, r := t.TempDir(), queuetest.NewMemory(), &receiver{}
		list := []Config{{Name: "crm", Secrets: keys(t, secret), Post: r.post}, {Name: "ended", Secrets: keys(t, secret), Post: r.post}, {Name: "broken", Secrets: keys(t, secret), Post: r.post}}
		s := newSet(t, dir, store, list...)
		synctest.Wait()
		s.happen(relay.EventFailed, 1)
		time.Sleep(time.Minute)
		s.stop()
		for name, text := range map[string]string{"ended": `{"next":0,"ended":true,"delivered":0,"failed":0}`, "broken": "{"} {
			if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		box := &box{Outbox: store.Outbox()}
		h, err := New(Options{Dir: dir, Outbox: box, Log: slog.New(slog.DiscardHandler)}, list)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go h.Run(ctx)
		synctest.Wait()
		if box.told.Load() != 1 {
			t.Errorf("%d events are told, as the outbox knows", box.told.Load())
		}
		for name, want := range map[string]string{"ended": "dawk webhook enable ended", "broken": "broken.json"} {
			if _, err := h.Replay(name, []string{"is=failed"}, time.Now()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("what nobody will be told: %v", err)
			}
		}
		if err := h.Enable("broken"); err == nil || !strings.Contains(err.Error(), "broken.json") {
			t.Error(err)
		}
		stop()
		synctest.Wait()
	})
}

type box struct {
	Outbox
	told atomic.Uint64
}

func (b *box) Told(n uint64) { b.told.Store(n) }

// What was told is told once more after a crash at worst, with the same ID.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, store, r := t.TempDir(), queuetest.NewMemory(), &receiver{}
		c := Config{Name: "crm", Secrets: keys(t, secret), Post: r.post}
		s := newSet(t, dir, store, c)
		synctest.Wait()
		before, err := os.ReadFile(filepath.Join(dir, "crm.json"))
		if err != nil {
			t.Fatal(err)
		}
		s.happen(relay.EventAccepted, 1)
		s.happen(relay.EventRelayed, 1)
		time.Sleep(time.Minute)
		s.stop()
		if err := os.WriteFile(filepath.Join(dir, "crm.json"), before, 0o600); err != nil { // as a crash would have left it
			t.Fatal(err)
		}
		s = newSet(t, dir, store, c)
		defer func() { s.stop() }()
		s.happen(relay.EventDeleted, 2)
		time.Sleep(time.Minute)
		var ids []string
		for _, d := range r.events() {
			ids = append(ids, d.ID)
		}
		third := slices.Index(ids, "evt_3") // of another message: at any time
		if third < 0 || strings.Join(slices.Delete(slices.Clone(ids), third, third+1), " ") != "evt_1 evt_2 evt_1 evt_2" {
			t.Errorf("%v", ids)
		}
	})
}

// The form of a request is that of docs/webhooks.md.
func TestRequest(t *testing.T) {
	path := func(s string) relay.Path {
		p, err := relay.ParsePath(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 890_123_000, time.UTC)
	e := relay.OutboxEvent{Number: 7, ID: "evt_x", Event: relay.Event{Kind: relay.EventDelayed, Time: at, ID: relay.QueueID{Key: 1, Dir: 1}, From: path("a@example.org"), Recipient: path("b@example.com"),
		Identity: "shop", MessageID: "<1@example.org>", Size: 99, Reply: relay.Reply{Code: 451, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Text: "later"},
		Reason: "greylisted", Host: "mx.example.com", Attempt: 2, Next: at.Add(time.Minute)}}
	id, b := request([]*item{{event: e}}, false, at)
	const want = `{"type":"delayed","timestamp":"2026-03-04T05:06:07.89Z","data":{"id":"evt_x","queue_id":"00000000001-0001","identity":"shop","from":"a@example.org","to":"b@example.com","message_id":"<1@example.org>","size":99,"reply":{"code":451,"status":"4.7.1","text":"later"},"reason":"greylisted","host":"mx.example.com","attempt":2,"next":"2026-03-04T05:07:07.89Z"}}`
	if id != "evt_x" || string(b) != want {
		t.Errorf("%s\ngot  %s\nwant %s", id, b, want)
	}
	e.Kind, e.Recipient, e.To, e.From = relay.EventAccepted, relay.Path{}, []relay.Path{path("b@example.com"), path("c@example.com")}, relay.Path{}
	if _, b := request([]*item{{event: e}}, false, at); !strings.Contains(string(b), `"from":"","to":["b@example.com","c@example.com"]`) {
		t.Errorf("%s", b)
	}
	// Two secrets: two signatures, the first that of the first line. The value is that of the standard's own example.
	other := secretPrefix + base64.StdEncoding.EncodeToString([]byte("another secret of ours"))
	list, _ := keys(t, "# old", secret, other)()
	h := headers("msg_p5jXN8AQM9LWM0D4loKWxJek", []byte(`{"test": 2432232314}`), list, time.Unix(1614265330, 0))
	if got := strings.Split(h["webhook-signature"], " "); len(got) != 2 || got[0] != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("%v", got)
	}
}

func TestSecrets(t *testing.T) {
	for _, bad := range []string{"", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!", "whsec_c2hvcnQ=", strings.Repeat(secret+"\n", maxSecrets+1)} {
		if _, err := ParseSecrets([]byte(bad)); err == nil || strings.Contains(err.Error(), "c2hvcnQ") || strings.Contains(err.Error(), "MfKQ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	path := filepath.Join(t.TempDir(), "secret")
	read := FileSecrets(path)
	if _, err := read(); err == nil {
		t.Error("a file that is missing was read")
	}
	for n := 1; n <= 3; n++ { // it is read again when it changes
		if err := os.WriteFile(path, []byte(strings.Repeat(secret+"\n", n)), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := read(); err != nil || len(list) != n {
			t.Errorf("%d secrets, want %d: %v", len(list), n, err)
		}
	}
}

// Requests go out at the rate that one webhook has, however many events wait and however fast they are taken, and
// a webhook that was idle is told at once.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		var mu sync.Mutex
		r := &receiver{answer: func(got) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			return 200, nil
		}}
		s := newSet(t, t.TempDir(), queuetest.NewMemory(), Config{Name: "crm", Secrets: keys(t, secret), Post: r.post})
		defer s.stop()
		time.Sleep(time.Minute)
		began := time.Now()
		for m := range uint64(4 * perSecond) {
			s.happen(relay.EventFailed, m+1)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(at) != 4*perSecond || at[0].Sub(began) > 0 {
			t.Fatalf("%d requests, the first after %v", len(at), at[0].Sub(began))
		}
		for i := range at[perSecond*5/4+1:] {
			if d := at[i+perSecond*5/4+1].Sub(at[i]); d < time.Second {
				t.Fatalf("%d requests in %v", perSecond*5/4+1, d)
			}
		}
		if d := at[len(at)-1].Sub(began); d > 4*time.Second+rest {
			t.Errorf("they took %v", d)
		}
	})
}

// While requests go out, secrets are read once a second: a new one signs from then on, and one that cannot be read
// is a failure of the request like any other.
func TestSecretsRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list atomic.Value
		list.Store([]string{secret})
		var asked atomic.Int32
		read := func() ([][]byte, error) {
			asked.Add(1)
			return ParseSecrets([]byte(strings.Join(list.Load().([]string), "\n")))
		}
		r := &receiver{}
		s := newSet(t, t.TempDir(), queuetest.NewMemory(), Config{Name: "crm", Secrets: read, Post: r.post})
		defer s.stop()
		signatures := func() string {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.taken[len(r.taken)-1].header["webhook-signature"]
		}
		synctest.Wait()
		for m := range uint64(50) {
			s.happen(relay.EventFailed, m+1)
		}
		time.Sleep(500 * time.Millisecond)
		if asked.Load() != 1 || strings.Contains(signatures(), " ") {
			t.Fatalf("asked %d times; %s", asked.Load(), signatures())
		}
		list.Store([]string{secretPrefix + base64.StdEncoding.EncodeToString([]byte("another secret of ours")), secret})
		time.Sleep(time.Second)
		s.happen(relay.EventFailed, 51)
		time.Sleep(time.Second)
		if len(strings.Fields(signatures())) != 2 {
			t.Errorf("%s", signatures())
		}
		list.Store([]string{"no secret"})
		s.happen(relay.EventFailed, 52)
		time.Sleep(time.Second)
		if st := s.hooks.List()[0]; st.Pending != 1 || !strings.Contains(st.LastError, "whsec_") {
			t.Errorf("%+v", st)
		}
		list.Store([]string{secret})
		time.Sleep(time.Minute)
		if n := len(r.events()); n != 52 {
			t.Errorf("%d events", n)
		}
	})
}

func FuzzParseSecrets(f *testing.F) {
	f.Add([]byte(secret))
	f.Fuzz(func(t *testing.T, b []byte) {
		if list, err := ParseSecrets(b); err == nil && len(list) == 0 {
			t.Fatal("no secret and no error")
		}
	})
}

// A webhook that does not answer, since it does not run or is at work, does not pass
// for one that has told everything.
func TestListOfOneThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{answer: func(got) (int, error) { return 500, nil }}
		hook := Config{Name: "crm", Secrets: keys(t, secret), Post: r.post, Kinds: []relay.EventKind{relay.EventFailed}}
		dir := t.TempDir()
		s := newSet(t, dir, queuetest.NewMemory(), hook)
		for i := range 3 {
			s.happen(relay.EventFailed, uint64(i+1))
		}
		s.happen(relay.EventRelayed, 4)
		time.Sleep(2 * time.Second)
		s.stop()
		s.happen(relay.EventFailed, 5)
		h, err := New(s.hooks.opt, []Config{hook})
		if err != nil {
			t.Fatal(err)
		}
		if list := h.List(); len(list) != 1 || list[0].Pending != 4 {
			t.Errorf("%+v", list)
		}
	})
}
