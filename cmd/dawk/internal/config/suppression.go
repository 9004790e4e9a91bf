package config

import (
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/returnpath"
	"dawk/relay/submission"
	"dawk/relay/suppression"
)

// SuppressionConfig is [suppression]: who gets no mail any more. Without the section no
// list is kept.
type SuppressionConfig struct {
	// failures that put a recipient on the list: answers to RCPT that say that there is no such mailbox, at least a day
	// apart
	After int `toml:"after"`
	// how long a recipient stays on the list
	Expires relay.Duration `toml:"expires"`
	// whom an entry concerns: `"identity"`, the one whose mail failed, or `"all"`
	Scope string `toml:"scope"`
	// what becomes of mail to a recipient on the list: `"bounce"`, it is accepted and returned; `"refuse"`, 550 to RCPT
	Answer string `toml:"answer"`
}

func (c *Config) checkSuppression() {
	s := c.Suppression
	if s.After < 1 || s.After > 100 {
		c.doc.Fault("suppression.after", "suppression.after is %d; it must be 1 to 100 failures", s.After)
	}
	if s.Expires < relay.Duration(time.Second) || s.Expires > relay.Duration(100*365*24*time.Hour) {
		c.doc.Fault("suppression.expires", `suppression.expires is %s; write how long an entry lasts, such as "180d"`, s.Expires)
	}
	c.oneOf("suppression.scope", s.Scope, suppression.ScopeIdentity, suppression.ScopeAll)
	c.oneOf("suppression.answer", s.Answer, suppression.AnswerBounce, suppression.AnswerRefuse)
}

// SuppressionRules are what leads to the list and from it; nil: none is kept.
func (c *Config) SuppressionRules() *suppression.Config {
	if c.doc == nil || !c.doc.Has("suppression") {
		return nil
	}
	s := c.Suppression
	return &suppression.Config{After: s.After, Expires: time.Duration(s.Expires), Scope: s.Scope, Answer: s.Answer}
}

// ReturnPathConfig is [return_path]: signed return addresses, and what comes back to them.
// Without the section there are none.
type ReturnPathConfig struct {
	// of signed addresses, `bounces+`TAG`@`DOMAIN. Its MX must lead to `listener`, and its SPF record must name this relay
	// Default: required
	Domain string `toml:"domain"`
	// where mail to these addresses and to `complaints` is taken, and no other
	// Default: required
	Listener string `toml:"listener"`
	// address for reports of complaints (RFC 5965), of this domain or another whose mail comes to `listener`
	// Default: none
	Complaints string `toml:"complaints"`
	// how long an address takes mail, from the acceptance of the message
	Valid relay.Duration `toml:"valid"`
	// a verified notice of failure also goes on to the sender
	Forward bool `toml:"forward"`
}

func (c *Config) checkReturnPath() {
	r := &c.ReturnPath
	if c.doc == nil || !c.doc.Has("return_path") {
		return
	}
	if d, err := relay.NormalizeDomain(r.Domain); err != nil || strings.HasPrefix(d, "[") || len(d) > 200 {
		c.doc.Fault("return_path.domain", "return_path.domain %q is not a domain: write it like \"bounces.example.org\"", relay.Clip(r.Domain))
	}
	if err := submission.Inbound(r.Listener).Validate().Err(); err != nil {
		c.doc.Fault("return_path.listener", "return_path.listener %q: %v: write it like \"0.0.0.0:25\"", relay.Clip(r.Listener), err)
	}
	if p, err := relay.ParsePath(r.Complaints); r.Complaints != "" && (err != nil || p.IsNull() || p.Domain() == "") {
		c.doc.Fault("return_path.complaints", "return_path.complaints %q is not an address: write it like \"fbl@bounces.example.org\"", relay.Clip(r.Complaints))
	}
	c.positive("return_path.valid", r.Valid)
}

// ReturnPathRules are for the desk of signed addresses; nil: there are none.
func (c *Config) ReturnPathRules() *returnpath.Config {
	r := &c.ReturnPath
	if r.Domain == "" {
		return nil
	}
	domain, _ := relay.NormalizeDomain(r.Domain)   // checked
	complaints, _ := relay.ParsePath(r.Complaints) // checked
	return &returnpath.Config{Domain: domain, Complaints: complaints, Valid: time.Duration(r.Valid), Forward: r.Forward}
}
