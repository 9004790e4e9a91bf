package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/bundle"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/operator"
)

// Verbs of the API that are none of the dispatcher's.
const (
	verbUndo    relay.Verb = "undo"    // of an act: ActRequest.Act
	verbConfirm relay.Verb = "confirm" // of an export: what it wrote goes
	verbExport  relay.Verb = "export"
	verbImport  relay.Verb = "import"
)

// record writes the audit log.
func (h *handler) record(r *http.Request, act string, verb relay.Verb, filter string, count int) {
	if h.Audit == nil {
		return
	}
	err := h.Audit.Append(audit.Record{Time: time.Now(), Who: operator.CallerOf(r.Context()).Name, Verb: string(verb), Filter: filter, Count: count, Act: act})
	if err != nil {
		h.Log.Error("an act is not in the audit log", "act", act, "verb", string(verb), "error", err)
	}
}

// nextAct is the number of a new act; "": nobody counts them.
func (h *handler) nextAct() string {
	if h.Audit == nil {
		return ""
	}
	return h.Audit.Next()
}

// keep begins to keep what an act is done to; nil: it cannot be undone.
func (h *handler) keep(req ActRequest, act string, now time.Time) *kept.Act {
	if h.Kept == nil || req.DryRun || req.Purge || req.Verb == relay.VerbRetry {
		return nil
	}
	a, err := h.Kept.Begin(act, ends(req.Verb), now)
	if err != nil {
		h.Log.Warn("this act cannot be undone", "act", act, "error", err)
		return nil
	}
	return a
}

// forget drops what an act left behind: it was undone, or did nothing.
func (h *handler) forget(act string) {
	if h.Kept == nil {
		return
	}
	if err := h.Kept.Forget(act); err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.Log.Warn("what an act left behind stays", "act", act, "error", err)
	}
}

// keepMail keeps the messages of tasks before they go, and waits until they are on
// stable storage. What cannot be kept goes all the same, and is counted.
func (h *handler) keepMail(a *kept.Act, tasks []*task) {
	for _, t := range tasks {
		if t.err != nil {
			continue
		}
		content, err := h.Queue.Content(t.item.Message.ID)
		if err == nil {
			err = errors.Join(a.Add(bundle.Of(&t.item.Item), content), content.Close())
		}
		t.unkept = err != nil
	}
	if err := a.Sync(); err != nil {
		h.Log.Warn("mail that is deleted cannot be kept for undo", "error", err)
		for _, t := range tasks {
			t.unkept = true
		}
	}
}

// undoable are the verbs that can be undone, and whether their mail has gone.
var undoable = map[relay.Verb]bool{relay.VerbDelete: true, relay.VerbBounce: true, relay.VerbHold: false, relay.VerbRelease: false, verbExport: false}

// find is the act to undo; "": the last that can be.
func (h *handler) find(act string) (audit.Record, error) {
	if h.Audit == nil || h.Kept == nil {
		return audit.Record{}, errNotOffered
	}
	all, err := h.Audit.Read(audit.Query{})
	if err != nil {
		return audit.Record{}, err
	}
	for _, r := range slices.Backward(all) {
		gone, can := undoable[relay.Verb(r.Verb)]
		switch {
		case act != "" && r.Act != act:
			continue
		case can && h.Kept.Has(r.Act, gone):
			return r, nil
		case act == "":
			continue
		case !can:
			return r, fmt.Errorf("act %s is %s, which cannot be undone", act, r.Verb)
		}
		return r, fmt.Errorf("act %s (%s) cannot be undone: it was undone already, or is too long ago (mail is kept for 24 hours, and goes first when room is short)", act, r.Verb)
	}
	if act == "" {
		return audit.Record{}, errors.New("no act can be undone; dawk audit lists them")
	}
	return audit.Record{}, fmt.Errorf("there is no act %s; dawk audit lists them", relay.Clip(act))
}

// undo takes back an act.
func (h *handler) undo(w http.ResponseWriter, r *http.Request, req ActRequest) {
	rec, err := h.find(req.Act)
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	end := End{Now: time.Now(), DryRun: req.DryRun, Undone: rec.Act}
	out := newLines(w, r)
	if undoable[relay.Verb(rec.Verb)] {
		err = h.bringBack(r.Context(), rec, req.DryRun, out, &end)
	} else {
		err = h.reverse(r.Context(), rec, req.DryRun, out, &end)
	}
	if err != nil {
		end.Failed++
		out.write(Line{Error: err.Error()})
	}
	if !req.DryRun {
		end.Act = h.nextAct()
		h.record(r, end.Act, verbUndo, "act "+rec.Act+": "+rec.Verb+" "+rec.Filter, end.Deliveries)
		if end.Failed == 0 {
			h.forget(rec.Act)
		}
	}
	out.finish(end)
}

// one is what an act was done to; relay.ErrNotFound: it is in the queue no more.
func (h *handler) one(d kept.Done) (*relay.Item, error) {
	item, err := h.Queue.Item(d.ID)
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
func (h *handler) reverse(ctx context.Context, rec audit.Record, dry bool, out *lines, end *End) error {
	verb := relay.VerbRelease
	if relay.Verb(rec.Verb) == relay.VerbRelease {
		verb = relay.VerbHold
	}
	list, err := h.Kept.List(rec.Act)
	if err != nil {
		return err
	}
	for _, d := range list {
		one, err := h.one(d)
		switch {
		case errors.Is(err, relay.ErrNotFound):
			end.Gone++
			continue
		case err != nil:
			return err
		case one.Deliveries[0].Held != (verb == relay.VerbRelease):
			end.Skipped++
			continue
		}
		acted := describe(&one.Message, &one.Deliveries[0])
		if !dry {
			switch err := h.Dispatcher.ActOn(ctx, d.ID, d.Job, nil, verb); {
			case errors.Is(err, relay.ErrPending):
				acted.Pending = true
				end.Pending++
			case err != nil:
				acted.Error = err.Error()
			}
		}
		if acted.Error != "" {
			end.Failed++
		} else {
			end.add(one)
		}
		out.write(Line{Acted: &acted})
	}
	return nil
}

// bringBack puts mail of an act into the queue again, under new IDs.
func (h *handler) bringBack(ctx context.Context, rec audit.Record, dry bool, out *lines, end *End) error {
	list, err := h.Kept.List(rec.Act)
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
	c := carrier{h: h, dry: dry, out: out, end: end}
	err = h.Kept.Mail(rec.Act, c.begin, func(m bundle.Message, content io.Reader) error {
		var stayed []bundle.Delivery
		for _, d := range m.Deliveries {
			was, ok := done[key{m.Message.ID, d.Job}]
			if !ok {
				continue // it was not done, or it had ended by itself
			}
			if was.Pending {
				d.Open = h.deletedAfter(m.Message, d)
			}
			if len(d.Open) > 0 {
				stayed = append(stayed, d)
			}
		}
		if m.Deliveries = stayed; len(stayed) == 0 {
			end.Gone++
			return nil
		}
		if relay.Verb(rec.Verb) == relay.VerbBounce {
			if err := h.unsend(ctx, m.Message.ID, dry); err != nil {
				c.failed(m, err)
				return nil
			}
		}
		return c.take(ctx, m, content)
	})
	if errors.Is(err, bundle.ErrCut) { // the relay ended in the middle of the act: what is whole has come back
		err = nil
	}
	return err
}

// deletedAfter are the recipients that the act ended when the attempt under way had ended:
// the others were delivered, or are still in the queue.
func (h *handler) deletedAfter(m relay.Message, d bundle.Delivery) (open []int) {
	past, _ := h.History.Get(m.ID)
	for _, i := range d.Open {
		to := m.Recipients[i].Path
		if slices.ContainsFunc(past.Ended, func(e Ended) bool {
			return e.Recipient == to && (e.Action == relay.ActionDeleted || e.Action == relay.ActionFailed && e.Reply.Cause == relay.CauseOperator)
		}) {
			open = append(open, i)
		}
	}
	return open
}

// unsend deletes the notices of a bounce, as long as none of them is on its way.
func (h *handler) unsend(ctx context.Context, id relay.QueueID, dry bool) error {
	past, _ := h.History.Get(id)
	for _, n := range past.Notices {
		if n.Kind == "delayed" {
			continue
		}
		if n.ID.IsZero() {
			return errors.New("its sender is told in a list that is to come")
		}
		item, err := h.Queue.Item(n.ID)
		if errors.Is(err, relay.ErrNotFound) {
			return errors.New("its sender has been told already")
		}
		if err != nil {
			return err
		}
		if dry {
			continue
		}
		if err := h.Dispatcher.Act(ctx, item.Message.ID, relay.VerbDelete); err != nil {
			return fmt.Errorf("its sender is being told: %w", err)
		}
	}
	return nil
}

// AuditRecords are what administrators did.
type AuditRecords struct {
	Records []audit.Record `json:"records"`
}

// auditLog answers GET /v1/audit?filter=.
func (h *handler) auditLog(w http.ResponseWriter, r *http.Request) {
	q, err := audit.ParseQuery(strings.Fields(r.FormValue("filter")), time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	all, err := h.Audit.Read(q)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	answer(w, http.StatusOK, AuditRecords{all})
}
