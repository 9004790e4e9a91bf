package bounce

import "dawk/relay"

// rules are tried in order. Four bands, from the surest sign to the vaguest:
// where it happened; words so particular that receivers send them with any
// status; statuses that mean one thing (RFC 3463, RFC 7372, RFC 8689 and the
// IANA registry); ordinary words; what is left of status and code.
//
// testdata/replies.tsv holds real replies for every rule: add the reply that
// was judged wrongly there before changing a line here.
var rules = []rule{
	// Where it happened.
	{category: Login, stages: []relay.Stage{relay.StageAuth}},
	{category: TLS, stages: []relay.Stage{relay.StageTLS}},
	{category: Operator, cause: relay.CauseOperator},
	{category: Damaged, cause: relay.CauseDamage},
	{category: RateLimited, cause: relay.CauseThrottle},
	{category: Loop, own: true, status: []string{"4.6"}},
	{category: BadDomain, own: true, status: []string{"1.2", "1.10", "4.4"}},
	{category: DNS, own: true, stages: []relay.Stage{relay.StageDNS}},
	{category: DNS, own: true, status: []string{"4.3"}},
	{category: Expired, own: true, status: []string{"4.7"}},
	{category: TLS, own: true, status: []string{"7.4", "7.5", "7.10", "7.11", "7.30"}},
	{category: Content, own: true, status: []string{"6."}},
	{category: Connection, own: true, stages: []relay.Stage{relay.StageConnect, relay.StageGreeting, relay.StageEHLO,
		relay.StageMail, relay.StageRcpt, relay.StageData, relay.StageBody}},

	// Words that mean one thing whatever the status says.
	{category: Greylisted, text: []string{"greylist", "graylist", "grey list", "gray list", "grey-list", "greylst", "postgrey",
		"internal resources are temporarily unavailable", "internal resource temporarily unavailable"}}, // Mimecast
	{category: Loop, text: []string{"too many hops", "hop count exceeded", "mail loop", "loops back to", "routing loop", "too many received"}},
	{category: RateLimited, text: []string{"unusual rate", "receiving mail at a rate", "receiving mail too quickly",
		"rate limit", "ratelimit", "rate-limit", "too many messages", "too many connections", "too many concurrent", "too many simultaneous",
		"frequency limited", "throttl", "too fast", "sending limit", "sending quota", "daily limit", "hourly limit", "submission quota exceeded", "exceeded the maximum number of messages",
		"[tss04]", "[ts01]", "[ts02]", "unexpected volume", "excessive volume", "max message per connection", "connection frequency", "too many recipients", "slow down", "sending too much",
		"hl:icc", "hl:ifc", "mi:dmc", "rp:drc", "mi:sfq", "unusual sending activity", "too much mail", "thread limit", "concurrent server connections", "per-source limit", "maximum number of connections",
		"mailbox unavailable or access denied", // QQ, of a recipient who gets too much
		"send limit exceeded", "relay limit exceeded", "tenant has exceeded", "receive limit", "messages they can receive"},
		not: []string{"unauthenticated"}},
	{category: Spam, text: []string{"tosa@rx.t-online", "[ts03]", "banned sender", "mail content denied"}},
	{category: SenderAuth, text: []string{"hl:mep", "mi:spf"}},
	{category: TLS, text: []string{"over a tls connection"}},
	{category: Content, text: []string{"not rfc 5322 compliant", "not rfc 2822 compliant", "multiple subject headers", "bare line feed", "bare <lf>", "maximum line length", "maximum allowed line length", "lines too long"}},
	{category: TooBig, text: []string{"maximum email size", "message size exceeds", "message too large", "message is too large", "message too big", "message is too big",
		"message exceeded", "exceeds the maximum message size", "exceeds maximum message size", "exceeds size limit", "exceeded size limit", "larger than the current system limit",
		"exceeds fixed maximum", "exceeds fixed limit", "size limits", "mail size limit", "maximum size exceeded", "size limit exceeded", "larger than the allowed"}},
	{category: MailboxFull, text: []string{"mailbox full", "mailbox is full", "mailbox size limit", "over quota", "overquota", "over the quota", "exceeded storage allocation",
		"quota exceeded", "exceeds quota", "exceeded its quota", "exceeded their quota", "out of storage space", "inbox is full", "inbox full", "storage quota", "mailbox has exceeded", "not enough storage", "quotaexceeded", "insufficient mailbox storage", "user is over", "exhausted allowed storage", "speichervolumen"},
		not: []string{"system storage", "system disk"}},

	// Statuses that mean one thing.
	{category: BadDomain, status: []string{"1.2", "1.10"}, not: []string{"recipient not found", "recipientnotfound"}},
	{category: BadAddress, status: []string{"1.1", "1.3", "1.6", "1.10"}},
	{category: MailboxFull, status: []string{"2.2"}},
	{category: TooBig, status: []string{"3.4", "2.3"}},
	{category: SenderAuth, status: []string{"7.20", "7.21", "7.22", "7.23", "7.24", "7.25", "7.26", "7.27", "7.29", "7.515"}},
	{category: Login, status: []string{"7.57", "7.139"}},
	{category: RateLimited, status: []string{"7.28", "5.3", "7.650", "7.652", "7.653", "7.705", "2.121", "2.122"}},
	{category: TLS, status: []string{"7.4", "7.10", "7.11", "7.30"}},
	{category: DNS, status: []string{"4.3"}},
	{category: Loop, status: []string{"4.6", "4.14"}},
	{category: BadDomain, status: []string{"4.310"}},
	{category: Expired, status: []string{"4.7", "4.300"}},
	{category: Policy, status: []string{"7.64", "7.124", "7.133", "7.750"}},

	// Ordinary words.
	{category: MailboxDisabled, text: []string{"account is disabled", "account that you tried to reach is disabled", "account that you tried to reach is inactive", "account disabled",
		"mailbox disabled", "mailbox is disabled", "account is inactive", "account inactive", "mailbox inactive", "mailbox is inactive", "account has been disabled", "account has been suspended", "account is suspended", "account suspended",
		"user is suspended", "mailbox locked", "user disabled", "not accepting messages", "not accepting mail", "account is locked", "user is inactive", "account expired", "deactivated", "no longer active", "user suspended", "account closed"}},
	{category: BadAddress, text: []string{"no such user", "user unknown", "unknown user", "user not found", "no such recipient", "unknown recipient", "recipient unknown",
		"recipient not found", "recipientnotfound", "recipnotfound", "mailbox not found", "no such mailbox", "no mailbox here", "mailbox unavailable", "mailbox does not exist", "no mailbox by that name", "unknown mailbox",
		"does not exist", "doesn't exist", "not a valid recipient", "invalid recipient", "invalid mailbox", "unknown address", "address unknown", "no such address", "unrouteable address", "unroutable address", "bad destination mailbox",
		"user doesn't have", "doesn't have a", "is not a known user", "not a known recipient", "unverified address", "undeliverable address", "user invalid", "not our customer", "recipient address rejected: access denied",
		"recipient rejected", "address not present in directory", "unknown local part", "no valid recipients", "not found in directory", "cannot find your recipient", "email address could not be found", "mailbox name not allowed", "user does not exist", "not local", "invalid address", "bad address syntax", "not listed in domino"},
		not: []string{"sender address", "sender domain", "domain of sender", "sender verify", "return-path", "spam"}},
	{category: Login, text: []string{"authentication required", "must authenticate", "not logged in", "authentication credentials", "smtp auth", "basic authentication is not supported", "client not authenticated", "client was not authenticated"}},
	{category: SenderAuth, text: []string{"spf", "dkim", "dmarc", "unauthenticated", "reverse dns", "rdns", "ptr record", "bad dns ptr", "ptr resource record", "reverse hostname", "reverse host", "no ptr", "cannot find your hostname", "client host rejected: cannot find", "sender id", "anti-spoofing", "antispoofing", "spoofed", "helo command rejected",
		"not authorized to send from", "not authenticated", "authentication-results", "sender address rejected", "sender domain", "sender verify failed", "domain of sender", "does not match the authenticated", "dns check failed", "not authorized to send email directly"}},
	{category: Content, text: []string{"virus", "malware", "infected", "potential security issue", "attachment", "illegal content", "message format", "not rfc", "rfc 5322", "rfc5322", "rfc 2822", "rfc2822", "rfc 822", "missing header", "bare lf", "bare newline", "malformed", "line too long", "8bitmime", "smtputf8", "duplicate header", "headers", "from: header"},
		not: []string{"spam", "header based"}},
	{category: Spam, text: []string{"spam", "mcspamsignature", "suspect content", "unsolicited", "blacklist", "black list", "blocklist", "block list", "block-list", "blackhole", "black hole", "rbl", "dnsbl", "spamhaus", "spamcop", "barracuda", "proofpoint", "cloudmark", "sorbs", "senderscore", "invaluement", "abusix", "reputation", "bulk mail", "uribl", "surbl",
		"blocked using", "listed by", "listed at", "listed in", "is listed", "is blocked", "was blocked", "has been blocked", "been banned", "is banned", "banned sending ip", "blocked - see", ":blocked)", "user complaints", "complaint", "s3140", "s3150", "abuse", "poor sending", "junk mail", "suspicious", "suspected", "phish", "dt:spm", "client host", "jmrp", "csi.", "sender is on"}},
	{category: TLS, text: []string{"starttls", "must issue a starttls", "tls required", "requires tls", "encryption required", "encryption needed"}},
	{category: ServerTrouble, text: []string{"system storage", "system disk", "out of disk", "disk full", "system resources", "local problem", "local error", "internal error", "internal server error", "configuration error", "server configuration", "temporary failure", "temporary domain failure", "temporary problem", "temporarily unavailable", "service unavailable", "try again", "try later", "maintenance", "overload", "too busy", "server busy", "system not accepting", "lookup failure", "lookup failed", "temporary lookup", "queue file write error", "resources temporarily"},
		not: []string{"policy", "access denied"}},
	{category: Policy, text: []string{"policy", "security policies", "address blocked", "relaying disallowed", "unable to relay", "we do not relay", "not allowed", "not permitted", "denied", "prohibited", "forbidden", "administrative", "rejected by", "restricted", "refused by", "restrict", "hm08", "banned", "unwelcome"}},

	// What is left: the subject of the status, then the code.
	{category: MailboxDisabled, status: []string{"2.1"}},
	{category: SenderAuth, status: []string{"1.7", "1.8"}},
	{category: BadAddress, status: []string{"1.", "4.1"}, stages: []relay.Stage{relay.StageRcpt}},
	{category: BadAddress, status: []string{"5.0"}, stages: []relay.Stage{relay.StageRcpt}, codes: []int{550}},
	{category: Policy, status: []string{"7."}},
	{category: Content, status: []string{"6."}},
	{category: DNS, status: []string{"4.3", "4.4"}},
	{category: Connection, status: []string{"4."}},
	{category: ServerTrouble, status: []string{"2.", "3.", "5."}},
	{category: TooBig, codes: []int{552}, stages: []relay.Stage{relay.StageMail, relay.StageData, relay.StageBody}},
	{category: MailboxFull, codes: []int{552, 452}, stages: []relay.Stage{relay.StageRcpt}},
	{category: BadAddress, codes: []int{550, 551, 553}, stages: []relay.Stage{relay.StageRcpt}},
	{category: Policy, codes: []int{571}}, // 550 and 554 say no more than "no" (RFC 5321 §4.2.3)
	{category: ServerTrouble, codes: []int{421, 450, 451, 452}},
}
