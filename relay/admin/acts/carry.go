package acts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/bundle"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/operator"
	"dawk/relay/admin/queued"
	"dawk/relay/filter"
)

// carrier puts messages of a bundle into the queue, a batch at a time.
type carrier struct {
	a      *Actor
	dry    bool
	out    *queued.Lines
	end    *queued.End
	name   string                 // of the bundle
	away   time.Duration          // since the bundle was made
	came   map[relay.QueueID]bool // what of it is here already
	batch  []coming
	octets int64                                      // of batch
	before func(context.Context, relay.QueueID) error // what must be done before a message comes; nil: nothing
}

// maxBatch bounds the content of a batch, in octets.
const maxBatch = 8 << 20

// coming is a message on its way into the queue.
type coming struct {
	was   relay.QueueID
	msg   relay.Message
	draft relay.Draft // nil: it is only said what would come
	err   error
}

func (c *carrier) begin(h bundle.Header) (err error) {
	c.name, c.away = h.Name, c.end.Now.Sub(h.At)
	c.came, err = c.a.Kept.Came(h.Name)
	return err
}

func (c *carrier) failed(id relay.QueueID, err error) {
	c.end.Failed++
	c.out.Write(queued.Line{Error: id.String() + ": " + err.Error()})
}

// take is for one message, which comes with its batch: see flush.
func (c *carrier) take(ctx context.Context, m bundle.Message, content io.Reader) (err error) {
	if c.came[m.Message.ID] {
		c.end.Skipped += len(m.Deliveries)
		return nil
	}
	x := coming{was: m.Message.ID, msg: m.Again(c.away)}
	if !c.dry {
		if x.draft, err = c.a.draft(content); endsAll(ctx, err) {
			return err
		} else if err != nil {
			c.failed(x.was, err)
			return nil
		}
		x.msg.ID = x.draft.ID()
		x.msg.Events = eventsOf(&x.msg)
	}
	c.batch, c.octets = append(c.batch, x), c.octets+x.msg.Size
	if len(c.batch) < actors && c.octets < maxBatch {
		return nil
	}
	return c.flush(ctx)
}

// eventsOf are what is told of mail that comes back.
func eventsOf(m *relay.Message) []relay.Event {
	e := m.Accepted(time.Now())
	all := []relay.Event{e}
	for i, b := range m.Begin {
		if b.Held {
			e.Kind, e.Recipient, e.To, e.Count, e.Rule = relay.EventHeld, m.Recipients[i].Path, nil, 0, b.Rule
			all = append(all, e)
		}
	}
	return all
}

// draft is a new one with that content.
func (a *Actor) draft(content io.Reader) (relay.Draft, error) {
	d, err := a.Queue.NewDraft()
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(d, content); err != nil {
		d.Discard()
		return nil, fmt.Errorf("read its content: %w", err)
	}
	return d, nil
}

// endsAll says whether no other message would come after such an error.
func endsAll(ctx context.Context, err error) bool {
	return errors.Is(err, relay.ErrNoSpace) || errors.Is(err, relay.ErrClosed) || err != nil && ctx.Err() != nil
}

// flush puts the batch into the queue, and notes under which IDs its messages are here. Its error
// ends all; one about a single message is told.
func (c *carrier) flush(ctx context.Context) (err error) {
	together(c.batch, func(x *coming) {
		if c.before != nil {
			x.err = c.before(ctx, x.was)
		}
		switch {
		case x.draft == nil:
		case x.err != nil:
			x.draft.Discard()
		default:
			x.err = c.a.Queue.Enqueue(ctx, x.draft, &x.msg)
		}
	})
	var moves []kept.Move
	for i := range c.batch {
		switch x := &c.batch[i]; {
		case endsAll(ctx, x.err):
			err = x.err
		case x.err != nil:
			c.failed(x.was, x.err)
		default:
			c.tell(x)
			moves = append(moves, kept.Move{Bundle: c.name, Old: x.was, New: x.msg.ID})
		}
	}
	c.batch, c.octets = c.batch[:0], 0
	if c.dry || len(moves) == 0 {
		return err
	}
	if failed := c.a.Kept.Moved(moves...); failed != nil {
		return errors.Join(err, fmt.Errorf("note which messages have come: %w", failed))
	}
	return err
}

func (c *carrier) tell(x *coming) {
	acted := queued.Acted{ID: x.msg.ID, From: x.msg.From, Was: x.was, To: []relay.Path{}}
	for _, r := range x.msg.Recipients {
		acted.To = append(acted.To, r.Path)
	}
	c.out.Write(queued.Line{Acted: &acted})
	c.end.Messages++
	c.end.Deliveries++
	c.end.Recipients += len(x.msg.Recipients)
	c.end.Bytes += x.msg.Size
}

// ExportRequest is the body of POST /v1/queue/export.
type ExportRequest struct {
	Filter string `json:"filter"`
	All    bool   `json:"all"` // an empty filter is meant
}

// ExportAct is the header with the number of the act.
const ExportAct = "Dawk-Act"

// export holds what a filter picks and writes it out as a bundle. What is being
// attempted is left out, since it may be delivered: its hold comes when that has ended.
func (a *Actor) export(w http.ResponseWriter, r *http.Request) {
	var req ExportRequest
	picks, err := filter.Of[filter.Queued]{}, api.Read(w, r, &req)
	if err == nil {
		picks, err = Request{Verb: relay.VerbHold, Filter: req.Filter, All: req.All}.check()
	}
	if err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	now, act := time.Now(), a.nextAct()
	list, err := a.Kept.Begin(act, operator.CallerOf(r.Context()).Name, string(verbExport), picks.String(), false, now)
	if err != nil {
		api.Fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Trailer", api.Fault)
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set(ExportAct, act)
	out, err := bundle.NewWriter(w, a.Kept.Header(act, now))
	count, left := 0, 0
	if err == nil {
		count, left, err = a.exportTo(r.Context(), out, list, picks)
	}
	if err == nil {
		err = out.Close()
	}
	if err == nil && left > 0 {
		err = fmt.Errorf("%d deliveries are being attempted and were left out; they are held when that ends: export them then", left)
	}
	err = errors.Join(err, list.Close())
	a.record(r, act, verbExport, picks.String(), count)
	if err != nil {
		w.Header().Set(api.Fault, relay.Sanitize(err.Error()))
	}
}

func (a *Actor) exportTo(ctx context.Context, out *bundle.Writer, list *kept.Act, f filter.Of[filter.Queued]) (count, left int, err error) {
	var batch []leaving
	flush := func() error {
		together(batch, func(x *leaving) { x.err = a.holdFor(ctx, x) })
		for i := range batch {
			x := &batch[i]
			if err := errors.Join(x.err, a.write(out, list, x)); err != nil {
				return err
			}
			count, left = count+len(x.out.Deliveries), left+x.left
		}
		batch = batch[:0]
		return nil
	}
	for p, err := range a.Mail.Pick(ctx, f, false) {
		if err != nil {
			return count, left, fmt.Errorf("read the queue: %w", err)
		}
		if batch = append(batch, leaving{all: bundle.Of(&p.Item)}); len(batch) < actors {
			continue
		}
		if err := flush(); err != nil {
			return count, left, err
		}
	}
	return count, left, flush()
}

// leaving is a message that an export writes.
type leaving struct {
	all, out bundle.Message // what the filter picked, and what of it is on hold for the export
	left     int            // Deliveries that are being attempted
	err      error
}

// holdFor holds what an export is to write.
func (a *Actor) holdFor(ctx context.Context, x *leaving) error {
	x.out.Message = x.all.Message
	for _, d := range x.all.Deliveries {
		if !d.Held {
			err := a.Dispatcher.ActOn(ctx, x.all.Message.ID, d.Job, nil, relay.VerbHold)
			switch {
			case errors.Is(err, relay.ErrPending):
				x.left++
				continue
			case errors.Is(err, relay.ErrNotFound):
				continue
			case err != nil:
				return err
			}
		}
		x.out.Deliveries = append(x.out.Deliveries, d)
	}
	return nil
}

// write notes what is on hold for an export and writes it, also after an error of holdFor.
func (a *Actor) write(out *bundle.Writer, list *kept.Act, x *leaving) error {
	id := x.all.Message.ID
	for _, d := range x.out.Deliveries {
		if err := list.Note(kept.Done{ID: id, Job: d.Job}); err != nil {
			return err
		}
	}
	if len(x.out.Deliveries) == 0 {
		return nil
	}
	content, err := a.Queue.Content(id)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	return errors.Join(out.Add(x.out, content), content.Close())
}

// mayExport says whether the caller has the role that an export needs: what ends one
// needs it too. It has answered when that is not so.
func mayExport(w http.ResponseWriter, r *http.Request) bool {
	caller := operator.CallerOf(r.Context())
	if caller.Role >= operator.Admin {
		return true
	}
	api.Fail(w, http.StatusForbidden, fmt.Errorf("an export needs the role %s, and so does what ends it; %s has the role %s", operator.Admin, caller.Name, caller.Role))
	return false
}

// confirm deletes what an export wrote, as far as it is still on hold.
func (a *Actor) confirm(w http.ResponseWriter, r *http.Request, req Request) {
	if a.Kept == nil {
		api.Fail(w, http.StatusNotImplemented, api.ErrNotOffered)
		return
	}
	if !mayExport(w, r) {
		return
	}
	list, _, err := a.Kept.List(req.Act)
	if h, none := a.Kept.Head(req.Act); err == nil && (none != nil || h.Name != req.Bundle) {
		err = fmt.Errorf("there is no export %s here that waits to be confirmed", relay.Clip(req.Act))
	}
	if err != nil {
		api.Fail(w, http.StatusNotFound, err)
		return
	}
	end, out := queued.End{Now: time.Now(), DryRun: req.DryRun}, queued.NewLines(w, r)
	a.follow(r.Context(), list, relay.VerbDelete, out, &end)
	if !req.DryRun {
		end.Act = a.nextAct()
		a.record(r, end.Act, verbConfirm, "act "+req.Act, end.Deliveries)
		if end.Failed == 0 {
			a.forget(req.Act)
		}
	}
	out.Finish(end)
}

// importBundle puts the messages of a bundle into the queue. Those that came from the
// same bundle before are passed over.
func (a *Actor) importBundle(w http.ResponseWriter, r *http.Request) {
	end := queued.End{Now: time.Now(), DryRun: r.URL.Query().Get("dry_run") == "true"}
	out := queued.NewLines(w, r)
	_ = http.NewResponseController(w).EnableFullDuplex() // it answers while it reads
	c := carrier{a: a, dry: end.DryRun, out: out, end: &end}
	err := bundle.Read(r.Body, c.begin, func(m bundle.Message, content io.Reader) error { return c.take(r.Context(), m, content) })
	if err = errors.Join(err, c.flush(r.Context())); err != nil {
		end.Failed++
		out.Write(queued.Line{Error: err.Error()})
	}
	if !end.DryRun {
		end.Act = a.nextAct()
		a.record(r, end.Act, verbImport, c.name, end.Deliveries)
	}
	out.Finish(end)
}
