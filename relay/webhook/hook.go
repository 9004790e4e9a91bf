package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
	"dawk/relay/history"
)

// state is what is kept of a webhook in its file.
type state struct {
	Next      uint64    `json:"next"` // every event up to it was taken up, and is told unless it is in Waiting
	Waiting   []*item   `json:"waiting,omitempty"`
	Replays   []replay  `json:"replays,omitempty"`
	Ended     bool      `json:"ended,omitempty"`
	Delivered int64     `json:"delivered"`
	Failed    int64     `json:"failed"`
	LastError string    `json:"last_error,omitempty"` // of the last request; "": it was taken
	LastAt    time.Time `json:"last_at,omitzero"`
}

// stream is a stretch of the outbox.
type stream struct {
	After uint64 `json:"after"`
	End   uint64 `json:"end"`
}

// replay is a stretch that is told again.
type replay struct {
	stream
	Terms []string  `json:"terms"`
	Asked time.Time `json:"asked"`
}

// item is one event that is tried, or waits for its next try.
type item struct {
	Number uint64    `json:"number"`
	Tries  int       `json:"tries,omitempty"`
	First  time.Time `json:"first,omitzero"` // when it was first refused
	Due    time.Time `json:"due,omitzero"`   // zero: at once

	taken   time.Time // when it was taken up
	event   relay.OutboxEvent
	size    int // about, in octets
	flying  bool
	dropped bool
}

// result is how a request ended.
type result struct {
	items  []*item
	status int
	err    error
}

// hook is one webhook at work.
type hook struct {
	Config
	owner *Hooks
	path  string
	wake  chan struct{}
	ctl   chan func()
	done  chan result
	ended chan struct{} // closed when run has

	// Of run, and of New before it.
	state   state
	items   []*item // ascending; the file has them as Waiting
	bytes   int     // of items, about
	flying  int
	broken  bool   // the file cannot be read
	failing int    // requests that failed since one was taken
	counted uint64 // ahead is exact up to this event
	ahead   int    // events after state.Next that are for this webhook
	dirty   bool
	saved   time.Time
	more    bool      // the outbox may have events that were not taken up
	look    time.Time // when to look at the outbox again at the earliest
	hungry  bool      // a request could start, and there is no event for it
	burst   float64   // requests that may go now
	filled  time.Time // when burst was computed
	rests   time.Time // when the next burst begins, after one that was used up
	keys    [][]byte
	keysAt  time.Time // when they were read
}

func (k *hook) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// ask runs f where the state may be touched.
func (k *hook) ask(f func()) error {
	ran := make(chan struct{})
	select {
	case k.ctl <- func() { f(); close(ran) }:
		<-ran
		return nil
	case <-k.ended:
		return errStopped
	case <-time.After(5 * time.Second): // it does not run yet
		return errStopped
	}
}

// begin writes the first file of a webhook, which begins after now.
func (k *hook) begin(now uint64) error {
	if _, err := os.Stat(k.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	k.state.Next = now
	return k.save()
}

// load reads the file.
func (k *hook) load() error {
	b, err := os.ReadFile(k.path)
	if err == nil {
		err = json.Unmarshal(b, &k.state)
	}
	if err != nil {
		return fmt.Errorf("how far it has come cannot be read: %w; remove %s and run `dawk reload` to begin with what happens from now on", err, k.path)
	}
	k.items, k.state.Waiting = k.state.Waiting, nil
	k.counted = k.state.Next
	return nil
}

// asSaved is the status as far as files tell it, of a webhook that does not answer.
func (k *hook) asSaved() Status {
	saved := &hook{Config: k.Config, owner: k.owner, path: k.path}
	if err := saved.load(); err != nil {
		saved.state.LastError = relay.Sanitize(err.Error())
		return saved.status()
	}
	saved.count()
	return saved.status()
}

func (k *hook) save() error {
	s := k.state
	s.Waiting = k.items
	b, err := json.Marshal(s)
	if err == nil {
		err = durable.Write(k.path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("how far it has come cannot be written: %w", err)
	}
	k.dirty = false
	return nil
}

// reached is how far everything was told, replays included.
func (k *hook) reached() uint64 {
	if k.state.Ended || k.broken {
		return ^uint64(0)
	}
	n := k.state.Next
	if len(k.items) > 0 {
		n = min(n, k.items[0].Number-1)
	}
	for _, r := range k.state.Replays {
		n = min(n, r.After)
	}
	return n
}

func (k *hook) wants(e *relay.Event) bool {
	return (k.Kinds == nil || slices.Contains(k.Kinds, e.Kind)) && (k.Identities == nil || slices.Contains(k.Identities, e.Identity))
}

// run tells events until ctx ends.
func (k *hook) run(ctx context.Context) {
	defer close(k.ended)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	if err := k.load(); err != nil {
		k.owner.opt.Log.Error("a webhook is told nothing", "webhook", k.Name, "error", err)
		k.state.LastError, k.broken = relay.Sanitize(err.Error()), true
	}
	k.recall()
	k.owner.told(k, k.reached())
	k.more = true
	for {
		k.fill(time.Now())
		wait := min(k.sendDue(sending), k.nextLook(time.Now()))
		if now := time.Now(); k.dirty && now.Sub(k.saved) >= saveEvery {
			k.keep(now)
		} else if k.dirty {
			wait = min(wait, saveEvery)
		}
		timer.Reset(wait)
		select {
		case <-k.wake:
			k.more = true
		case <-timer.C:
		case f := <-k.ctl:
			f()
		case r := <-k.done:
			k.settle(r, time.Now())
		case <-ctx.Done():
			stop()
			for ; k.flying > 0; k.flying-- {
				r := <-k.done
				if r.status/100 == 2 {
					k.settle(r, time.Now())
					k.flying++
				}
			}
			k.keep(time.Now())
			return
		}
	}
}

func (k *hook) keep(now time.Time) {
	k.saved = now
	if k.broken {
		return
	}
	if k.more {
		k.count()
	}
	if err := k.save(); err != nil {
		k.saved = now.Add(saveAgain)
		k.owner.opt.Log.Error("a webhook is told again what it was told, if the relay ends now", "webhook", k.Name, "error", err)
		return
	}
	k.owner.told(k, k.reached())
}

// recall reads the events of items that were kept in the file. What the outbox has no more
// of is given up.
func (k *hook) recall() {
	if len(k.items) == 0 {
		return
	}
	at := make(map[uint64]*item, len(k.items))
	last := uint64(0)
	for _, i := range k.items {
		at[i.Number], last = i, max(last, i.Number)
	}
	for e, err := range k.owner.opt.Outbox.Events(k.items[0].Number - 1) {
		if err != nil || e.Number > last {
			break
		}
		if i := at[e.Number]; i != nil {
			i.event, i.size = e, sizeOf(&e)
		}
	}
	k.items = slices.DeleteFunc(k.items, func(i *item) bool {
		if i.event.Number == 0 {
			k.giveUp(i, "the outbox does not have it any more")
		}
		return i.event.Number == 0
	})
	for _, i := range k.items {
		k.bytes += i.size
	}
}

func sizeOf(e *relay.OutboxEvent) int { return 600 + 64*len(e.To) + len(e.Reply.Text) }

// nextLook is how long the outbox is not looked at. Each look has a price, and so has each time that
// a relay wakes up which does nothing else: so many events are taken up at a time.
func (k *hook) nextLook(now time.Time) time.Duration {
	if !k.more || k.state.Ended || k.broken || !k.room() || !k.hungry && window-len(k.items) < window/4 {
		return idle
	}
	return max(0, k.look.Sub(now))
}

// fill takes up events when it is time to, those that are asked for again first.
func (k *hook) fill(now time.Time) {
	if k.nextLook(now) > 0 {
		return
	}
	full, err := k.takeUp(now)
	k.more, k.look = full || err != nil, now.Add(together)
	if err != nil {
		k.owner.opt.Log.Error("the outbox cannot be read", "webhook", k.Name, "error", err)
		k.look = now.Add(readAgain)
	}
}

// takeUp takes up events, and says whether there was no room for all.
func (k *hook) takeUp(now time.Time) (full bool, err error) {
	for len(k.state.Replays) > 0 {
		r := &k.state.Replays[0]
		q, wrong := history.Terms.Args(r.Terms, r.Asked)
		if wrong == nil {
			full, err = k.take(&r.stream, now, func(e *relay.Event) bool { return picks(&q, e) })
		}
		if full || err != nil {
			break
		}
		k.state.Replays, k.dirty = k.state.Replays[1:], true
	}
	main := stream{After: k.state.Next, End: ^uint64(0)}
	more, failed := k.take(&main, now, func(*relay.Event) bool { return true })
	if main.After != k.state.Next {
		k.state.Next, k.dirty = main.After, true
	}
	if k.counted < k.state.Next {
		k.counted, k.ahead = k.state.Next, 0
	}
	return full || more, errors.Join(err, failed)
}

// count counts the events that wait in the outbox.
func (k *hook) count() {
	for e, err := range k.owner.opt.Outbox.Events(k.counted) {
		if err != nil {
			return
		}
		k.counted = e.Number
		if k.wants(&e.Event) {
			k.ahead++
		}
	}
}

func (k *hook) room() bool { return len(k.items) < window && k.bytes < windowBytes }

// take takes up events of s, and says whether there was no room for all.
func (k *hook) take(s *stream, now time.Time, picked func(*relay.Event) bool) (full bool, err error) {
	if !k.room() {
		return true, nil
	}
	for e, err := range k.owner.opt.Outbox.Events(s.After) {
		if err != nil {
			return false, err
		}
		if e.Number > s.End {
			return false, nil
		}
		if !k.room() {
			return true, nil
		}
		s.After, k.dirty = e.Number, true
		if !k.wants(&e.Event) || !picked(&e.Event) {
			continue
		}
		if e.Number <= k.counted && k.ahead > 0 && s.End == ^uint64(0) {
			k.ahead--
		}
		i := &item{Number: e.Number, taken: now, event: e, size: sizeOf(&e)}
		at, found := slices.BinarySearchFunc(k.items, e.Number, func(i *item, n uint64) int { return cmp.Compare(i.Number, n) })
		if !found {
			k.items = slices.Insert(k.items, at, i)
			k.bytes += i.size
		}
	}
	return false, nil
}
