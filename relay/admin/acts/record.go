package acts

import (
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/bundle"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/operator"
	"dawk/relay/filter"
)

// Record writes the audit log, if there is one.
func (a *Actor) Record(who, act string, verb relay.Verb, filter string, count int) {
	if a.Audit == nil {
		return
	}
	err := a.Audit.Append(audit.Record{Time: time.Now(), Who: who, Verb: string(verb), Filter: filter, Count: count, Act: act})
	if err != nil {
		a.Log.Error("an act is not in the audit log", "who", who, "act", act, "verb", string(verb), "error", err)
	}
}

func (a *Actor) record(r *http.Request, act string, verb relay.Verb, filter string, count int) {
	a.Record(operator.CallerOf(r.Context()).Name, act, verb, filter, count)
}

// Recover records acts in the middle of which the relay was killed: their lists are there,
// and the audit log does not know them. It is for the start, before any other act.
func Recover(k *kept.Store, l *audit.Log) error {
	all, err := k.Acts()
	if err != nil {
		return err
	}
	for _, act := range slices.Backward(all) {
		if !l.Skip(act) {
			continue
		}
		h, err := k.Head(act)
		if err != nil {
			continue // it came to nothing
		}
		list, _, err := k.List(act)
		if err == nil {
			err = l.Append(audit.Record{Time: h.At, Who: h.Who, Verb: h.Verb, Filter: h.Filter, Count: len(list), Act: act})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nextAct is the number of a new act; "": nobody counts them.
func (a *Actor) nextAct() string {
	if a.Audit == nil {
		return ""
	}
	return a.Audit.Next()
}

// keep begins to keep what an act is done to; nil: it cannot be undone.
func (a *Actor) keep(who string, req Request, f filter.Of[filter.Queued], act string, now time.Time) *kept.Act {
	if a.Kept == nil || req.DryRun || req.Purge || req.Verb == relay.VerbRetry {
		return nil
	}
	back, err := a.Kept.Begin(act, who, string(req.Verb), req.what(f), ends(req.Verb), now)
	if err != nil {
		a.Log.Warn("this act cannot be undone", "act", act, "error", err)
		return nil
	}
	return back
}

// forget drops what an act left behind: it was undone, or did nothing.
func (a *Actor) forget(act string) {
	if a.Kept == nil {
		return
	}
	if err := a.Kept.Forget(act); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.Log.Warn("what an act left behind stays", "act", act, "error", err)
	}
}

// keepMail keeps the messages of tasks before they go, and waits until they are on
// stable storage. What cannot be kept goes all the same, and is counted.
func (a *Actor) keepMail(back *kept.Act, tasks []*task) {
	for _, t := range tasks {
		if t.err != nil {
			continue
		}
		content, err := a.Queue.Content(t.item.Message.ID)
		if err == nil {
			err = errors.Join(back.Add(bundle.Of(&t.item.Item), content), content.Close())
		}
		t.unkept = err != nil
	}
	if err := back.Sync(); err != nil {
		a.Log.Warn("mail that is deleted cannot be kept for undo", "error", err)
		for _, t := range tasks {
			t.unkept = true
		}
	}
}

// AuditRecords are what administrators did.
type AuditRecords struct {
	Records []audit.Record `json:"records"`
}

// auditLog answers GET /v1/audit?filter=.
func (a *Actor) auditLog(w http.ResponseWriter, r *http.Request) {
	q, err := audit.Terms.Parse(r.FormValue("filter"), time.Now())
	limit, bad := api.Limit(r)
	if err = errors.Join(err, bad); err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	all, err := a.Audit.Read(q)
	if err != nil {
		api.Fail(w, http.StatusInternalServerError, err)
		return
	}
	if limit > 0 {
		all = all[max(0, len(all)-limit):]
	}
	api.Answer(w, http.StatusOK, AuditRecords{all})
}
