package acts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/bundle"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/past"
	"dawk/relay/admin/queued"
)

// Verbs of the API that are none of the dispatcher's.
const (
	verbUndo    relay.Verb = "undo"    // of an act: Request.Act
	verbConfirm relay.Verb = "confirm" // of an export: what it wrote goes
	verbExport  relay.Verb = "export"
	verbImport  relay.Verb = "import"
)

// undoable are the verbs that can be undone, and whether their mail has gone.
var undoable = map[relay.Verb]bool{relay.VerbDelete: true, relay.VerbBounce: true, relay.VerbHold: false, relay.VerbRelease: false, relay.VerbReroute: false, verbExport: false}

// find is the act to undo; "": the last that can be.
func (a *Actor) find(act string) (h kept.Head, err error) {
	if a.Audit == nil || a.Kept == nil {
		return h, api.ErrNotOffered
	}
	if act != "" {
		if h, err = a.Kept.Head(act); err != nil || !a.canUndo(h) {
			return h, a.whyNot(act)
		}
		return h, nil
	}
	all, err := a.Kept.Acts()
	if err != nil {
		return h, err
	}
	for _, n := range all {
		if h, err := a.Kept.Head(n); err == nil && a.canUndo(h) {
			return h, nil
		}
	}
	return h, errors.New("no act can be undone; dawk audit lists them")
}

func (a *Actor) canUndo(h kept.Head) bool {
	gone, can := undoable[relay.Verb(h.Verb)]
	return can && a.Kept.Has(h.Act, gone)
}

// whyNot says why an act cannot be undone.
func (a *Actor) whyNot(act string) error {
	q, err := audit.Terms.Args([]string{"act=" + act}, time.Now())
	if err != nil {
		return err
	}
	all, err := a.Audit.Read(q)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		r := all[0]
		if _, can := undoable[relay.Verb(r.Verb)]; !can {
			return fmt.Errorf("act %s is %s, which cannot be undone", r.Act, r.Verb)
		}
		return fmt.Errorf("act %s (%s) cannot be undone: it was undone already, or is too long ago (mail is kept for 24 hours, and goes first when room is short)", r.Act, r.Verb)
	}
	return fmt.Errorf("there is no act %s; dawk audit lists them", relay.Clip(act))
}

// undo takes back an act.
func (a *Actor) undo(w http.ResponseWriter, r *http.Request, req Request) {
	rec, err := a.find(req.Act)
	if err != nil {
		api.Fail(w, http.StatusNotFound, err)
		return
	}
	if relay.Verb(rec.Verb) == verbExport && !mayExport(w, r) {
		return
	}
	end := queued.End{Now: time.Now(), DryRun: req.DryRun, Undone: rec.Act}
	out := queued.NewLines(w, r)
	switch {
	case relay.Verb(rec.Verb) == relay.VerbReroute:
		err = a.routeBack(r.Context(), rec, out, &end)
	case undoable[relay.Verb(rec.Verb)]:
		err = a.bringBack(r.Context(), rec, req.DryRun, out, &end)
	default:
		err = a.reverse(r.Context(), rec, out, &end)
	}
	if err != nil {
		end.Failed++
		out.Write(queued.Line{Error: err.Error()})
	}
	if !req.DryRun {
		end.Act = a.nextAct()
		a.record(r, end.Act, verbUndo, "act "+rec.Act+": "+rec.Verb+" "+rec.Filter, end.Deliveries)
		if end.Failed == 0 {
			a.forget(rec.Act)
		}
	}
	out.Finish(end)
}

// one is what an act was done to; relay.ErrNotFound: it is in the queue no more.
func (a *Actor) one(d kept.Done) (*relay.Item, error) {
	item, err := a.Queue.Item(d.ID)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(item.Deliveries, func(have relay.Delivery) bool { return have.Job == d.Job })
	if i < 0 {
		return nil, relay.ErrNotFound
	}
	return &relay.Item{Message: item.Message, Deliveries: item.Deliveries[i : i+1]}, nil
}

// reverse does the opposite to what is still in the queue.
func (a *Actor) reverse(ctx context.Context, rec kept.Head, out *queued.Lines, end *queued.End) error {
	verb := relay.VerbRelease
	if relay.Verb(rec.Verb) == relay.VerbRelease {
		verb = relay.VerbHold
	}
	list, _, err := a.Kept.List(rec.Act)
	if err == nil {
		a.follow(ctx, list, verb, out, end)
	}
	return err
}

// followed is what an act was done to, and is done to by another now.
type followed struct {
	kept.Done
	one     *relay.Item
	skipped bool
	err     error
}

// follow does a verb to what an act was done to, as far as it is still in the queue and still as
// the act left it: on hold or, for relay.VerbHold, not.
func (a *Actor) follow(ctx context.Context, list []kept.Done, verb relay.Verb, out *queued.Lines, end *queued.End) {
	for chunk := range slices.Chunk(list, actors) {
		all := make([]followed, len(chunk))
		for i, d := range chunk {
			all[i].Done = d
		}
		together(all, func(x *followed) {
			if x.one, x.err = a.one(x.Done); x.err != nil {
				return
			}
			// Pending: this comes behind it.
			if x.skipped = !x.Pending && x.one.Deliveries[0].Held != (verb != relay.VerbHold); !x.skipped && !end.DryRun {
				x.err = a.Dispatcher.ActOn(ctx, x.ID, x.Job, nil, verb)
			}
		})
		for i := range all {
			switch x := &all[i]; {
			case x.skipped:
				end.Skipped++
			case errors.Is(x.err, relay.ErrNotFound):
				end.Gone++
			case x.one == nil:
				end.Failed++
				out.Write(queued.Line{Error: x.ID.String() + ": " + x.err.Error()})
			default:
				tellReversed(x.one, x.err, out, end)
			}
		}
	}
}

// routeBack sends what is still in the queue by the route that it had before.
func (a *Actor) routeBack(ctx context.Context, rec kept.Head, out *queued.Lines, end *queued.End) error {
	list, _, err := a.Kept.List(rec.Act)
	if err != nil {
		return err
	}
	type back struct {
		kept.Done
		parts []followed
		err   error
	}
	for chunk := range slices.Chunk(list, actors) {
		all := make([]back, len(chunk))
		for i, d := range chunk {
			all[i].Done = d
		}
		together(all, func(x *back) { x.parts, x.err = a.routeOneBack(ctx, x.Done, end.DryRun) })
		for _, x := range all {
			switch {
			case errors.Is(x.err, relay.ErrNotFound):
				end.Gone++
			case x.err != nil:
				return x.err
			}
			for _, p := range x.parts {
				tellReversed(p.one, p.err, out, end)
			}
		}
	}
	return nil
}

// routeOneBack is routeBack for one Delivery and those that have parted from it.
func (a *Actor) routeOneBack(ctx context.Context, d kept.Done, dry bool) (parts []followed, err error) {
	item, err := a.Queue.Item(d.ID)
	if err != nil {
		return nil, err
	}
	for _, now := range item.Deliveries {
		all := len(now.Open)
		now.Open = slices.DeleteFunc(now.Open, func(o relay.Open) bool { return !slices.Contains(d.Recipients, o.Recipient) })
		if len(now.Open) == 0 || now.Route != d.Route && !(d.Pending && now.Route == d.Was) { // pending: this comes behind it
			continue
		}
		var recipients []int
		if len(now.Open) < all {
			recipients = now.Recipients()
		}
		p := followed{one: &relay.Item{Message: item.Message, Deliveries: []relay.Delivery{now}}}
		if !dry {
			p.err = a.Dispatcher.Reroute(ctx, d.ID, now.Job, recipients, d.Was)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// tellReversed tells of one Delivery that an undo has tried to set back.
func tellReversed(one *relay.Item, err error, out *queued.Lines, end *queued.End) {
	acted := queued.Describe(&one.Message, &one.Deliveries[0])
	switch {
	case errors.Is(err, relay.ErrPending):
		acted.Pending = true
		end.Pending++
	case err != nil:
		acted.Error = err.Error()
	}
	if acted.Error != "" {
		end.Failed++
	} else {
		end.Add(one)
	}
	out.Write(queued.Line{Acted: &acted})
}

// bringBack puts mail of an act into the queue again, under new IDs.
func (a *Actor) bringBack(ctx context.Context, rec kept.Head, dry bool, out *queued.Lines, end *queued.End) error {
	list, ended, err := a.Kept.List(rec.Act)
	if err != nil {
		return err
	}
	type key struct {
		id  relay.QueueID
		job uint16
	}
	done := map[key]kept.Done{}
	for _, d := range list {
		done[key{d.ID, d.Job}] = d
	}
	c := carrier{a: a, dry: dry, out: out, end: end}
	if relay.Verb(rec.Verb) == relay.VerbBounce {
		t, done, err := a.told(ctx, rec.At, dry)
		if err != nil {
			return fmt.Errorf("find out what senders were told: %w", err)
		}
		defer done()
		c.before = t.unsend
	}
	err = a.Kept.Mail(rec.Act, c.begin, func(m bundle.Message, content io.Reader) error {
		var stayed []relay.Delivery
		for _, d := range m.Deliveries {
			was, ok := done[key{m.Message.ID, d.Job}]
			switch {
			case !ok && ended:
				continue // it was not done, or it had ended by itself
			case !ok:
				d.Open = a.goneSince(m.Message, d)
			case was.Pending && a.underway(m.Message.ID, d.Job):
				c.failed(m.Message.ID, errors.New("it is being attempted, and goes when that ends: undo the act then"))
				return nil
			case was.Pending:
				d.Open = a.deletedAfter(m.Message, d)
			}
			if len(d.Open) > 0 {
				stayed = append(stayed, d)
			}
		}
		if m.Deliveries = stayed; len(stayed) == 0 {
			end.Gone++
			return nil
		}
		return c.take(ctx, m, content)
	})
	if errors.Is(err, bundle.ErrCut) { // the relay ended in the middle of the act: what is whole has come back
		err = nil
	}
	return errors.Join(err, c.flush(ctx))
}

// goneSince are the recipients that have gone from the queue in an act of which nobody knows
// how far it came, since the relay ended in the middle of it: those that are not here, and
// of which nothing says that they ended otherwise.
func (a *Actor) goneSince(m relay.Message, d relay.Delivery) (open []relay.Open) {
	item, err := a.Queue.Item(m.ID)
	if err != nil && !errors.Is(err, relay.ErrNotFound) {
		return nil
	}
	was, _ := a.History.Get(m.ID)
	for _, o := range d.Open {
		here := item != nil && slices.ContainsFunc(item.Deliveries, func(d relay.Delivery) bool { return slices.Contains(d.Recipients(), o.Recipient) })
		otherwise := slices.ContainsFunc(was.Ended, func(e past.Ended) bool {
			return e.Recipient == m.Recipients[o.Recipient].Path && !byOperator(e)
		})
		if !here && !otherwise {
			open = append(open, o)
		}
	}
	return open
}

// byOperator says whether an act ended the recipient.
func byOperator(e past.Ended) bool {
	return e.Action == relay.ActionDeleted || e.Action == relay.ActionFailed && e.Reply.Cause == relay.CauseOperator
}

// underway says whether a Delivery is being attempted.
func (a *Actor) underway(id relay.QueueID, job uint16) bool {
	return slices.ContainsFunc(a.Dispatcher.Where(id), func(w relay.Where) bool { return w.Job == job && w.State == relay.StateActive })
}

// deletedAfter are the recipients that the act ended when the attempt under way had ended:
// the others were delivered, or are still in the queue.
func (a *Actor) deletedAfter(m relay.Message, d relay.Delivery) (open []relay.Open) {
	was, _ := a.History.Get(m.ID)
	for _, o := range d.Open {
		to := m.Recipients[o.Recipient].Path
		if slices.ContainsFunc(was.Ended, func(e past.Ended) bool {
			return e.Recipient == to && byOperator(e)
		}) {
			open = append(open, o)
		}
	}
	return open
}
