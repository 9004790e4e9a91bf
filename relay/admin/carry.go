package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"dawk/relay"
	"dawk/relay/admin/bundle"
	"dawk/relay/admin/kept"
)

// carrier puts messages of a bundle into the queue.
type carrier struct {
	h    *handler
	dry  bool
	out  *lines
	end  *End
	name string                 // of the bundle
	came map[relay.QueueID]bool // what of it is here already
}

func (c *carrier) begin(h bundle.Header) (err error) {
	c.name = h.Name
	c.came, err = c.h.Kept.Came(h.Name)
	return err
}

func (c *carrier) failed(m bundle.Message, err error) {
	c.end.Failed++
	c.out.write(Line{Error: m.Message.ID.String() + ": " + err.Error()})
}

// take is for one message. Its error ends all; one about this message is told.
func (c *carrier) take(ctx context.Context, m bundle.Message, content io.Reader) error {
	if c.came[m.Message.ID] {
		c.end.Skipped += len(m.Deliveries)
		return nil
	}
	parts := []relay.Message{}
	for _, held := range []bool{false, true} { // what was on hold stays so, as a message of its own
		if p := m.Part(held); len(p.Recipients) > 0 {
			parts = append(parts, p)
		}
	}
	var whole []byte
	if len(parts) > 1 {
		var err error
		if whole, err = io.ReadAll(content); err != nil {
			return fmt.Errorf("read the content of %s: %w", m.Message.ID, err)
		}
	}
	var ids []relay.QueueID
	for _, p := range parts {
		if whole != nil {
			content = bytes.NewReader(whole)
		}
		id, err := c.enqueue(ctx, p, content)
		if errors.Is(err, relay.ErrNoSpace) || errors.Is(err, relay.ErrClosed) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if err != nil {
			c.failed(m, err)
			return nil
		}
		c.tell(p, id)
		ids = append(ids, id)
	}
	if c.dry {
		return nil
	}
	// Only a message that is here whole counts as come: after a failure in between
	// the part that came may come twice, and none is passed over.
	for _, id := range ids {
		if err := c.h.Kept.Moved(c.name, m.Message.ID, id); err != nil {
			return fmt.Errorf("note that %s is now %s: %w", m.Message.ID, id, err)
		}
	}
	return nil
}

func (c *carrier) tell(m relay.Message, id relay.QueueID) {
	acted := Acted{ID: id, From: m.From, Was: m.ID, To: []relay.Path{}}
	for _, r := range m.Recipients {
		acted.To = append(acted.To, r.Path)
	}
	c.out.write(Line{Acted: &acted})
	c.end.Messages++
	c.end.Deliveries++
	c.end.Recipients += len(m.Recipients)
	c.end.Bytes += m.Size
}

// enqueue gives back the new ID.
func (c *carrier) enqueue(ctx context.Context, m relay.Message, content io.Reader) (relay.QueueID, error) {
	if c.dry {
		return m.ID, nil
	}
	d, err := c.h.Queue.NewDraft()
	if err != nil {
		return relay.QueueID{}, err
	}
	if _, err := io.Copy(d, content); err != nil {
		d.Discard()
		return relay.QueueID{}, fmt.Errorf("read its content: %w", err)
	}
	m.ID = d.ID()
	return m.ID, c.h.Queue.Enqueue(ctx, d, &m)
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
func (h *handler) export(w http.ResponseWriter, r *http.Request) {
	var req ExportRequest
	filter, err := relay.Filter{}, h.read(w, r, &req)
	if err == nil {
		filter, err = ActRequest{Verb: relay.VerbHold, Filter: req.Filter, All: req.All}.check()
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	now, act := time.Now(), h.nextAct()
	list, err := h.Kept.Begin(act, false, now)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Trailer", BackupFault)
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set(ExportAct, act)
	out, err := bundle.NewWriter(w, h.Kept.Header(act, now))
	count, left := 0, 0
	if err == nil {
		count, left, err = h.exportTo(r.Context(), out, list, filter, now)
	}
	if err == nil {
		err = out.Close()
	}
	if err == nil && left > 0 {
		err = fmt.Errorf("%d deliveries are being attempted and were left out; they are held when that ends: export them then", left)
	}
	err = errors.Join(err, list.Close())
	h.record(r, act, verbExport, filter.String(), count)
	if err != nil {
		w.Header().Set(BackupFault, relay.Sanitize(err.Error()))
	}
}

func (h *handler) exportTo(ctx context.Context, out *bundle.Writer, list *kept.Act, filter relay.Filter, now time.Time) (count, left int, err error) {
	for p, err := range h.pick(ctx, filter, false, now) {
		if err != nil {
			return count, left, fmt.Errorf("read the queue: %w", err)
		}
		m := bundle.Message{Message: p.Message}
		for _, b := range bundle.Of(&p.Item).Deliveries {
			if b.Rule == "" {
				err := h.Dispatcher.ActOn(ctx, p.Message.ID, b.Job, nil, relay.VerbHold)
				switch {
				case errors.Is(err, relay.ErrPending):
					left++
					continue
				case errors.Is(err, relay.ErrNotFound):
					continue
				case err != nil:
					return count, left, err
				}
			}
			m.Deliveries = append(m.Deliveries, b)
			if err := list.Note(kept.Done{ID: p.Message.ID, Job: b.Job}); err != nil {
				return count, left, err
			}
		}
		if len(m.Deliveries) == 0 {
			continue
		}
		content, err := h.Queue.Content(p.Message.ID)
		if err != nil {
			return count, left, fmt.Errorf("%s: %w", p.Message.ID, err)
		}
		if err := errors.Join(out.Add(m, content), content.Close()); err != nil {
			return count, left, err
		}
		count += len(m.Deliveries)
	}
	return count, left, nil
}

// confirm deletes what an export wrote, as far as it is still on hold.
func (h *handler) confirm(w http.ResponseWriter, r *http.Request, req ActRequest) {
	if h.Kept == nil {
		fail(w, http.StatusNotImplemented, errNotOffered)
		return
	}
	list, err := h.Kept.List(req.Act)
	if err == nil && !h.Kept.Wrote(req.Act, req.Bundle) {
		err = fmt.Errorf("there is no export %s here that waits to be confirmed", relay.Clip(req.Act))
	}
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	end, out := End{Now: time.Now(), DryRun: req.DryRun}, newLines(w, r)
	for _, d := range list {
		one, err := h.one(d)
		switch {
		case errors.Is(err, relay.ErrNotFound):
			end.Gone++
			continue
		case err != nil:
			end.Failed++
			out.write(Line{Error: d.ID.String() + ": " + err.Error()})
			continue
		case !one.Deliveries[0].Held:
			end.Skipped++
			continue
		}
		acted := describe(&one.Message, &one.Deliveries[0])
		if !req.DryRun {
			if err := h.Dispatcher.ActOn(r.Context(), d.ID, d.Job, nil, relay.VerbDelete); err != nil {
				acted.Error = err.Error()
				end.Failed++
			}
		}
		if acted.Error == "" {
			end.add(one)
		}
		out.write(Line{Acted: &acted})
	}
	if !req.DryRun {
		end.Act = h.nextAct()
		h.record(r, end.Act, verbConfirm, "act "+req.Act, end.Deliveries)
		if end.Failed == 0 {
			h.forget(req.Act)
		}
	}
	out.finish(end)
}

// importBundle puts the messages of a bundle into the queue. Those that came from the
// same bundle before are passed over.
func (h *handler) importBundle(w http.ResponseWriter, r *http.Request) {
	end := End{Now: time.Now()}
	out := newLines(w, r)
	_ = http.NewResponseController(w).EnableFullDuplex() // it answers while it reads
	c := carrier{h: h, out: out, end: &end}
	err := bundle.Read(r.Body, c.begin, func(m bundle.Message, content io.Reader) error { return c.take(r.Context(), m, content) })
	if err != nil {
		end.Failed++
		out.write(Line{Error: err.Error()})
	}
	end.Act = h.nextAct()
	h.record(r, end.Act, verbImport, c.name, end.Deliveries)
	out.finish(end)
}
