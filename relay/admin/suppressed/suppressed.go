// Package suppressed is the suppression list for administrators: its paths under /v1,
// and the same for commands where no relay runs. Each change is in the audit log. It has
// no goroutines and no state. Begin reading at Desk.Endpoints.
package suppressed

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/operator"
	"dawk/relay/suppression"
)

// Desk is where the list is looked at and changed.
type Desk struct {
	List  *suppression.List
	Audit *audit.Log                                               // who changed it
	Whose func(token string) (identity, address string, err error) // reads a token of an unsubscribe link; nil: Endpoints lacks that
	Log   *slog.Logger
}

// Verbs of the audit log.
const (
	verbAdd    = "suppression-add"
	verbRemove = "suppression-remove"
	verbImport = "suppression-import"
)

// AddRequest puts addresses on the list.
type AddRequest struct {
	Addresses []string       `json:"addresses"`
	Identity  string         `json:"identity,omitempty"` // whose mail it concerns; "": everybody's
	Reason    string         `json:"reason,omitempty"`
	Expires   relay.Duration `json:"expires,omitempty"` // from now on; 0: as [suppression] says
}

// RemoveRequest takes off what a filter picks.
type RemoveRequest struct {
	Filter string `json:"filter"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// Changed is what was put on the list or taken off.
type Changed struct {
	Count   int                 `json:"count"`
	Entries []suppression.Entry `json:"entries,omitempty"` // that were taken off, at most MaxListed
	DryRun  bool                `json:"dry_run,omitempty"`
	Act     string              `json:"act,omitempty"` // its number in the audit log
}

// Entries are what a filter picks.
type Entries struct {
	Entries []suppression.Entry `json:"entries"`
	Found   int                 `json:"found"` // that the filter picks; Entries are the first of them
}

// Line is one line of an answer; the last has Found.
type Line struct {
	Entry *suppression.Entry `json:"entry,omitempty"`
	Found *int               `json:"found,omitempty"`
}

// Link is what an unsubscribe link stands for.
type Link struct {
	Address  string `json:"address"`  // who gets no mail any more if it is followed
	Identity string `json:"identity"` // whose mail that concerns
}

// ExampleToken is for the document.
const ExampleToken = "3pCkYvV0rXyN0m5u"

// MaxListed bounds an answer that is one JSON value.
const MaxListed = 1000

// Endpoints are the paths.
func (d *Desk) Endpoints() []api.Endpoint {
	filter := api.Param{Name: "filter", Does: "which entries, in the grammar of dawk suppression; without it: all", Example: "to=@example.com"}
	return []api.Endpoint{
		{Pattern: "GET /v1/suppression", Role: operator.Read, Serve: d.list, Answer: Entries{}, Lines: Line{}, Params: []api.Param{filter, api.LimitParam},
			Does: "Who gets no mail any more, the oldest entry first"},
		{Pattern: "POST /v1/suppression/add", Role: operator.Operate, Serve: d.add, Answer: Changed{},
			Body: AddRequest{Addresses: []string{"reader@example.com"}, Reason: "asked by telephone"}, Does: "Put addresses on the suppression list, all or none"},
		{Pattern: "POST /v1/suppression/remove", Role: operator.Operate, Serve: d.remove, Answer: Changed{},
			Body: RemoveRequest{Filter: "to=reader@example.com", DryRun: true}, Does: "Take off the suppression list what a filter picks; dry_run only shows it"},
		{Pattern: "POST /v1/suppression/import", Role: operator.Operate, Serve: d.importFile, Answer: Changed{},
			Body:   api.File{Media: "text/csv", Example: "address,identity,reason,since,expires,queue_id\r\nreader@example.com,,asked by telephone,,,\r\n"},
			Params: []api.Param{{Name: "format", Does: "csv, sendgrid or mailgun", Example: "csv"}, {Name: "identity", Does: "whose mail the entries concern where the file does not say it; without it: everybody's", Example: "shop"}},
			Does:   "Put the entries of a file, which is the body, on the suppression list, all or none"},
		{Pattern: "GET /v1/suppression/token", Role: operator.Read, Serve: d.token, Answer: Link{}, Without: d.Whose == nil,
			Params: []api.Param{{Name: "token", Does: "what stands in the link in the place of {token}", Example: ExampleToken, Required: true}},
			Does:   "Whose mail a recipient does not want who has used an unsubscribe link"},
	}
}

// Add puts addresses on the list. Its error is about the request, or of the disk.
func (d *Desk) Add(who string, req AddRequest) (Changed, error) {
	if len(req.Addresses) == 0 {
		return Changed{}, errors.New("no address was given")
	}
	entries := make([]suppression.Entry, len(req.Addresses))
	for i, a := range req.Addresses {
		entries[i] = suppression.Entry{Address: a, Identity: req.Identity, Reason: req.Reason}
		if req.Expires > 0 {
			entries[i].Expires = time.Now().Add(time.Duration(req.Expires))
		}
	}
	return d.put(who, verbAdd, relay.ClipTo(strings.Join(req.Addresses, " "), 1000), entries)
}

// Import puts the entries of a file on the list, all or none.
func (d *Desk) Import(who, format, identity string, r io.Reader) (Changed, error) {
	if format == "" {
		format = "csv"
	}
	entries, err := suppression.Parse(r, format, identity)
	if err != nil {
		return Changed{}, fmt.Errorf("nothing was imported:\n%w", err)
	}
	return d.put(who, verbImport, "format "+format, entries)
}

func (d *Desk) put(who, verb, what string, entries []suppression.Entry) (c Changed, err error) {
	if c.Count, err = d.List.Add(entries); err == nil {
		c.Act = d.record(who, verb, what, c.Count)
	}
	return c, err
}

// Remove takes off what a filter picks.
func (d *Desk) Remove(who string, req RemoveRequest) (Changed, error) {
	filter, err := suppression.Terms.Parse(req.Filter, time.Now())
	if err != nil {
		return Changed{}, err
	}
	if filter.Empty() {
		return Changed{}, errors.New("say which entries: an address, or a filter such as to=@example.com")
	}
	gone, err := d.List.Remove(filter, req.DryRun)
	c := Changed{Count: len(gone), DryRun: req.DryRun, Entries: gone[:min(len(gone), MaxListed)]}
	if err == nil && !req.DryRun && len(gone) > 0 {
		c.Act = d.record(who, verbRemove, filter.String(), len(gone))
	}
	return c, err
}

// record notes an act, which has happened.
func (d *Desk) record(who, verb, filter string, count int) (act string) {
	act = d.Audit.Next()
	d.Log.Info("operator changed the suppression list", "who", who, "verb", verb, "filter", filter, "count", count, "act", act)
	if err := d.Audit.Append(audit.Record{Time: time.Now(), Who: who, Verb: verb, Filter: filter, Count: count, Act: act}); err != nil {
		d.Log.Error("an act is not in the audit log", "act", act, "verb", verb, "error", err)
	}
	return act
}

// list answers GET /v1/suppression.
func (d *Desk) list(w http.ResponseWriter, r *http.Request) {
	filter, err := suppression.Terms.Parse(r.FormValue("filter"), time.Now())
	limit, err2 := api.Limit(r)
	if err := errors.Join(err, err2); err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	lines := strings.Contains(r.Header.Get("Accept"), api.LinesMedia)
	if !lines && (limit == 0 || limit > MaxListed) {
		limit = MaxListed
	}
	all := Entries{Entries: []suppression.Entry{}}
	out := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(out)
	err = d.List.Each(filter, func(e suppression.Entry) error {
		all.Found++
		switch {
		case limit > 0 && all.Found > limit:
		case lines:
			w.Header().Set("Content-Type", api.LinesMedia)
			return enc.Encode(Line{Entry: &e})
		default:
			all.Entries = append(all.Entries, e)
		}
		return nil
	})
	switch {
	case err != nil && all.Found == 0:
		fail(w, err)
	case err != nil: // of the disk, or the client has gone
		panic(http.ErrAbortHandler)
	case lines:
		w.Header().Set("Content-Type", api.LinesMedia)
		if enc.Encode(Line{Found: &all.Found}) == nil {
			_ = out.Flush() // the client has gone if this fails
		}
	default:
		api.Answer(w, http.StatusOK, all)
	}
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, suppression.ErrOff) {
		status = http.StatusNotImplemented
	}
	api.Fail(w, status, err)
}

func (d *Desk) add(w http.ResponseWriter, r *http.Request) {
	var req AddRequest
	if err := api.Read(w, r, &req); err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	answer(w)(d.Add(operator.CallerOf(r.Context()).Name, req))
}

func (d *Desk) remove(w http.ResponseWriter, r *http.Request) {
	var req RemoveRequest
	if err := api.Read(w, r, &req); err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	answer(w)(d.Remove(operator.CallerOf(r.Context()).Name, req))
}

func (d *Desk) importFile(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	answer(w)(d.Import(operator.CallerOf(r.Context()).Name, q.Get("format"), q.Get("identity"), r.Body))
}

func (d *Desk) token(w http.ResponseWriter, r *http.Request) {
	var l Link
	var err error
	if l.Identity, l.Address, err = d.Whose(r.FormValue("token")); err != nil {
		api.Fail(w, http.StatusNotFound, err)
		return
	}
	api.Answer(w, http.StatusOK, l)
}

func answer(w http.ResponseWriter) func(Changed, error) {
	return func(c Changed, err error) {
		if err != nil {
			fail(w, err)
			return
		}
		api.Answer(w, http.StatusOK, c)
	}
}
