package admin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/operator"
	"dawk/relay/admin/queued"
	"dawk/relay/filter"
)

// list streams the Deliveries that a filter picks.
func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	end := End{Now: time.Now()}
	picks, err := filter.Queue.Parse(r.FormValue("filter"), end.Now)
	if err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	limit, err := api.Limit(r)
	if err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	var after relay.QueueID
	if s := r.FormValue("after"); s != "" {
		if after, err = relay.ParseQueueID(s); err != nil {
			api.Fail(w, http.StatusBadRequest, err)
			return
		}
	}
	out := queued.NewLines(w, r)
	if out.Whole() && (limit == 0 || limit > queued.MaxListed) {
		limit = queued.MaxListed
	}
	for item, err := range h.mail.PickAfter(r.Context(), after, picks, false) {
		switch {
		case err != nil && !errors.Is(err, relay.ErrCorrupt):
			out.Abort(fmt.Errorf("read the queue: %w", err))
			return
		case err != nil:
			end.Failed++
			out.Write(Line{Error: err.Error()})
		case limit > 0 && end.Deliveries+len(item.Deliveries) > limit && end.Messages > 0:
			end.More = true
		default:
			end.Add(&item.Item)
			out.Write(Line{Item: &item.Item})
		}
		if end.More || out.Err != nil {
			break
		}
	}
	out.Finish(end)
}

func (h *handler) show(w http.ResponseWriter, r *http.Request) {
	id, ok := api.ID(w, r)
	if !ok {
		return
	}
	item, err := h.mail.Item(id)
	if err != nil {
		api.Fail(w, api.StatusOf(err), h.missing(id, err))
		return
	}
	h.mail.Annotate(item)
	api.Answer(w, http.StatusOK, item)
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

func (h *handler) headers(w http.ResponseWriter, r *http.Request) {
	h.octets(w, r, headerSize)
}

func (h *handler) content(w http.ResponseWriter, r *http.Request) {
	h.Log.Info("operator reads a message", "who", operator.CallerOf(r.Context()).Name, "qid", relay.Clip(r.PathValue("id")))
	h.octets(w, r, func(c relay.Content) (int64, error) { return c.Size(), nil })
}

// octets answers with the beginning of a message, as long as size says.
func (h *handler) octets(w http.ResponseWriter, r *http.Request, size func(relay.Content) (int64, error)) {
	id, ok := api.ID(w, r)
	if !ok {
		return
	}
	content, err := h.Queue.Content(h.mail.Current(id))
	if err != nil {
		api.Fail(w, api.StatusOf(err), h.missing(id, err))
		return
	}
	defer content.Close()
	n, err := size(content)
	if err != nil {
		api.Fail(w, http.StatusInternalServerError, fmt.Errorf("read %s: %w", id, err))
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
