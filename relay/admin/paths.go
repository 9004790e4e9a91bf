package admin

import (
	"slices"

	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/operator"
	"dawk/relay/admin/queued"
)

// endpoints is the table.
func (h *handler) endpoints() []api.Endpoint {
	return slices.Concat(h.aboutMail(), h.acts.Endpoints(), h.aboutRelay(), h.More)
}

// aboutMail are the paths about messages.
func (h *handler) aboutMail() []api.Endpoint {
	return []api.Endpoint{
		{Pattern: "GET /v1/queue", Role: operator.Read, Serve: h.list, Lines: queued.Line{}, Answer: queued.List{},
			Does: "Deliveries in the queue, oldest message first", Params: []api.Param{api.FilterParam, api.LimitParam,
				{Name: "after", Does: "only messages that came after this queue ID: the last of a list, for the next page", Example: api.ExampleID}}},
		{Pattern: "GET /v1/queue/{id}", Role: operator.Read, Serve: h.show, Answer: relay.Item{},
			Does: "One message in the queue with its attempts", Params: []api.Param{api.IDParam}},
		{Pattern: "GET /v1/queue/{id}/why", Role: operator.Read, Serve: h.why, Answer: Why{},
			Does: "Why a message is still here, or what became of it", Params: []api.Param{api.IDParam}},
		{Pattern: "GET /v1/queue/{id}/headers", Role: operator.Read, Serve: h.headers, Media: "message/rfc822",
			Does: "The header section of a message", Params: []api.Param{api.IDParam}},
		{Pattern: "GET /v1/queue/{id}/content", Role: operator.Operate, Serve: h.content, Audited: "read", Media: "message/rfc822",
			Does: "The octets of a message; the audit log tells who asked", Params: []api.Param{api.IDParam}},
		{Pattern: "GET /v1/shape", Role: operator.Read, Serve: h.shape, Answer: Shape{},
			Does:   "How many deliveries, by provider and the like and by age",
			Params: []api.Param{{Name: "by", Does: "provider, domain, reason, identity, route, state, dest or age", Example: "provider", Required: true}, api.FilterParam}},
		{Pattern: "GET /v1/explain", Role: operator.Read, Serve: h.explanation, Answer: Explanation{}, Without: h.Explain == nil,
			Does: "What would happen to a message; nothing is sent",
			Params: []api.Param{{Name: "from", Does: "the sender", Example: "office@example.org", Required: true}, {Name: "to", Does: "the recipient", Example: "reader@example.com", Required: true},
				{Name: "identity", Does: "who submits it", Example: "shop"}}},
		{Pattern: "GET /v1/history", Role: operator.Read, Serve: h.history, Answer: PastRecords{}, Without: h.Past == nil,
			Does:   "What became of mail, also after it has left: the newest records that a filter picks, oldest first",
			Params: []api.Param{{Name: "filter", Does: "which records, in the grammar of dawk history; without it: all", Example: "to=@example.com since=2d"}, api.LimitParam}},
	}
}

// aboutRelay are the paths about the relay itself.
func (h *handler) aboutRelay() []api.Endpoint {
	return []api.Endpoint{
		{Pattern: "GET /v1/status", Role: operator.Read, Serve: h.status, Answer: Status{}, Does: "Is mail flowing: what dawk status --json prints"},
		{Pattern: "GET /v1/rates", Role: operator.Read, Serve: h.rates, Answer: Rates{}, Without: h.Rates == nil, Does: "What happened in the last quarter of an hour"},
		{Pattern: "GET /v1/stats", Role: operator.Read, Serve: h.stats, Answer: Stats{}, Does: "Counts that cost nothing to ask"},
		{Pattern: "GET /v1/health", Role: operator.Read, Serve: h.health, Answer: Health{}, Does: "Does the relay work; 503 if it does not"},
		{Pattern: "GET /v1/providers", Role: operator.Read, Serve: h.providers, Answer: Providers{}, Does: "What providers and routes take now"},
		{Pattern: "GET /v1/budgets", Role: operator.Read, Serve: h.budgets, Answer: []shaping.BudgetState{}, Without: h.Budgets == nil, Does: "What routes with a budget have used of it"},
		{Pattern: "GET /v1/oauth", Role: operator.Read, Serve: h.logins, Answer: []LoginStatus{}, Without: h.Logins == nil, Does: "Routes with a login"},
		{Pattern: "POST /v1/oauth/test", Role: operator.Operate, Serve: h.testLogin, Audited: "test-login", Answer: LoginTest{}, Without: h.TestLogin == nil,
			Does: "Log in at a smart host, and send nothing", Params: []api.Param{{Name: "route", Does: "the name of the route", Example: "office", Required: true}}},
		{Pattern: "GET /v1/devices", Role: operator.Read, Serve: h.devices, Answer: []Device{}, Does: "Who came to the listeners for devices"},
		{Pattern: "GET /v1/identities", Role: operator.Read, Serve: h.identities, Answer: []Identity{}, Without: h.Identities == nil, Does: "Who may send, and what of it is used up"},
		{Pattern: "GET /v1/holds", Role: operator.Read, Serve: h.holds, Answer: []UserHold{}, Does: "Users on hold"},
		{Pattern: "POST /v1/holds/release", Role: operator.Operate, Serve: h.releaseUser, Audited: "release-user", Answer: UserHold{}, Without: h.ReleaseUser == nil,
			Does: "End the hold of a user", Params: []api.Param{{Name: "name", Does: "the user", Example: "shop", Required: true}}},
		{Pattern: "GET /v1/check", Role: operator.Read, Serve: h.check, Audited: "check", Answer: Checked{}, Without: h.Check == nil, Does: "What dawk check finds; takes up to half a minute"},
		{Pattern: "GET /v1/config", Role: operator.Read, Serve: h.configuration, Answer: Configuration{}, Without: h.Configuration == nil, Does: "What is in force, and where it comes from"},
		{Pattern: "POST /v1/reload", Role: operator.Admin, Serve: h.reload, Audited: "reload", Answer: Reloaded{}, Without: h.Reload == nil, Does: "Read the configuration again"},
		{Pattern: "POST /v1/drain", Role: operator.Admin, Serve: h.drain, Audited: "drain", Answer: Draining{}, Media: api.LinesMedia, Without: h.Drain == nil,
			Does: "Take nothing new, deliver what is due, and end; a line tells of each step"},
		{Pattern: "POST /v1/store/verify", Role: operator.Admin, Serve: h.verify, Audited: "verify", Answer: Report{}, Lines: Verifying{}, Without: h.Verify == nil, Does: "Check every invariant of the store"},
		{Pattern: "POST /v1/store/compact", Role: operator.Admin, Serve: h.compact, Audited: "compact", Answer: Report{}, Without: h.Compact == nil, Does: "Give free pages back to the file system"},
		{Pattern: "GET /v1/store/backup", Role: operator.Admin, Serve: h.backup, Audited: "backup", Media: "application/octet-stream", Without: h.Backup == nil,
			Does: "A consistent copy of the queue. The trailer " + api.Fault + " says what it lacks"},
	}
}
