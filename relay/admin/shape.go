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
	"dawk/relay/admin/api"
	"dawk/relay/admin/queued"
	"dawk/relay/filter"
)

// shapeBounds are the ages up to which each column of a Shape counts; a last
// column takes what is older. They follow what people ask: did it come just
// now, today, before the weekend?
var shapeBounds = []relay.Millis{5 * minute, 15 * minute, hour, 4 * hour, 12 * hour, 24 * hour, 48 * hour, 96 * hour}

const (
	minute = relay.Millis(time.Minute)
	hour   = relay.Millis(time.Hour)
)

// maxShapeRows is how many rows an answer has; the others are summed up.
const maxShapeRows = 100

// Shape counts Deliveries by name and age: which destination is stuck, since
// when, or who fills the queue.
type Shape struct {
	By     string         `json:"by"`        // see shapeNames
	Bounds []relay.Millis `json:"bounds_ms"` // the ages up to which Ages count; a last number is of what is older
	Rows   []ShapeRow     `json:"rows"`      // the largest first; by age: the youngest
	Others int            `json:"others,omitempty"`
	Rest   ShapeRow       `json:"rest,omitzero"` // the sum of the Others
	Total  ShapeRow       `json:"total"`
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
	r.Ages[ageColumn(now.Sub(e.Arrival))]++
}

func ageColumn(age time.Duration) int {
	i := slices.IndexFunc(shapeBounds, func(b relay.Millis) bool { return relay.Millis(age) < b })
	if i < 0 {
		return len(shapeBounds)
	}
	return i
}

// ageNames are the rows of a Shape by age.
func ageNames() (names []string) {
	for _, b := range shapeBounds {
		names = append(names, "under "+relay.Duration(b).String())
	}
	return append(names, "older")
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
	names := shapeNames[by]
	if names == nil {
		api.Fail(w, http.StatusBadRequest, fmt.Errorf("the queue can be counted by provider, domain, reason, identity, route, state, dest or age, not by %.20q", by))
		return
	}
	now := time.Now()
	picks, err := filter.Queue.Parse(r.FormValue("filter"), now)
	if err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	counted := h.entries(r, picks, names)
	if picks.Empty() && (by == "dest" || by == "identity" || by == "age") { // the messages need not be read
		counted = briefly(h.Queue.Entries(), by, now)
	}
	s, err := newShape(by, counted, now)
	if err != nil {
		api.Fail(w, api.StatusOf(err), fmt.Errorf("read the queue: %w", err))
		return
	}
	api.Answer(w, http.StatusOK, s)
}

// shapeNames are what the rows of a Shape can be, and which of them a Delivery is in.
var shapeNames = map[string]func(*relay.Message, *relay.Delivery) []string{
	"dest":     func(_ *relay.Message, d *relay.Delivery) []string { return []string{d.Destination} },
	"identity": func(m *relay.Message, _ *relay.Delivery) []string { return []string{m.Identity} },
	"age": func(_ *relay.Message, d *relay.Delivery) []string {
		return []string{ageNames()[ageColumn(time.Since(d.Arrival))]}
	},
	"provider": func(_ *relay.Message, d *relay.Delivery) []string { return []string{d.Provider} },
	"state":    func(_ *relay.Message, d *relay.Delivery) []string { return []string{d.Activity.State.String()} },
	"route": func(_ *relay.Message, d *relay.Delivery) []string {
		if name, ok := strings.CutPrefix(d.Destination, routePrefix); ok {
			return []string{name}
		}
		return []string{"mx"}
	},
	"domain": func(m *relay.Message, d *relay.Delivery) (names []string) {
		for _, to := range queued.OpenPaths(m, d) {
			names = append(names, to.Domain())
		}
		return names
	},
	"reason": func(_ *relay.Message, d *relay.Delivery) (names []string) {
		for _, o := range d.Open {
			names = append(names, o.Reason)
		}
		return names
	},
}

// namedEntry is a Delivery in brief, with the rows that it is counted in.
type namedEntry struct {
	relay.Entry
	rows []string
}

// briefly is for what an Entry says.
func briefly(entries iter.Seq2[relay.Entry, error], by string, now time.Time) iter.Seq2[namedEntry, error] {
	return func(yield func(namedEntry, error) bool) {
		for e, err := range entries {
			row := e.Destination
			switch by {
			case "identity":
				row = e.Identity
			case "age":
				row = ageNames()[ageColumn(now.Sub(e.Arrival))]
			}
			if !yield(namedEntry{e, []string{row}}, err) {
				return
			}
		}
	}
}

// entries are the Deliveries that f picks.
func (h *handler) entries(r *http.Request, f filter.Of[filter.Queued], names func(*relay.Message, *relay.Delivery) []string) iter.Seq2[namedEntry, error] {
	return func(yield func(namedEntry, error) bool) {
		for item, err := range h.mail.Pick(r.Context(), f, false) {
			if err != nil {
				if !yield(namedEntry{}, err) {
					return
				}
				continue
			}
			for i := range item.Deliveries {
				d := &item.Deliveries[i]
				if !yield(namedEntry{d.Entry, names(&item.Message, d)}, nil) {
					return
				}
			}
		}
	}
}

func newShape(by string, entries iter.Seq2[namedEntry, error], now time.Time) (*Shape, error) {
	s := &Shape{By: by, Bounds: shapeBounds, Rows: []ShapeRow{}, Total: ShapeRow{Name: "TOTAL", Ages: make([]int, len(shapeBounds)+1)}}
	rows := make(map[string]*ShapeRow)
	for e, err := range entries {
		if errors.Is(err, relay.ErrCorrupt) {
			continue // set aside by the store and reported by health
		}
		if err != nil {
			return nil, err
		}
		slices.Sort(e.rows)
		for _, name := range slices.Compact(e.rows) {
			row := rows[name]
			if row == nil {
				row = &ShapeRow{Name: name}
				rows[name] = row
			}
			row.count(&e.Entry, now)
		}
		s.Total.count(&e.Entry, now)
	}
	for _, row := range rows {
		s.Rows = append(s.Rows, *row)
	}
	ages := ageNames()
	slices.SortFunc(s.Rows, func(a, b ShapeRow) int {
		if by == "age" { // the youngest first
			return slices.Index(ages, a.Name) - slices.Index(ages, b.Name)
		}
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
