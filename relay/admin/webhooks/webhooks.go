// Package webhooks is webhooks for administrators: their paths under /v1, each with its
// role and type, and what is noted of who did what. It has no goroutines. Begin
// reading at Desk.
package webhooks

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/operator"
	"dawk/relay/webhook"
)

// Desk is where administrators look at webhooks and act on them.
type Desk struct {
	Hooks func() *webhook.Hooks // in force now
	Audit *audit.Log
	Log   *slog.Logger
}

// Request names a webhook, and the events of a replay.
type Request struct {
	Name  string   `json:"name"`
	Terms []string `json:"terms,omitempty"` // of dawk history
}

// Tested is what a test event met.
type Tested struct {
	Status int    `json:"status"` // of HTTP; 0: no answer came
	OK     bool   `json:"ok"`     // it was taken
	Error  string `json:"error,omitempty"`
}

// Replayed is how many events are told again.
type Replayed struct {
	Count int `json:"count"`
}

// Endpoints are the paths.
func (d *Desk) Endpoints() []api.Endpoint {
	return []api.Endpoint{
		{Pattern: "GET /v1/webhooks", Role: operator.Read, Serve: d.list, Answer: []webhook.Status{}, Does: "The webhooks, and how far each has come"},
		{Pattern: "POST /v1/webhooks/test", Role: operator.Operate, Serve: d.test, Answer: Tested{}, Body: Request{Name: "crm"},
			Does: "Send an event of type test to a webhook, once"},
		{Pattern: "POST /v1/webhooks/replay", Role: operator.Operate, Serve: d.replay, Answer: Replayed{}, Body: Request{Name: "crm", Terms: []string{"is=failed", "since=2d"}},
			Does: "Tell a webhook again what the outbox keeps and the terms of the history pick"},
		{Pattern: "POST /v1/webhooks/enable", Role: operator.Operate, Serve: d.enable, Answer: webhook.Status{}, Body: Request{Name: "crm"},
			Does: "Take up a webhook again whose receiver answered 410"},
	}
}

func (d *Desk) list(w http.ResponseWriter, _ *http.Request) {
	api.Answer(w, http.StatusOK, d.Hooks().List())
}

// ask reads the request and answers with what do gives.
func ask[T any](w http.ResponseWriter, r *http.Request, do func(Request) (T, error)) {
	var req Request
	if err := api.Read(w, r, &req); err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	v, err := do(req)
	switch {
	case errors.Is(err, webhook.ErrUnknown):
		api.Fail(w, http.StatusNotFound, err)
	case err != nil:
		api.Fail(w, http.StatusBadRequest, err)
	default:
		api.Answer(w, http.StatusOK, v)
	}
}

func (d *Desk) test(w http.ResponseWriter, r *http.Request) {
	ask(w, r, func(req Request) (t Tested, err error) {
		t.Status, err = d.Hooks().Test(r.Context(), req.Name, time.Now())
		switch {
		case errors.Is(err, webhook.ErrUnknown):
			return t, err
		case err != nil:
			t.Error = relay.Sanitize(err.Error())
		}
		t.OK = err == nil && t.Status/100 == 2
		return t, nil
	})
}

func (d *Desk) replay(w http.ResponseWriter, r *http.Request) {
	ask(w, r, func(req Request) (c Replayed, err error) {
		if len(req.Terms) == 0 {
			return c, errors.New("say which events: a queue ID, or terms of the history such as is=failed since=2d")
		}
		if c.Count, err = d.Hooks().Replay(req.Name, req.Terms, time.Now()); err == nil {
			d.record(operator.CallerOf(r.Context()).Name, "webhook-replay", req.Name+" "+strings.Join(req.Terms, " "), c.Count)
		}
		return c, err
	})
}

func (d *Desk) enable(w http.ResponseWriter, r *http.Request) {
	ask(w, r, func(req Request) (s webhook.Status, err error) {
		if err = d.Hooks().Enable(req.Name); err != nil {
			return s, err
		}
		d.record(operator.CallerOf(r.Context()).Name, "webhook-enable", req.Name, 1)
		for _, s := range d.Hooks().List() {
			if s.Name == req.Name {
				return s, nil
			}
		}
		return s, fmt.Errorf("webhook %q: %w", req.Name, webhook.ErrUnknown)
	})
}

// record notes an act, which has happened.
func (d *Desk) record(who, verb, filter string, count int) {
	act := d.Audit.Next()
	filter = relay.Sanitize(relay.ClipTo(filter, 1000))
	d.Log.Info("operator acted on a webhook", "who", who, "verb", verb, "filter", filter, "count", count, "act", act)
	if err := d.Audit.Append(audit.Record{Time: time.Now(), Who: who, Verb: verb, Filter: filter, Count: count, Act: act}); err != nil {
		d.Log.Error("an act is not in the audit log", "act", act, "verb", verb, "error", err)
	}
}
