package admin

import (
	"net/http"
	"strings"

	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/admin/operator"
)

// endpoint is one path of the API. The table of them is all there is: what is
// served, who may ask for it, and what the OpenAPI document says of it.
type endpoint struct {
	pattern string        // as http.ServeMux has it: "GET /v1/queue/{id}"
	role    operator.Role // that it needs at least
	does    string        // one line
	params  []param
	body    any    // an example of what is sent; nil: nothing
	answer  any    // of the type that comes back as JSON
	media   string // of an answer that is no JSON, or lines of it
	lines   bool   // answer is also given as lines: see wantsLines
	without bool   // this relay does not offer it
	serve   http.HandlerFunc
}

// param is a parameter in the path, where the pattern has its name in braces, or in
// the query.
type param struct {
	name, does, example string
	required            bool
}

func (e *endpoint) split() (method, path string) {
	method, path, _ = strings.Cut(e.pattern, " ")
	return method, path
}

// Examples of parameters that several paths have.
const (
	exampleID     = "1RK3ZC8Q9D4-7ABC"
	exampleFilter = "to=@example.com age>1h"
)

var (
	idParam     = param{"id", "the queue ID", exampleID, true}
	filterParam = param{"filter", "which deliveries, in the grammar of dawk queue; without it: all", exampleFilter, false}
	limitParam  = param{"limit", "at most this many; 0 or absent: 1000", "100", false}
)

// endpoints is the table.
func (h *handler) endpoints() []endpoint {
	return append(h.aboutMail(), h.aboutRelay()...)
}

// aboutMail are the paths about messages.
func (h *handler) aboutMail() []endpoint {
	return []endpoint{
		{pattern: "GET /v1/queue", role: operator.Read, serve: h.list, lines: true, answer: List{},
			does: "Deliveries in the queue, oldest message first", params: []param{filterParam, limitParam}},
		{pattern: "GET /v1/queue/{id}", role: operator.Read, serve: h.show, answer: relay.Item{},
			does: "One message in the queue with its attempts", params: []param{idParam}},
		{pattern: "GET /v1/queue/{id}/why", role: operator.Read, serve: h.why, answer: Why{},
			does: "Why a message is still here, or what became of it", params: []param{idParam}},
		{pattern: "GET /v1/queue/{id}/headers", role: operator.Read, serve: h.headers, media: "message/rfc822",
			does: "The header section of a message", params: []param{idParam}},
		{pattern: "GET /v1/queue/{id}/content", role: operator.Operate, serve: h.content, media: "message/rfc822",
			does: "The octets of a message; the log tells who asked", params: []param{idParam}},
		{pattern: "POST /v1/queue/act", role: operator.Operate, serve: h.act, lines: true, answer: List{},
			body: ActRequest{Verb: relay.VerbRetry, Filter: exampleFilter, DryRun: true},
			does: "Do something to the deliveries that a filter picks; dry_run only counts them"},
		{pattern: "POST /v1/queue/export", role: operator.Admin, serve: h.export, media: "application/x-tar", without: h.Kept == nil,
			body: ExportRequest{Filter: exampleFilter}, does: "Hold what a filter picks, and write it out for another relay. The trailer " + BackupFault + " says what it lacks"},
		{pattern: "POST /v1/queue/import", role: operator.Admin, serve: h.importBundle, lines: true, answer: List{}, without: h.Kept == nil,
			does: "Take in what another relay has written out, as it is in the body; what came before is passed over"},
		{pattern: "GET /v1/audit", role: operator.Read, serve: h.auditLog, answer: AuditRecords{}, without: h.Audit == nil,
			does:   "Who did what, the last year, oldest first",
			params: []param{{"filter", "which acts, in the grammar of dawk audit; without it: all", "verb=delete since=2d", false}}},
		{pattern: "GET /v1/shape", role: operator.Read, serve: h.shape, answer: Shape{},
			does:   "How many deliveries, by provider and the like and by age",
			params: []param{{"by", "provider, domain, reason, identity, route, state or dest", "provider", true}, filterParam}},
		{pattern: "GET /v1/explain", role: operator.Read, serve: h.explanation, answer: Explanation{}, without: h.Explain == nil,
			does: "What would happen to a message; nothing is sent",
			params: []param{{"from", "the sender", "office@example.org", true}, {"to", "the recipient", "reader@example.com", true},
				{"identity", "who submits it", "shop", false}}},
		{pattern: "GET /v1/history", role: operator.Read, serve: h.history, answer: PastRecords{}, without: h.Past == nil,
			does:   "What became of mail, also after it has left: the newest records that a filter picks, oldest first",
			params: []param{{"filter", "which records, in the grammar of dawk history; without it: all", "to=@example.com since=2d", false}, limitParam}},
	}
}

// aboutRelay are the paths about the relay itself.
func (h *handler) aboutRelay() []endpoint {
	return []endpoint{
		{pattern: "GET /v1/status", role: operator.Read, serve: h.status, answer: Status{}, does: "Is mail flowing: what dawk status --json prints"},
		{pattern: "GET /v1/rates", role: operator.Read, serve: h.rates, answer: Rates{}, without: h.Rates == nil, does: "What happened in the last quarter of an hour"},
		{pattern: "GET /v1/stats", role: operator.Read, serve: h.stats, answer: Stats{}, does: "Counts that cost nothing to ask"},
		{pattern: "GET /v1/health", role: operator.Read, serve: h.health, answer: Health{}, does: "Does the relay work; 503 if it does not"},
		{pattern: "GET /v1/providers", role: operator.Read, serve: h.providers, answer: Providers{}, does: "What providers and routes take now"},
		{pattern: "GET /v1/budgets", role: operator.Read, serve: h.budgets, answer: []shaping.BudgetState{}, without: h.Budgets == nil, does: "What routes with a budget have used of it"},
		{pattern: "GET /v1/oauth", role: operator.Read, serve: h.logins, answer: []LoginStatus{}, without: h.Logins == nil, does: "Routes with a login"},
		{pattern: "POST /v1/oauth/test", role: operator.Operate, serve: h.testLogin, answer: LoginTest{}, without: h.TestLogin == nil,
			does: "Log in at a smart host, and send nothing", params: []param{{"route", "the name of the route", "office", true}}},
		{pattern: "GET /v1/devices", role: operator.Read, serve: h.devices, answer: []Device{}, does: "Who came to the listeners for devices"},
		{pattern: "GET /v1/identities", role: operator.Read, serve: h.identities, answer: []Identity{}, without: h.Identities == nil, does: "Who may send, and what of it is used up"},
		{pattern: "GET /v1/holds", role: operator.Read, serve: h.holds, answer: []UserHold{}, does: "Users on hold"},
		{pattern: "POST /v1/holds/release", role: operator.Operate, serve: h.releaseUser, answer: UserHold{}, without: h.ReleaseUser == nil,
			does: "End the hold of a user", params: []param{{"name", "the user", "shop", true}}},
		{pattern: "GET /v1/check", role: operator.Read, serve: h.check, answer: Checked{}, without: h.Check == nil, does: "What dawk check finds; takes up to half a minute"},
		{pattern: "GET /v1/config", role: operator.Read, serve: h.configuration, answer: Configuration{}, without: h.Configuration == nil, does: "What is in force, and where it comes from"},
		{pattern: "POST /v1/reload", role: operator.Admin, serve: h.reload, answer: Reloaded{}, without: h.Reload == nil, does: "Read the configuration again"},
		{pattern: "POST /v1/drain", role: operator.Admin, serve: h.drain, answer: Draining{}, media: linesMedia, without: h.Drain == nil,
			does: "Take nothing new, deliver what is due, and end; a line tells of each step"},
		{pattern: "POST /v1/store/verify", role: operator.Admin, serve: h.verify, answer: Report{}, without: h.Verify == nil, does: "Check every invariant of the store"},
		{pattern: "POST /v1/store/compact", role: operator.Admin, serve: h.compact, answer: Report{}, without: h.Compact == nil, does: "Give free pages back to the file system"},
		{pattern: "GET /v1/store/backup", role: operator.Admin, serve: h.backup, media: "application/octet-stream", without: h.Backup == nil,
			does: "A consistent copy of the queue. The trailer " + BackupFault + " says what it lacks"},
		{pattern: "GET /v1/openapi.json", role: operator.Read, serve: h.openapi, answer: map[string]any{}, does: "This document"},
	}
}
