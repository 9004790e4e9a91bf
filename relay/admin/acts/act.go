package acts

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/operator"
	"dawk/relay/admin/queued"
	"dawk/relay/filter"
)

// actors is how many acts are under way at once. Each waits for a commit, and
// commits are shared: one after the other a million would take hours.
const actors = 256

// together does something to each of a batch at the same time: who waits for a commit shares it.
func together[T any](batch []T, do func(*T)) {
	var group sync.WaitGroup
	for i := range batch {
		group.Go(func() { do(&batch[i]) })
	}
	group.Wait()
}

// act does a verb to every Delivery that a filter picks.
func (a *Actor) act(w http.ResponseWriter, r *http.Request) {
	var req Request
	if err := api.Read(w, r, &req); err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	switch req.Verb {
	case verbUndo:
		a.undo(w, r, req)
		return
	case verbConfirm:
		a.confirm(w, r, req)
		return
	}
	filter, err := req.check()
	if err == nil && req.Verb == relay.VerbReroute {
		err = a.checkRoute(req.Route)
	}
	if err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	end := queued.End{Now: time.Now(), DryRun: req.DryRun}
	who := operator.CallerOf(r.Context()).Name
	if !req.DryRun {
		end.Act = a.nextAct()
		a.Log.Info("operator acts", "who", who, "verb", string(req.Verb), "filter", filter.String(), "act", end.Act)
	}
	out, back := queued.NewLines(w, r), a.keep(who, req, filter, end.Act, end.Now)
	for t := range a.perform(r.Context(), req, filter, end.Now, back) {
		if t.err != nil {
			end.Failed++
			out.Write(queued.Line{Error: t.err.Error()})
			continue
		}
		end.Skipped += t.skipped
		addActed(&end, t)
		for i := range t.acted {
			if !t.gone[i] {
				out.Write(queued.Line{Acted: &t.acted[i]})
			}
			if back != nil && !t.gone[i] && t.acted[i].Error == "" && !t.unkept {
				_ = back.Note(t.done(i, req.Route)) // Close tells
			}
		}
		if t.unkept && len(t.acted) > 0 {
			end.Unkept++
		}
	}
	if back != nil {
		if err := back.Close(); err != nil {
			a.Log.Warn("this act cannot be undone", "act", end.Act, "error", err)
			end.Unkept = end.Messages
		}
	}
	if !req.DryRun {
		count := end.Deliveries
		if ends(req.Verb) {
			count = end.Recipients
		}
		if count+end.Failed > 0 {
			a.record(r, end.Act, req.Verb, req.what(filter), count)
		} else {
			a.forget(end.Act)
			end.Act = ""
		}
	}
	out.Finish(end)
	if !req.DryRun {
		a.Log.Info("operator acted", "who", who, "verb", string(req.Verb), "deliveries", end.Deliveries, "gone", end.Gone, "failed", end.Failed)
	}
}

// ends says whether v ends recipients, and for good.
func ends(v relay.Verb) bool { return v == relay.VerbDelete || v == relay.VerbBounce }

// each says whether v is for recipients, each looked at alone, and not for Deliveries.
func each(v relay.Verb) bool { return ends(v) || v == relay.VerbReroute }

// task is one message to act on, and then what became of it.
type task struct {
	item    *queued.Picked
	acted   []queued.Acted // one for each of item.Deliveries
	gone    []bool         // likewise: it had ended by itself
	unkept  bool           // it could not be kept for undo
	skipped int            // Deliveries that were taken out of item
	err     error          // instead of an item: the store could not be read
}

// addActed counts what was done, and only that.
func addActed(e *queued.End, t *task) {
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
		e.Add(done)
	}
}

// perform walks through the queue and acts on what f picks, several messages
// at a time; the channel closes when all is done. When ctx ends no further act
// begins. Notices written after now are left alone: a bounce makes them, and
// they must not be bounced in their turn. What goes is kept in back before, a batch at
// a time: that many share a sync.
func (a *Actor) perform(ctx context.Context, req Request, f filter.Of[filter.Queued], now time.Time, back *kept.Act) <-chan *task {
	work, done := make(chan *task), make(chan *task)
	var group sync.WaitGroup
	for range actors {
		group.Go(func() {
			for t := range work {
				if t.err == nil {
					a.actOn(ctx, req, t)
				}
				done <- t
			}
		})
	}
	var batch []*task
	hand := func() {
		if back != nil && ends(req.Verb) {
			a.keepMail(back, batch)
		}
		for _, t := range batch {
			work <- t
		}
		batch = batch[:0]
	}
	go func() {
		for item, err := range a.Mail.Pick(ctx, f, each(req.Verb)) {
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

func (a *Actor) actOn(ctx context.Context, req Request, t *task) {
	t.skip(req)
	t.acted = make([]queued.Acted, len(t.item.Deliveries))
	t.gone = make([]bool, len(t.item.Deliveries))
	for i := range t.item.Deliveries {
		t.acted[i] = queued.Describe(&t.item.Message, &t.item.Deliveries[i])
	}
	if req.DryRun || len(t.acted) == 0 {
		return
	}
	id, verb := t.item.Message.ID, req.Verb
	if verb == relay.VerbRetry && req.Now {
		verb = relay.VerbRetryNow
	}
	var err error
	if t.item.Whole && verb != relay.VerbReroute { // with the Deliveries that part from these meanwhile
		err = a.Dispatcher.Act(ctx, id, verb)
	}
	for i := range t.acted {
		var recipients []int
		if t.item.Part[t.acted[i].Job] {
			recipients = t.item.Deliveries[i].Recipients()
		}
		switch {
		case verb == relay.VerbReroute:
			err = a.Dispatcher.Reroute(ctx, id, t.acted[i].Job, recipients, req.Route)
		case !t.item.Whole:
			err = a.Dispatcher.ActOn(ctx, id, t.acted[i].Job, recipients, verb)
		}
		t.acted[i].Pending = errors.Is(err, relay.ErrPending)
		if t.gone[i] = errors.Is(err, relay.ErrNotFound); err != nil && !t.acted[i].Pending {
			t.acted[i].Error = err.Error()
		}
	}
}

// done is what is kept of the act for its undo.
func (t *task) done(i int, route string) kept.Done {
	d := kept.Done{ID: t.acted[i].ID, Job: t.acted[i].Job, Pending: t.acted[i].Pending}
	if route != "" {
		d.Route, d.Was, d.Recipients = route, t.item.Deliveries[i].Route, t.item.Deliveries[i].Recipients()
	}
	return d
}

// skip takes out what the verb means nothing to.
func (t *task) skip(req Request) {
	all := len(t.item.Deliveries)
	t.item.Deliveries = slices.DeleteFunc(t.item.Deliveries, func(d relay.Delivery) bool {
		switch req.Verb {
		case relay.VerbReroute:
			return d.Route == req.Route
		case relay.VerbRetry, relay.VerbHold:
			return d.Held
		case relay.VerbRelease:
			return !d.Held
		}
		return false
	})
	if t.skipped = all - len(t.item.Deliveries); t.skipped > 0 {
		t.item.Whole = false
	}
}
