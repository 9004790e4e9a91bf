package admin

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"dawk/relay"
)

// shapeBounds are the ages up to which each column of a Shape counts; a last
// column takes what is older. They follow what people ask: did it come just
// now, today, before the weekend?
var shapeBounds = []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour,
	12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 96 * time.Hour}

// maxShapeRows is how many rows an answer has; the others are summed up.
const maxShapeRows = 100

// Shape counts Deliveries by name and age: which destination is stuck, since
// when, or who fills the queue.
type Shape struct {
	By     string          `json:"by"` // "dest" or "identity"
	Bounds []time.Duration `json:"bounds"`
	Rows   []ShapeRow      `json:"rows"` // the largest first
	Others int             `json:"others,omitempty"`
	Rest   ShapeRow        `json:"rest,omitzero"` // the sum of the Others
	Total  ShapeRow        `json:"total"`
}

// ShapeRow is one row; Ages has one number more than the bounds.
type ShapeRow struct {
	Name  string `json:"name"`
	Total int    `json:"total"`
	Held  int    `json:"held"`
	Ages  []int  `json:"ages"`
}

func (r *ShapeRow) count(e *relay.Entry, now time.Time) {
	if r.Ages == nil {
		r.Ages = make([]int, len(shapeBounds)+1)
	}
	r.Total++
	if e.Held {
		r.Held++
	}
	age := now.Sub(e.Arrival)
	column := 0
	for column < len(shapeBounds) && age >= shapeBounds[column] {
		column++
	}
	r.Ages[column]++
}

func (r *ShapeRow) add(s *ShapeRow) {
	if r.Ages == nil {
		r.Ages = make([]int, len(shapeBounds)+1)
	}
	r.Total += s.Total
	r.Held += s.Held
	for i, n := range s.Ages {
		r.Ages[i] += n
	}
}

func (h *handler) shape(w http.ResponseWriter, r *http.Request) {
	by := r.FormValue("by")
	if by != "dest" && by != "identity" {
		fail(w, http.StatusBadRequest, fmt.Errorf("the queue can be counted by dest, identity or age, not by %.20q", by))
		return
	}
	filter, err := relay.ParseFilter(r.FormValue("filter"))
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	now := time.Now()
	s, err := newShape(by, h.entries(r, filter, now), now)
	if err != nil {
		fail(w, statusOf(err), fmt.Errorf("read the queue: %w", err))
		return
	}
	answer(w, http.StatusOK, s)
}

// entries are the Deliveries that f picks, in brief. Without a filter the
// messages need not be read.
func (h *handler) entries(r *http.Request, f relay.Filter, now time.Time) iter.Seq2[relay.Entry, error] {
	if f.Empty() {
		return h.Queue.Entries()
	}
	return func(yield func(relay.Entry, error) bool) {
		for item, err := range h.pick(r.Context(), f, false, now) {
			if err != nil {
				if !yield(relay.Entry{}, err) {
					return
				}
				continue
			}
			for i := range item.Deliveries {
				if !yield(item.Deliveries[i].Entry, nil) {
					return
				}
			}
		}
	}
}

func newShape(by string, entries iter.Seq2[relay.Entry, error], now time.Time) (*Shape, error) {
	s := &Shape{By: by, Bounds: shapeBounds, Rows: []ShapeRow{}, Total: ShapeRow{Name: "TOTAL", Ages: make([]int, len(shapeBounds)+1)}}
	rows := make(map[string]*ShapeRow)
	for e, err := range entries {
		if errors.Is(err, relay.ErrCorrupt) {
			continue // set aside by the store and reported by health
		}
		if err != nil {
			return nil, err
		}
		name := e.Destination
		if by == "identity" {
			name = e.Identity
		}
		row := rows[name]
		if row == nil {
			row = &ShapeRow{Name: name}
			rows[name] = row
		}
		row.count(&e, now)
		s.Total.count(&e, now)
	}
	for _, row := range rows {
		s.Rows = append(s.Rows, *row)
	}
	slices.SortFunc(s.Rows, func(a, b ShapeRow) int {
		if a.Total != b.Total {
			return b.Total - a.Total
		}
		return strings.Compare(a.Name, b.Name)
	})
	if len(s.Rows) > maxShapeRows {
		s.Others = len(s.Rows) - maxShapeRows
		for i := range s.Rows[maxShapeRows:] {
			s.Rest.add(&s.Rows[maxShapeRows+i])
		}
		s.Rows = s.Rows[:maxShapeRows]
	}
	return s, nil
}
