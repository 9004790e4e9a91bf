package queued

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
)

// Line is one line of a streamed answer. One field is set.
type Line struct {
	Item  *relay.Item `json:"item,omitempty"` // with those of its Deliveries that the filter picked
	Acted *Acted      `json:"acted,omitempty"`
	Error string      `json:"error,omitempty"` // a record that cannot be read; the others follow
	End   *End        `json:"end,omitempty"`   // the last line
}

// List is all lines of an answer together, for clients that read one JSON value. It
// holds at most maxListed items or acts; End counts all.
type List struct {
	Items  []*relay.Item `json:"items,omitempty"`
	Acted  []Acted       `json:"acted,omitempty"`
	Errors []string      `json:"errors,omitempty"`
	End    End           `json:"end"`
}

// End sums up a streamed answer.
type End struct {
	Now        time.Time `json:"now"` // the server's clock, to reckon ages from
	Messages   int       `json:"messages"`
	Deliveries int       `json:"deliveries"`
	Recipients int       `json:"recipients"` // still open
	Held       int       `json:"held,omitempty"`
	Bytes      int64     `json:"bytes"` // content, each message once
	Oldest     time.Time `json:"oldest,omitzero"`
	More       bool      `json:"more,omitempty"`    // the limit cut the list; the sums are of what was sent
	Gone       int       `json:"gone,omitempty"`    // ended before it was their turn
	Skipped    int       `json:"skipped,omitempty"` // the verb means nothing to them: see Verb
	Pending    int       `json:"pending,omitempty"` // of Deliveries: done when the attempts under way end
	Failed     int       `json:"failed,omitempty"`  // acts that failed, and records that cannot be read
	DryRun     bool      `json:"dry_run,omitempty"`
	Act        string    `json:"act,omitempty"`    // the number of the act
	Undone     string    `json:"undone,omitempty"` // of undo: the number of the act that was taken back
	Unkept     int       `json:"unkept,omitempty"` // messages that cannot be brought back
}

// Acted is what became of one Delivery, or of some recipients in it.
type Acted struct {
	ID          relay.QueueID `json:"id"`
	Job         uint16        `json:"job"`
	Destination string        `json:"destination"`
	From        relay.Path    `json:"from"`
	To          []relay.Path  `json:"to"`                // the recipients acted upon
	Pending     bool          `json:"pending,omitempty"` // it is being attempted: done when the attempt ends
	Was         relay.QueueID `json:"was,omitzero"`      // the ID that it had before it came back
	Error       string        `json:"error,omitempty"`
}

// Add counts item and what it holds.
func (e *End) Add(item *relay.Item) {
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

// MaxListed bounds what a List holds of items and of acts.
const MaxListed = 1000

// Lines writes an answer of many lines, or a List.
type Lines struct {
	w    http.ResponseWriter
	list *List // nil: lines
	buf  *bufio.Writer
	json *json.Encoder
	any  bool
	sent time.Time // when buf was sent last: long work shows that it goes on
	Err  error     // the client went away
}

// NewLines begins an answer: lines for who asks for them, else a List.
func NewLines(w http.ResponseWriter, r *http.Request) *Lines {
	l := &Lines{w: w, sent: time.Now()}
	if !strings.Contains(r.Header.Get("Accept"), api.LinesMedia) {
		l.list = &List{}
		return l
	}
	w.Header().Set("Content-Type", api.LinesMedia)
	l.buf = bufio.NewWriterSize(w, 32<<10)
	l.json = json.NewEncoder(l.buf)
	return l
}

// Whole says whether the answer is one List.
func (l *Lines) Whole() bool { return l.list != nil }

// Write adds a line.
func (l *Lines) Write(line Line) {
	if l.list != nil {
		l.list.add(line)
		return
	}
	l.any = true
	if l.Err == nil {
		l.Err = l.json.Encode(line)
	}
	if now := time.Now(); l.Err == nil && now.Sub(l.sent) > time.Second {
		l.sent = now
		if l.Err = l.buf.Flush(); l.Err == nil {
			l.Err = http.NewResponseController(l.w).Flush()
		}
	}
}

func (l *List) add(line Line) {
	switch {
	case line.Item != nil && len(l.Items) < MaxListed:
		l.Items = append(l.Items, line.Item)
	case line.Acted != nil && len(l.Acted) < MaxListed:
		l.Acted = append(l.Acted, *line.Acted)
	case line.Error != "" && len(l.Errors) < MaxListed:
		l.Errors = append(l.Errors, line.Error)
	}
}

// Finish completes the answer.
func (l *Lines) Finish(end End) {
	if l.list != nil {
		l.list.End = end
		api.Answer(l.w, http.StatusOK, l.list)
		return
	}
	l.Write(Line{End: &end})
	if l.Err == nil {
		l.Err = l.buf.Flush()
	}
}

// Abort ends an answer that cannot be completed: as an error while nothing was
// sent, else by breaking the connection off.
func (l *Lines) Abort(err error) {
	if !l.any {
		api.Fail(l.w, api.StatusOf(err), err)
		return
	}
	l.Write(Line{Error: err.Error()})
	if l.buf.Flush() == nil {
		http.NewResponseController(l.w).Flush()
	}
	panic(http.ErrAbortHandler)
}
