package migrate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
)

// limit is what a transport may do at once, with each destination.
type limit struct {
	connections, recipients int           // 0: not said
	delay                   time.Duration // between two messages
	where                   map[string]string
}

// limit reads those of a transport.
func (m *migration) limit(s service, set settings) (l limit) {
	l.where = map[string]string{}
	read := func(suffix string) (value string) {
		value, where, ok := set.written(s.name + suffix)
		if !ok {
			value, where, _ = set.written("default" + suffix)
		}
		l.where[suffix] = where
		return value
	}
	l.connections, _ = strconv.Atoi(read(concurrency))
	l.recipients, _ = strconv.Atoi(read(recipients))
	delay, known := duration(read(rateDelay), "s")
	if value := read(rateDelay); value != "" && !known {
		m.item(l.where[rateDelay], value, "this is no time; write `rate` into the [[route]]")
	}
	if l.delay = delay; delay > 0 {
		l.connections, l.where[concurrency] = 1, l.where[rateDelay] // Postfix waits after each delivery
	}
	return l
}

const concurrency, recipients, rateDelay = "_destination_concurrency_limit", "_destination_recipient_limit", "_destination_rate_delay"

// rate is one message in each delay.
func rate(delay time.Duration) string { return "1/" + relay.Duration(max(delay, time.Second)).String() }

// limits converts those of a transport to a smart host.
func (m *migration) limits(s service, set settings, l *section) {
	limit := m.limit(s, set)
	if limit.connections > 0 {
		l.set("connections", limit.connections, limit.where[concurrency])
	}
	if limit.recipients > 0 {
		l.set("max_recipients", limit.recipients, limit.where[recipients])
	}
	if limit.delay > 0 {
		l.set("rate", rate(limit.delay), limit.where[rateDelay])
	}
}

// providers are the shipped rules of [[provider]] for domains that people slow down.
var providers = map[string]string{
	"gmail.com": "google", "googlemail.com": "google", "outlook.com": "outlook", "hotmail.com": "outlook", "live.com": "outlook", "msn.com": "outlook",
	"yahoo.com": "yahoo", "ymail.com": "yahoo", "aol.com": "yahoo", "icloud.com": "apple", "me.com": "apple", "mac.com": "apple",
	"gmx.de": "gmx", "gmx.net": "gmx", "gmx.com": "gmx", "web.de": "gmx", "t-online.de": "t-online", "orange.fr": "orange", "wanadoo.fr": "orange", "comcast.net": "comcast",
}

// mxLimits converts those of a transport to the MX hosts of a domain: hosts that are
// found by MX are limited by provider. The strictest of several domains holds.
func (m *migration) mxLimits(s service, set settings, domain string) {
	limit := m.limit(s, set)
	if limit.recipients > 0 {
		m.item(limit.where[recipients], strconv.Itoa(limit.recipients), "by MX dawk sends as many recipients at once as the host takes; max_recipients is for a [[route]] with `via`")
	}
	wide := func(suffix string) bool { // of all destinations, not of a transport that some have
		where := limit.where[suffix]
		return strings.HasPrefix(where, "main.cf") && (s.name == "smtp" || strings.Contains(where, ": default_"))
	}
	if limit.delay > 0 && wide(rateDelay) {
		m.item(limit.where[rateDelay], relay.Duration(limit.delay).String(), fmt.Sprintf("hosts found by MX are limited by provider: write a [[provider]] with rate = %q for those that need it", rate(limit.delay)))
		limit.delay, limit.connections = 0, 0
	}
	if wide(concurrency) {
		limit.connections = 0 // delivery.connections_per_provider has it
	}
	if limit.connections == 0 && limit.delay == 0 {
		return
	}
	name := providers[domain]
	if name == "" {
		text := fmt.Sprintf("connections = %d", limit.connections)
		if limit.delay > 0 {
			text += fmt.Sprintf(", rate = %q", rate(limit.delay))
		}
		m.item(limit.where[concurrency], domain, "hosts found by MX are limited by provider: write a [[provider]] with a `name`, the MX hosts of this domain as `mx`, and "+text)
		return
	}
	old, again := m.slowed[name]
	if !again {
		old.section = m.section("[[provider]]")
		old.section.set("name", name, domain+" is one of its domains")
	}
	if limit.connections > 0 && (old.connections == 0 || limit.connections < old.connections) {
		old.connections = limit.connections
		old.section.set("connections", limit.connections, limit.where[concurrency])
	}
	if limit.delay > old.delay {
		old.delay = limit.delay
		old.section.set("rate", rate(limit.delay), limit.where[rateDelay])
	}
	m.slowed[name] = old
}

// slowed is a [[provider]] that is written.
type slowed struct {
	section     *section
	connections int
	delay       time.Duration
}
