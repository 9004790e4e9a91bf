package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"dawk/relay"
	"dawk/relay/admin/operator"
)

// Endpoint is one path of the API. A table of them is all there is: what is
// served, who may ask for it, and what the OpenAPI document says of it.
type Endpoint struct {
	Pattern string        // as http.ServeMux has it: "GET /v1/queue/{id}"
	Role    operator.Role // that it needs at least
	Does    string        // one line
	Params  []Param
	Body    any    // an example of what is sent, or a File; nil: nothing
	Answer  any    // of the type that comes back as JSON
	Media   string // of an answer that is no JSON, or lines of it
	Lines   any    // of the type of each line of [LinesMedia], where Answer is given as these, too; nil: it is not
	Quiet   bool   // it tells the log itself
	Audited string // the verb under which each request is in the audit log; "": it is not, or writes there itself
	Without bool   // this relay does not offer it
	Serve   http.HandlerFunc
}

// File is the Body of a request that is no JSON.
type File struct {
	Media   string
	Example string // "": none is given
}

// Param is a parameter in the path, where the pattern has its name in braces, or in
// the query.
type Param struct {
	Name, Does, Example string
	Required            bool
}

// LinesMedia is the type of an answer of one JSON value a line: what clients get who
// ask for it with Accept. A million Deliveries are never in memory at once.
const LinesMedia = "application/x-ndjson"

func (e *Endpoint) split() (method, path string) {
	method, path, _ = strings.Cut(e.Pattern, " ")
	return method, path
}

// Examples of parameters that several paths have.
const (
	ExampleID     = "1RK3ZC8Q9D4-7ABC"
	ExampleFilter = "to=@example.com age>1h"
)

// Parameters that several paths have.
var (
	IDParam     = Param{"id", "the queue ID", ExampleID, true}
	FilterParam = Param{"filter", "which deliveries, in the grammar of dawk queue; without it: all", ExampleFilter, false}
	LimitParam  = Param{"limit", "at most this many; 0 or absent: 1000", "100", false}
)

// Serve serves a table, and the document that describes it.
//
// record notes in the audit log who does what, before it is done.
func Serve(all []Endpoint, log *slog.Logger, record func(who, verb, what string)) http.Handler {
	all = append(all, Endpoint{Pattern: "GET /v1/openapi.json", Role: operator.Read, Answer: map[string]any{}, Does: "This document"})
	all[len(all)-1].Serve = func(w http.ResponseWriter, _ *http.Request) { Answer(w, http.StatusOK, document(all)) }
	mux := http.NewServeMux()
	for _, e := range all {
		mux.HandleFunc(e.Pattern, enter(&e, log, record))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		Fail(w, http.StatusNotFound, fmt.Errorf("this dawk does not know %s %s: command and relay may be of different versions", r.Method, r.URL.Path))
	})
	return mux
}

// enter is the one place that decides who may ask for what, and tells the log.
func enter(e *Endpoint, log *slog.Logger, record func(who, verb, what string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		switch caller := operator.CallerOf(r.Context()); {
		case caller.Role == operator.Nobody:
			w.Header().Set("WWW-Authenticate", `Bearer realm="dawk"`)
			Fail(w, http.StatusUnauthorized, errors.New("this needs a token, as in Authorization: Bearer dawk_…; the administrator makes one with dawk token add NAME"))
		case caller.Role < e.Role:
			Fail(w, http.StatusForbidden, fmt.Errorf("this needs the role %s, and %s has the role %s", e.Role, caller.Name, caller.Role))
		case e.Without:
			Fail(w, http.StatusNotImplemented, ErrNotOffered)
		default:
			if e.Role > operator.Read && !e.Quiet {
				log.Info("operator's request", "who", caller.Name, "what", relay.Sanitize(relay.Clip(r.Method+" "+r.URL.RequestURI())))
			}
			if e.Audited != "" {
				record(caller.Name, e.Audited, e.about(r))
			}
			e.Serve(w, r)
		}
	}
}

// about is what a request concerns: the parameters that it has.
func (e *Endpoint) about(r *http.Request) string {
	var all []string
	for _, p := range e.Params {
		if v := r.PathValue(p.Name); v != "" {
			all = append(all, v)
		} else if v := r.URL.Query().Get(p.Name); v != "" {
			all = append(all, v)
		}
	}
	return relay.Sanitize(relay.Clip(strings.Join(all, " ")))
}
