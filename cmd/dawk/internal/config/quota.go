package config

import (
	"dawk/relay/identity"
)

// QuotaConfig limits those who send without a login, each by itself. The keys
// are those of users.toml; 0 means no limit.
type QuotaConfig struct {
	PerHour           int `toml:"per_hour"`
	PerDay            int `toml:"per_day"`
	Burst             int `toml:"burst"`
	RecipientsPerHour int `toml:"recipients_per_hour"`
	RecipientsPerDay  int `toml:"recipients_per_day"`
	HoldCopies        int `toml:"hold_copies"`
	HoldNewRecipients int `toml:"hold_new_recipients"`
}

func (q QuotaConfig) policy() identity.Policy {
	return identity.Policy{PerHour: q.PerHour, PerDay: q.PerDay, Burst: q.Burst, RecipientsPerHour: q.RecipientsPerHour,
		RecipientsPerDay: q.RecipientsPerDay, HoldCopies: q.HoldCopies, HoldNewRecipients: q.HoldNewRecipients}
}

// keys are the names of q's keys, with their values.
func (q QuotaConfig) keys() []quotaKey {
	return []quotaKey{{"per_hour", q.PerHour}, {"per_day", q.PerDay}, {"burst", q.Burst}, {"recipients_per_hour", q.RecipientsPerHour},
		{"recipients_per_day", q.RecipientsPerDay}, {"hold_copies", q.HoldCopies}, {"hold_new_recipients", q.HoldNewRecipients}}
}

type quotaKey struct {
	name  string
	value int
}

// checkQuota refuses limits that are none: whoever writes 0 may mean either.
func (c *Config) checkQuota(at string, q QuotaConfig) {
	for _, k := range q.keys() {
		if key := at + "." + k.name; k.value < 1 && c.doc.Has(key) && c.doc.Clean(key) {
			c.doc.Fault(key, "%s is %d; it must be at least 1: leave the key out for no limit", k.name, k.value)
		}
	}
	if q.Burst > 0 && (q.PerHour == 0 || q.Burst > q.PerHour) {
		c.doc.Fault(at+".burst", "burst is the part of per_hour that may come at once: it needs per_hour, and may not be more")
	}
}

// checkListenerQuota refuses rules for clients that are not there.
func (c *Config) checkListenerQuota(at string, l *ListenerConfig) {
	c.checkQuota(at, l.QuotaConfig)
	if len(l.Senders) == 0 {
		c.emptyMeansAll(at + ".senders")
	}
	if len(l.TrustedNetworks) > 0 || c.doc.Has(at+".trusted_networks") {
		return
	}
	for _, k := range append(l.keys(), quotaKey{name: "senders"}) {
		if key := at + "." + k.name; c.doc.Has(key) {
			c.doc.Fault(key, "%s has no effect without trusted_networks: it is for clients that need no login; what users may do is in users.toml", k.name)
		}
	}
}
