package suppression

import (
	"context"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/replies"
)

// mostWaiting bounds the events that wait to be looked at.
const mostWaiting = 65536

// Observe implements relay.Observer. Only answers at RCPT, verified bounces and
// complaints count; what came of the relay's own mail does not.
func (l *List) Observe(e relay.Event) {
	cfg := l.cfg.Load()
	if cfg == nil || e.Identity == own {
		return
	}
	switch e.Kind {
	case relay.EventRelayed, relay.EventDelivered:
		l.guard.good(providerOf(&e), e.Recipient.String())
		if !l.known(scoped(cfg, e.Identity), e.Recipient.String()) {
			return
		}
	case relay.EventFailed:
		if e.Reply.Stage != relay.StageRcpt || e.Reply.Code/100 != 5 || e.Reason != string(replies.BadAddress) {
			return
		}
		l.guard.failed(providerOf(&e), e.Recipient.String(), e.Time)
	case relay.EventBounced:
		if e.Reason != string(replies.BadAddress) {
			return
		}
	case relay.EventComplained:
	default:
		return
	}
	l.wait.Lock()
	defer l.wait.Unlock()
	if len(l.todo) >= mostWaiting {
		return // the disk is far behind
	}
	l.todo = append(l.todo, e)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// providerOf is whose failures an event is counted with.
func providerOf(e *relay.Event) string {
	if e.Provider != "" {
		return e.Provider
	}
	return e.Destination
}

func scoped(cfg *Config, identity string) string {
	if cfg.Scope == ScopeAll {
		return ""
	}
	return identity
}

// known says whether anything is noted of an address.
func (l *List) known(identity, address string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.file != nil && l.file.has(identity, address)
}

// saveEvery is how often what the safeguard knows is written.
const saveEvery = 10 * time.Minute

// Run writes what was observed until ctx ends.
func (l *List) Run(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.wake:
			_ = l.Settled() // it is logged
		case <-tick.C:
			if l.cfg.Load() != nil {
				l.guard.save(guardPath(l.dir), l.log)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Settled puts what was observed on the list, and returns when it is there.
func (l *List) Settled() error {
	l.working.Lock()
	defer l.working.Unlock()
	for {
		l.wait.Lock()
		events := l.todo
		l.todo = nil
		l.wait.Unlock()
		if len(events) == 0 {
			return nil
		}
		if err := l.learn(events); err != nil {
			l.log.Error("the suppression list could not be written; mail is not affected", "err", err)
			return err
		}
	}
}

func (l *List) learn(events []relay.Event) error {
	cfg := l.cfg.Load()
	l.writing.Lock()
	defer l.writing.Unlock()
	if cfg == nil || l.file == nil {
		return nil
	}
	var batch []record
	at := map[string]int{} // what is in batch, which the file does not have yet
	sync := false
	put := func(r record) {
		k := key(r.identity, r.address)
		if i, ok := at[k]; ok {
			batch[i] = r
			return
		}
		at[k] = len(batch)
		batch = append(batch, r)
	}
	for i := range events {
		e := &events[i]
		// Nobody tells of these a second time.
		sync = sync || e.Kind == relay.EventBounced || e.Kind == relay.EventComplained
		identity, address := scoped(cfg, e.Identity), e.Recipient.String()
		old, ok := record{identity: identity, address: address}, false
		if j, in := at[key(identity, address)]; in {
			old, ok = batch[j], !batch[j].removed
		} else if r, found := l.file.get(identity, address); found {
			old, ok = r, true
		}
		next, change := l.next(cfg, old, ok, e)
		if change {
			put(next)
		}
		for _, k := range l.guard.withdrawn() {
			identity, address, _ := strings.Cut(k, "\x00")
			l.log.Warn("taken off the suppression list again: the provider refuses many recipients that it took before", "rcpt", address, "identity", identity)
			put(record{identity: identity, address: address, removed: true})
		}
	}
	return l.write(batch, sync)
}

// next is what follows from an event for what is noted of its recipient. The caller
// holds l.writing.
func (l *List) next(cfg *Config, r record, known bool, e *relay.Event) (_ record, change bool) {
	now := l.now()
	listed := known && r.listed(now.Unix())
	if known && !listed && r.since != 0 { // its time is up: it begins anew
		r = record{identity: r.identity, address: r.address}
	}
	enter := func(reason string) (record, bool) {
		r.since, r.expires, r.reason, r.id, r.removed = now.Unix(), now.Add(cfg.Expires).Unix(), reason, e.ID, false
		l.log.Info("put on the suppression list", "rcpt", r.address, "identity", r.identity, "reason", reason, "qid", e.ID.String())
		return r, true
	}
	switch e.Kind {
	case relay.EventRelayed, relay.EventDelivered:
		if listed || !known {
			return r, false
		}
		r.removed = true // it exists: earlier failures do not count
		return r, true
	case relay.EventComplained:
		if listed && r.reason == ReasonComplaint {
			return r, false
		}
		return enter(ReasonComplaint)
	}
	provider := providerOf(e)
	if listed || !l.guard.believed(provider, now) {
		return r, false
	}
	if e.Kind == relay.EventBounced {
		return enter(e.Reason)
	}
	if r.strikes > 0 && e.Time.Sub(time.Unix(r.last, 0)) < apart {
		return r, false
	}
	r.strikes, r.last = min(r.strikes+1, 255), e.Time.Unix()
	if r.strikes < cfg.After {
		return r, true
	}
	l.guard.entered(provider, key(r.identity, r.address), now)
	return enter(e.Reason)
}

// write changes the file, and the index with it. The caller holds l.writing.
func (l *List) write(batch []record, sync bool) error {
	if len(batch) == 0 {
		return nil
	}
	places, err := l.file.append(batch, sync)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.file.put(batch, places)
	l.mu.Unlock()
	if !l.file.wasteful() {
		return nil
	}
	return l.compact(nil)
}

// compact writes the file anew with what is in force and with more. Look-ups go on
// meanwhile. The caller holds l.writing.
func (l *List) compact(more []record) error {
	next, err := l.file.rewritten(more, l.now().Unix())
	if err != nil {
		return err
	}
	l.mu.Lock()
	old := l.file
	l.file = next
	l.mu.Unlock()
	return old.close()
}
