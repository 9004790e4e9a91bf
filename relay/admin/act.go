package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/operator"
)

// actors is how many acts are under way at once. Each waits for a commit, and
// commits are shared: one after the other a million would take hours.
const actors = 256

// act does a verb to every Delivery that a filter picks.
func (h *handler) act(w http.ResponseWriter, r *http.Request) {
	var req ActRequest
	if err := h.read(w, r, &req); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	switch req.Verb {
	case verbUndo:
		h.undo(w, r, req)
		return
	case verbConfirm:
		h.confirm(w, r, req)
		return
	}
	filter, err := req.check()
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	end := End{Now: time.Now(), DryRun: req.DryRun}
	who := operator.CallerOf(r.Context()).Name
	if !req.DryRun {
		end.Act = h.nextAct()
		h.Log.Info("operator acts", "who", who, "verb", string(req.Verb), "filter", filter.String(), "act", end.Act)
	}
	out, back := newLines(w, r), h.keep(req, end.Act, end.Now)
	for t := range h.perform(r.Context(), req, filter, end.Now, back) {
		if t.err != nil {
			end.Failed++
			out.write(Line{Error: t.err.Error()})
			continue
		}
		end.Skipped += t.skipped
		end.addActed(t)
		for i := range t.acted {
			if !t.gone[i] {
				out.write(Line{Acted: &t.acted[i]})
			}
			if back != nil && !t.gone[i] && t.acted[i].Error == "" && !t.unkept {
				_ = back.Note(kept.Done{ID: t.acted[i].ID, Job: t.acted[i].Job, Pending: t.acted[i].Pending}) // Close tells
			}
		}
		if t.unkept && len(t.acted) > 0 {
			end.Unkept++
		}
	}
	if back != nil {
		if err := back.Close(); err != nil {
			h.Log.Warn("this act cannot be undone", "act", end.Act, "error", err)
			end.Unkept = end.Messages
		}
	}
	if !req.DryRun {
		count := end.Deliveries
		if ends(req.Verb) {
			count = end.Recipients
		}
		if count+end.Failed > 0 {
			h.record(r, end.Act, req.Verb, filter.String(), count)
		} else {
			h.forget(end.Act)
			end.Act = ""
		}
	}
	out.finish(end)
	if !req.DryRun {
		h.Log.Info("operator acted", "who", who, "verb", string(req.Verb), "deliveries", end.Deliveries, "gone", end.Gone, "failed", end.Failed)
	}
}

// ends says whether v ends recipients, and for good.
func ends(v relay.Verb) bool { return v == relay.VerbDelete || v == relay.VerbBounce }

func (req ActRequest) check() (relay.Filter, error) {
	filter, err := relay.ParseFilter(req.Filter)
	switch {
	case !slices.Contains(relay.Verbs(), req.Verb):
		return filter, fmt.Errorf("there is no verb %.20q", string(req.Verb))
	case err != nil:
		return filter, err
	case req.Purge && req.Verb != relay.VerbDelete:
		return filter, fmt.Errorf("purge is for delete, not for %s", req.Verb)
	case req.Now && req.Verb != relay.VerbRetry:
		return filter, fmt.Errorf("now is for retry, not for %s", req.Verb)
	case filter.Empty() && !req.All:
		return filter, fmt.Errorf("%s needs to know which messages: give a queue ID or a filter such as to=@example.com, or --all for the whole queue", req.Verb)
	case !filter.Empty() && req.All:
		return filter, fmt.Errorf("--all means the whole queue and does not go with a filter: leave out one of them")
	}
	return filter, nil
}

// task is one message to act on, and then what became of it.
type task struct {
	item    *pickedItem
	acted   []Acted // one for each of item.Deliveries
	gone    []bool  // likewise: it had ended by itself
	unkept  bool    // it could not be kept for undo
	skipped int     // Deliveries that were taken out of item
	err     error   // instead of an item: the store could not be read
}

// addActed counts what was done, and only that.
func (e *End) addActed(t *task) {
	done := &relay.Item{Message: t.item.Message}
	for i, d := range t.item.Deliveries {
		switch {
		case t.gone[i]:
			e.Gone++
		case t.acted[i].Error != "":
			e.Failed++
		default:
			done.Deliveries = append(done.Deliveries, d)
			if t.acted[i].Pending {
				e.Pending++
			}
		}
	}
	if len(done.Deliveries) > 0 {
		e.add(done)
	}
}

// perform walks through the queue and acts on what f picks, several messages
// at a time; the channel closes when all is done. When ctx ends no further act
// begins. Notices written after now are left alone: a bounce makes them, and
// they must not be bounced in their turn. What goes is kept in back before, a batch at
// a time: that many share a sync.
func (h *handler) perform(ctx context.Context, req ActRequest, f relay.Filter, now time.Time, back *kept.Act) <-chan *task {
	work, done := make(chan *task), make(chan *task)
	var group sync.WaitGroup
	for range actors {
		group.Go(func() {
			for t := range work {
				if t.err == nil {
					h.actOn(ctx, req, t)
				}
				done <- t
			}
		})
	}
	var batch []*task
	hand := func() {
		if back != nil && ends(req.Verb) {
			h.keepMail(back, batch)
		}
		for _, t := range batch {
			work <- t
		}
		batch = batch[:0]
	}
	go func() {
		for item, err := range h.pick(ctx, f, ends(req.Verb), now) {
			if err == nil && item.Message.Notice && item.Message.Arrival.After(now) {
				continue
			}
			if batch = append(batch, &task{item: item, err: err}); len(batch) == actors {
				hand()
			}
			if ctx.Err() != nil {
				break
			}
		}
		hand()
		close(work)
		group.Wait()
		close(done)
	}()
	return done
}

func (h *handler) actOn(ctx context.Context, req ActRequest, t *task) {
	t.skip(req.Verb)
	t.acted = make([]Acted, len(t.item.Deliveries))
	t.gone = make([]bool, len(t.item.Deliveries))
	for i := range t.item.Deliveries {
		t.acted[i] = describe(&t.item.Message, &t.item.Deliveries[i])
	}
	if req.DryRun || len(t.acted) == 0 {
		return
	}
	id, verb := t.item.Message.ID, req.Verb
	if verb == relay.VerbRetry && req.Now {
		verb = relay.VerbRetryNow
	}
	var err error
	if t.item.whole { // with the Deliveries that part from these meanwhile
		err = h.Dispatcher.Act(ctx, id, verb)
	}
	for i := range t.acted {
		if !t.item.whole {
			var recipients []int
			if t.item.part[t.acted[i].Job] {
				recipients = t.item.Deliveries[i].Recipients()
			}
			err = h.Dispatcher.ActOn(ctx, id, t.acted[i].Job, recipients, verb)
		}
		t.acted[i].Pending = errors.Is(err, relay.ErrPending)
		if t.gone[i] = errors.Is(err, relay.ErrNotFound); err != nil && !t.acted[i].Pending {
			t.acted[i].Error = err.Error()
		}
	}
}

// skip takes out what verb means nothing to.
func (t *task) skip(verb relay.Verb) {
	all := len(t.item.Deliveries)
	t.item.Deliveries = slices.DeleteFunc(t.item.Deliveries, func(d relay.Delivery) bool {
		switch verb {
		case relay.VerbRetry, relay.VerbHold:
			return d.Held
		case relay.VerbRelease:
			return !d.Held
		}
		return false
	})
	if t.skipped = all - len(t.item.Deliveries); t.skipped > 0 {
		t.item.whole = false
	}
}

func describe(m *relay.Message, d *relay.Delivery) Acted {
	return Acted{ID: m.ID, Job: d.Job, Destination: d.Destination, From: m.From, To: openPaths(m, d)}
}

// openPaths are the recipients of d that have no final outcome, and of these
// those that were picked.
func openPaths(m *relay.Message, d *relay.Delivery) []relay.Path {
	paths := make([]relay.Path, 0, len(d.Open))
	for _, o := range d.Open {
		if o.Recipient >= 0 && o.Recipient < len(m.Recipients) {
			paths = append(paths, m.Recipients[o.Recipient].Path)
		}
	}
	return paths
}
