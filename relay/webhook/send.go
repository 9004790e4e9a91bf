package webhook

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"dawk/relay"
)

// sendDue starts the requests that may start, and says when to look again at the latest.
func (k *hook) sendDue(ctx context.Context) time.Duration {
	k.hungry = false
	if k.state.Ended {
		return idle
	}
	for {
		now := time.Now()
		most := concurrency
		if k.failing > 0 {
			most = 1 // a receiver in trouble is not pressed
		}
		if k.flying >= most {
			return idle
		}
		items, wait := k.pick(now)
		if len(items) == 0 {
			k.hungry = true
			return wait
		}
		if wait := gather - now.Sub(items[0].taken); k.Batch > 1 && len(items) < k.Batch && wait > 0 {
			return wait // more may come: requests are what a webhook costs
		}
		if wait := k.pace(now); wait > 0 {
			return wait
		}
		k.flying++
		for _, i := range items {
			i.flying = true
		}
		keys, err := k.secrets(now)
		go func() {
			status := 0
			if err == nil {
				id, body := request(items, k.Batch > 1, now)
				status, err = k.Post(ctx, k.URL, headers(id, body, keys, now), body)
			}
			k.done <- result{items, status, err}
		}()
	}
}

// pick is what the next request is for: due, and nothing of its message before it that
// was not taken yet.
func (k *hook) pick(now time.Time) (items []*item, wait time.Duration) {
	blocked := make(map[relay.QueueID]bool)
	items = make([]*item, 0, max(1, k.Batch))
	wait = idle
	for _, i := range k.items {
		id := i.event.Event.ID
		if blocked[id] {
			continue
		}
		switch {
		case i.flying:
			blocked[id] = !id.IsZero()
		case i.Due.After(now):
			wait = min(wait, i.Due.Sub(now))
			blocked[id] = !id.IsZero()
		default:
			if items = append(items, i); len(items) >= max(1, k.Batch) {
				return items, 0
			}
		}
	}
	return items, wait
}

// pace keeps requests below perSecond; it says how long the next one has to wait. What waits goes
// in bursts: a request that wakes up an idle relay costs several times as much as one after another.
func (k *hook) pace(now time.Time) time.Duration {
	if wait := k.rests.Sub(now); wait > 0 {
		return wait
	}
	k.burst = min(perSecond/4, k.burst+perSecond*now.Sub(k.filled).Seconds())
	k.filled = now
	if k.burst < 1 {
		k.rests = now.Add(rest)
		return rest
	}
	k.burst--
	return 0
}

// secrets are read again when they are a second old.
func (k *hook) secrets(now time.Time) (_ [][]byte, err error) {
	if k.keys == nil || now.Sub(k.keysAt) >= time.Second {
		k.keys, err = k.Secrets()
		k.keysAt = now
	}
	return k.keys, err
}

// settle does what follows from a request.
func (k *hook) settle(r result, now time.Time) {
	k.flying--
	k.dirty = true
	for _, i := range r.items {
		i.flying = false
	}
	k.state.LastAt, k.state.LastError = now, ""
	switch {
	case r.status == http.StatusGone:
		k.state.Ended = true
		k.state.LastError = "410: the receiver wants no more"
		k.owner.opt.Log.Error("the receiver of a webhook wants no more events (410): nothing is sent until `dawk webhook enable`", "webhook", k.Name)
	case r.err == nil && r.status/100 == 2:
		k.taken(r.items)
	default:
		k.failing++
		k.state.LastError = fmt.Sprintf("HTTP status %d", r.status)
		if r.err != nil {
			k.state.LastError = relay.Sanitize(r.err.Error())
		}
		k.owner.opt.Log.Warn("a webhook did not take events; they are tried again", "webhook", k.Name, "events", len(r.items), "tries", r.items[0].Tries+1, "reason", k.state.LastError)
		for _, i := range r.items {
			k.later(i, now)
		}
	}
}

func (k *hook) taken(items []*item) {
	k.drop(items...)
	k.state.Delivered += int64(len(items))
	if k.failing > len(k.Retry) { // it was away: what waits long need not wait longer
		for _, i := range k.items {
			i.Due = time.Time{}
		}
	}
	k.failing = 0
}

// later decides on the next try of an event.
func (k *hook) later(i *item, now time.Time) {
	wait := k.Retry[min(i.Tries, len(k.Retry)-1)]
	if i.Tries++; i.First.IsZero() {
		i.First = now
	}
	i.Due = now.Add(wait + time.Duration(rand.Int64N(int64(wait/10)+1)))
	if i.Due.Sub(i.First) > GiveUp {
		k.giveUp(i, k.state.LastError)
		k.drop(i)
	}
}

// giveUp makes i a dead letter: `dawk webhook replay` can still ask for it.
func (k *hook) giveUp(i *item, why string) {
	k.state.Failed++
	k.dirty = true
	k.owner.opt.Log.Error("an event is given up for a webhook; `dawk webhook replay` sends it again", "webhook", k.Name,
		"event", i.event.ID, "qid", i.event.Event.ID, "tries", i.Tries, "reason", why)
}

func (k *hook) drop(items ...*item) {
	for _, i := range items {
		k.bytes -= i.size
		i.dropped = true
	}
	from, _ := slices.BinarySearchFunc(k.items, items[0].Number, func(i *item, n uint64) int { return cmp.Compare(i.Number, n) })
	if len(items) == 1 {
		k.items = slices.Delete(k.items, from, from+1)
		return
	}
	k.items = slices.DeleteFunc(k.items, func(i *item) bool { return i.dropped })
}

func (k *hook) status() Status {
	s := Status{Name: k.Name, URL: shown(k.URL), State: Active, Pending: len(k.items) + k.ahead, Failed: k.state.Failed, Delivered: k.state.Delivered,
		LastError: k.state.LastError, LastAt: k.state.LastAt}
	if k.state.Ended {
		s.State = Ended
	}
	for _, i := range k.items {
		if i.Tries > 0 && (s.Next.IsZero() || i.Due.Before(s.Next)) {
			s.Next = i.Due
		}
		if i.Tries > 0 && s.Oldest.IsZero() {
			s.Oldest = i.event.Time
		}
	}
	return s
}
