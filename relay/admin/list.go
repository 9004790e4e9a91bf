package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin/operator"
	"dawk/relay/replies"
)

// list streams the Deliveries that a filter picks.
func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	filter, err := relay.ParseFilter(r.FormValue("filter"))
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	limit, err := limitOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	end := End{Now: time.Now()}
	out := newLines(w, r)
	if out.list != nil && (limit == 0 || limit > maxListed) {
		limit = maxListed
	}
	for item, err := range h.pick(r.Context(), filter, false, end.Now) {
		switch {
		case err != nil && !errors.Is(err, relay.ErrCorrupt):
			out.abort(fmt.Errorf("read the queue: %w", err))
			return
		case err != nil:
			end.Failed++
			out.write(Line{Error: err.Error()})
		case limit > 0 && end.Deliveries+len(item.Deliveries) > limit && end.Messages > 0:
			end.More = true
		default:
			end.add(&item.Item)
			out.write(Line{Item: &item.Item})
		}
		if end.More || out.err != nil {
			break
		}
	}
	out.finish(end)
}

// pickedItem is a message with those of its Deliveries that a filter picked.
type pickedItem struct {
	relay.Item
	whole bool            // all of them, with all that is open in them
	part  map[uint16]bool // by Job: only some of its recipients
}

// pick gives the items that f picks, each with only the Deliveries that it
// picks, and of these with each only the recipients that it picks. A filter of
// IDs is looked up; any other is a walk through the store.
func (h *handler) pick(ctx context.Context, f relay.Filter, each bool, now time.Time) iter.Seq2[*pickedItem, error] {
	all := h.Queue.Items(ctx)
	if ids := f.IDs(); ids != nil {
		all = h.byID(ids)
	}
	return func(yield func(*pickedItem, error) bool) {
		for item, err := range all {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			h.annotate(item)
			p := pickFrom(item, f, each, now)
			if len(p.Deliveries) > 0 && !yield(p, nil) {
				return
			}
		}
	}
}

// annotate adds what the scheduler knows of the Deliveries of a message, which it
// gives: its due time is the true one, also where an operator wants an attempt now.
func (h *handler) annotate(item *relay.Item) []relay.Where {
	all := h.Dispatcher.Where(item.Message.ID)
	for i := range item.Deliveries {
		for j := range item.Deliveries[i].Open {
			if o := &item.Deliveries[i].Open[j]; !o.Last.IsZero() {
				o.Reason = string(replies.Classify(o.Last))
			}
		}
	}
	for _, w := range all {
		for i := range item.Deliveries {
			if d := &item.Deliveries[i]; d.Job == w.Job {
				d.Activity = w.Activity
				d.Provider = h.Dispatcher.Toward(d.Destination).Name
				if d.Held || w.Due.IsZero() {
					continue
				}
				if w.Due.Before(d.Due.Add(-time.Second)) { // it was woken
					d.Rule = ""
				}
				d.Due = w.Due
			}
		}
	}
	return all
}

func pickFrom(item *relay.Item, f relay.Filter, each bool, now time.Time) *pickedItem {
	p := &pickedItem{Item: relay.Item{Message: item.Message}, part: make(map[uint16]bool)}
	for _, d := range item.Deliveries {
		switch {
		case each:
			open, recipients := d.Open, f.Recipients(&item.Message, &d, now)
			d.Open = nil
			for _, o := range open {
				if slices.Contains(recipients, o.Recipient) {
					d.Open = append(d.Open, o)
				}
			}
			if len(d.Open) == 0 {
				continue
			}
			if len(d.Open) < len(open) {
				p.part[d.Job] = true
			}
		case !f.Match(&item.Message, &d, now):
			continue
		}
		p.Deliveries = append(p.Deliveries, d)
	}
	p.whole = len(p.Deliveries) == len(item.Deliveries) && len(p.part) == 0
	return p
}

// item is a message by its ID, or by one that it had before it came back.
func (h *handler) item(id relay.QueueID) (*relay.Item, error) {
	item, err := h.Queue.Item(id)
	if errors.Is(err, relay.ErrNotFound) {
		for _, now := range slices.Backward(h.Kept.Now(id)) {
			if back, err := h.Queue.Item(now); err == nil {
				return back, nil
			}
		}
	}
	return item, err
}

// current is the ID that a message has now.
func (h *handler) current(id relay.QueueID) relay.QueueID {
	if item, err := h.item(id); err == nil {
		return item.Message.ID
	}
	return id
}

// byID looks messages up; those that are gone are left out.
func (h *handler) byID(ids []relay.QueueID) iter.Seq2[*relay.Item, error] {
	return func(yield func(*relay.Item, error) bool) {
		for _, id := range ids {
			item, err := h.Queue.Item(id)
			if errors.Is(err, relay.ErrNotFound) {
				continue
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", id, err)
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

func (e *End) add(item *relay.Item) {
	e.Messages++
	e.Bytes += item.Message.Size
	if e.Oldest.IsZero() || item.Message.Arrival.Before(e.Oldest) {
		e.Oldest = item.Message.Arrival
	}
	for i := range item.Deliveries {
		e.Deliveries++
		e.Recipients += len(item.Deliveries[i].Open)
		if item.Deliveries[i].Held {
			e.Held++
		}
	}
}

func (h *handler) show(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r)
	if !ok {
		return
	}
	item, err := h.item(id)
	if err != nil {
		fail(w, statusOf(err), h.missing(id, err))
		return
	}
	h.annotate(item)
	answer(w, http.StatusOK, item)
}

// missing explains an error of Item or Content to the operator.
func (h *handler) missing(id relay.QueueID, err error) error {
	if !errors.Is(err, relay.ErrNotFound) {
		return fmt.Errorf("read %s: %w", id, err)
	}
	if _, ok := h.History.Get(id); ok {
		return fmt.Errorf("%s is no longer in the queue; dawk why %s tells what became of it", id, id)
	}
	return fmt.Errorf("%s is not in the queue", id)
}

// limitOf reads the parameter limit; 0: none.
func limitOf(r *http.Request) (limit int, err error) {
	if s := r.FormValue("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 0 {
			return 0, fmt.Errorf("limit %.20q is not a number of lines", s)
		}
	}
	return limit, nil
}

func (h *handler) headers(w http.ResponseWriter, r *http.Request) {
	h.octets(w, r, headerSize)
}

func (h *handler) content(w http.ResponseWriter, r *http.Request) {
	h.Log.Info("operator reads a message", "who", operator.CallerOf(r.Context()).Name, "qid", relay.Clip(r.PathValue("id")))
	h.octets(w, r, func(c relay.Content) (int64, error) { return c.Size(), nil })
}

// octets answers with the beginning of a message, as long as size says.
func (h *handler) octets(w http.ResponseWriter, r *http.Request, size func(relay.Content) (int64, error)) {
	id, ok := pathID(w, r)
	if !ok {
		return
	}
	content, err := h.Queue.Content(h.current(id))
	if err != nil {
		fail(w, statusOf(err), h.missing(id, err))
		return
	}
	defer content.Close()
	n, err := size(content)
	if err != nil {
		fail(w, http.StatusInternalServerError, fmt.Errorf("read %s: %w", id, err))
		return
	}
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	if _, err := io.Copy(w, io.NewSectionReader(content, 0, n)); err != nil {
		panic(http.ErrAbortHandler) // the client must not take a part for the whole
	}
}

// headerSize is the length of the header section with the empty line that
// ends it (RFC 5322 §2.1), in octets.
func headerSize(c relay.Content) (int64, error) {
	r := bufio.NewReader(io.NewSectionReader(c, 0, c.Size()))
	var n int64
	whole := true // the last piece began a line
	for {
		line, err := r.ReadSlice('\n')
		n += int64(len(line))
		if err == io.EOF || err == nil && whole && bytes.Equal(line, []byte("\r\n")) {
			return n, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return 0, err
		}
		whole = err == nil
	}
}

// linesMedia is the type of an answer of one Line of JSON each, and the End as the
// last: what clients get who ask for it with Accept. A million Deliveries are never
// in memory at once.
const linesMedia = "application/x-ndjson"

// maxListed bounds what a List holds of items and of acts.
const maxListed = 1000

// lines writes an answer of many lines, or a List.
type lines struct {
	w    http.ResponseWriter
	list *List // nil: lines
	buf  *bufio.Writer
	json *json.Encoder
	any  bool
	err  error // the client went away
}

func newLines(w http.ResponseWriter, r *http.Request) *lines {
	l := &lines{w: w}
	if !strings.Contains(r.Header.Get("Accept"), linesMedia) {
		l.list = &List{}
		return l
	}
	w.Header().Set("Content-Type", linesMedia)
	l.buf = bufio.NewWriterSize(w, 32<<10)
	l.json = json.NewEncoder(l.buf)
	return l
}

func (l *lines) write(line Line) {
	if l.list != nil {
		l.list.add(line)
		return
	}
	l.any = true
	if l.err == nil {
		l.err = l.json.Encode(line)
	}
}

func (l *List) add(line Line) {
	switch {
	case line.Item != nil && len(l.Items) < maxListed:
		l.Items = append(l.Items, line.Item)
	case line.Acted != nil && len(l.Acted) < maxListed:
		l.Acted = append(l.Acted, *line.Acted)
	case line.Error != "" && len(l.Errors) < maxListed:
		l.Errors = append(l.Errors, line.Error)
	}
}

func (l *lines) finish(end End) {
	if l.list != nil {
		l.list.End = end
		answer(l.w, http.StatusOK, l.list)
		return
	}
	l.write(Line{End: &end})
	if l.err == nil {
		l.err = l.buf.Flush()
	}
}

// abort ends an answer that cannot be completed: as an error while nothing was
// sent, else by breaking the connection off.
func (l *lines) abort(err error) {
	if !l.any {
		fail(l.w, statusOf(err), err)
		return
	}
	l.write(Line{Error: err.Error()})
	if l.buf.Flush() == nil {
		http.NewResponseController(l.w).Flush()
	}
	panic(http.ErrAbortHandler)
}
