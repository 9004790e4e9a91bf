// Package acts does what operators ask for to mail: the verbs of dawk queue, their undo,
// exports and imports, and the record of who did what. Its goroutines, a few for each
// act, end with the request. Begin reading at [Actor.Endpoints].
package acts

import (
	"context"
	"log/slog"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/operator"
	"dawk/relay/admin/past"
	"dawk/relay/admin/queued"
)

// Queue is what acts need of the store.
type Queue interface {
	queued.Queue
	// Content is the message itself, which the caller closes.
	Content(relay.QueueID) (relay.Content, error)
	// NewDraft and Enqueue take in mail that comes back; see queue.Acceptance.
	NewDraft() (relay.Draft, error)
	Enqueue(context.Context, relay.Draft, *relay.Message) error
}

// Dispatcher is what acts ask of the scheduler.
type Dispatcher interface {
	queued.Dispatcher
	// Act does verb to every Delivery of a message, atomically against
	// attempts that are in progress. relay.ErrNotFound if none is left.
	Act(ctx context.Context, id relay.QueueID, verb relay.Verb) error
	// ActOn is Act for one Delivery. relay.VerbDelete and relay.VerbBounce end only recipients,
	// indexes into Message.Recipients, if it is not nil.
	ActOn(ctx context.Context, id relay.QueueID, job uint16, recipients []int, verb relay.Verb) error
	// Reroute is ActOn for relay.VerbReroute; "" ends it.
	Reroute(ctx context.Context, id relay.QueueID, job uint16, recipients []int, route string) error
	// Unlisted are the rows of a list to come that tell of the end of mail, by message; no list is
	// written until done is called. Withdraw takes rows away.
	Unlisted(context.Context) (rows map[relay.QueueID][]relay.QueueID, done func(), err error)
	Withdraw(rows []relay.QueueID) error
}

// Actor does what operators ask for to mail.
type Actor struct {
	Mail       *queued.Mail // the queue as filters pick from it
	Queue      Queue
	Dispatcher Dispatcher
	History    *past.History   // what is finished; nil: nothing is known of it
	Audit      *audit.Log      // who did what; nil: nobody keeps it, and nothing can be undone
	Kept       *kept.Store     // what acts leave behind; nil with Audit
	Routes     func() []string // names of those with a smart host; nil: none
	Log        *slog.Logger
}

// Endpoints are the paths of acts.
func (a *Actor) Endpoints() []api.Endpoint {
	return []api.Endpoint{
		{Pattern: "POST /v1/queue/act", Role: operator.Operate, Quiet: true, Serve: a.act, Lines: queued.Line{}, Answer: queued.List{},
			Body: Request{Verb: relay.VerbRetry, Filter: api.ExampleFilter, DryRun: true},
			Does: "Do something to the deliveries that a filter picks; dry_run only counts them"},
		{Pattern: "POST /v1/queue/export", Role: operator.Admin, Serve: a.export, Media: "application/x-tar", Without: a.Kept == nil,
			Body: ExportRequest{Filter: api.ExampleFilter}, Does: "Hold what a filter picks, and write it out for another relay. The trailer " + api.Fault + " says what it lacks"},
		{Pattern: "POST /v1/queue/import", Role: operator.Admin, Quiet: true, Serve: a.importBundle, Lines: queued.Line{}, Answer: queued.List{}, Without: a.Kept == nil,
			Body:   api.File{Media: "application/x-tar"},
			Does:   "Take in what another relay has written out, as it is in the body; what came before is passed over",
			Params: []api.Param{{Name: "dry_run", Does: "true: only say what would be taken in", Example: "true"}}},
		{Pattern: "GET /v1/audit", Role: operator.Read, Serve: a.auditLog, Answer: AuditRecords{}, Without: a.Audit == nil,
			Does: "Who did what, the last year, oldest first",
			Params: []api.Param{{Name: "filter", Does: "which acts, in the grammar of dawk audit; without it: all", Example: "verb=delete since=2d"},
				{Name: "limit", Does: "the newest, at most this many; 0 or absent: all", Example: "100"}}},
	}
}
