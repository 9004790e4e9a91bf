package admin

import (
	"net/http"
	"time"

	"dawk/mx/survey"
	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/identity"
)

// Explanation is the answer of `dawk explain`.
type Explanation struct {
	OK      bool      `json:"ok"` // it would be offered to a host
	Verdict string    `json:"verdict"`
	Live    bool      `json:"live"`                         // a running relay answered
	File    string    `json:"file"`                         // of the configuration that it speaks of; "": built in
	Stale   bool      `json:"stale,omitempty"`              // live: the file is no longer what runs
	Strays  []string  `json:"unknown_identities,omitempty"` // that the configuration names and nobody has, with the keys that name them
	Now     time.Time `json:"now"`

	From relay.Path    `json:"from"` // as asked
	To   relay.Path    `json:"to"`
	Who  ExplainedUser `json:"identity"`

	Refused    relay.Reply    `json:"refused,omitzero"`     // by the rules of acceptance
	SendFrom   relay.Path     `json:"send_from"`            // after rewriting
	SendTo     relay.Path     `json:"send_to"`              // after redirection
	Held       string         `json:"held,omitempty"`       // why it would wait for an operator
	Suppressed string         `json:"suppressed,omitempty"` // why nothing would be sent to the recipient
	Signed     []SignedBy     `json:"signed,omitempty"`
	Unsigned   string         `json:"unsigned,omitempty"` // why it is not signed
	MaxSize    int64          `json:"max_message_bytes"`  // what would be taken
	Route      ExplainedRoute `json:"route"`

	Destination survey.Destination  `json:"destination"`
	Limits      []string            `json:"limits,omitempty"`
	Waiting     string              `json:"waiting,omitempty"`  // for a provider that takes less at the moment, and why
	Provider    *relay.ProviderLoad `json:"provider,omitempty"` // live: what mail for the destination would find now
	EHLO        string              `json:"ehlo"`
	Retry       []relay.Millis      `json:"retry_ms"` // how long after each attempt the next one is; the last repeats
	MaxAge      relay.Millis        `json:"max_age_ms"`
	DelayNotice relay.Millis        `json:"delay_notice_ms,omitempty"` // 0: none
	Bounce      ExplainedBounce     `json:"bounce"`
}

// ExplainedUser is who would send.
type ExplainedUser struct {
	Name    string          `json:"name,omitempty"`
	Known   bool            `json:"known"` // stands in the file of users
	Note    string          `json:"note,omitempty"`
	Senders []string        `json:"senders,omitempty"` // empty: any
	MayAll  bool            `json:"may_send_as_anybody,omitempty"`
	Quotas  []identity.Left `json:"quotas,omitempty"`
	Others  []string        `json:"others,omitempty"` // users who may send as From, where none was named

	Listeners []ExplainedListener `json:"listeners,omitempty"` // that trust the address of a client without login
}

// ExplainedListener is a listener that trusts the address of a client without login.
type ExplainedListener struct {
	Address string          `json:"address"`
	Quotas  []identity.Left `json:"quotas,omitempty"`
}

// SignedBy is a DKIM key that would sign.
type SignedBy struct {
	Record string `json:"record"` // "2026a._domainkey.example.org"
	Kind   string `json:"kind"`   // "rsa", "ed25519" or "unknown": the key may not be read
}

// ExplainedRoute is the route that mail would take.
type ExplainedRoute struct {
	Line      int         `json:"line,omitempty"` // of the [[route]] in the configuration file
	Name      string      `json:"name,omitempty"` // "": no route matches
	Via       []string    `json:"via,omitempty"`
	User      string      `json:"user,omitempty"`
	Routes    int         `json:"routes"` // how many there are
	HeldSince time.Time   `json:"held_since,omitzero"`
	HeldBy    relay.Reply `json:"held_by,omitzero"` // what holds it
}

// ExplainedBounce is where a notice of failure would go.
type ExplainedBounce struct {
	To        relay.Path     `json:"to,omitzero"` // null: nobody
	Route     ExplainedRoute `json:"route,omitzero"`
	Otherwise []string       `json:"otherwise,omitempty"` // the routes that are tried where that one leads nowhere
	Hosts     []string       `json:"hosts,omitempty"`
	Note      string         `json:"note,omitempty"`
}

// explanation answers GET /v1/explain.
func (h *handler) explanation(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	x, err := h.Explain(r.Context(), v.Get("from"), v.Get("to"), v.Get("identity"))
	if err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	api.Answer(w, http.StatusOK, x)
}
