package notice

import (
	"regexp"
	"strings"

	"dawk/relay"
)

// automatic says whether a message is an answer of a machine that is no notice about a
// delivery: an absence, or a question whether the sender is a person.
func (m *part) automatic() bool {
	h := m.header
	subject := strings.ToLower(m.decodedHeader("subject"))
	if fromDaemon.MatchString(strings.ToLower(h["from"])) && !absent.MatchString(subject) {
		return false
	}
	auto := strings.ToLower(h["auto-submitted"])
	switch {
	case strings.HasPrefix(auto, "auto-replied"), strings.HasPrefix(auto, "auto-notified"):
	case h["x-autoreply"] != "", h["x-autorespond"] != "", h["x-auto-response-suppress"] != "" && absent.MatchString(subject):
	case strings.Contains(strings.ToLower(h["precedence"]), "auto_reply"):
	case absent.MatchString(subject), challenge.MatchString(subject):
	case challenge.MatchString(strings.ToLower(m.readable()[:min(len(m.readable()), 2000)])) && !failed.MatchString(subject):
	default:
		return false
	}
	return !undelivered.MatchString(subject)
}

var (
	fromDaemon = regexp.MustCompile(`mailer[-_ ]?daemon|postmaster|mail delivery (sub)?system|mailadmin|\bmta[-@]|bounce|mail[-_ ]?(gateway|server|router)|smtp gateway|no-?reply.*delivery`)
	absent     = regexp.MustCompile(`out of (the )?office|automatic reply|auto(matic|mated)?[- ]?(reply|response|antwort)|\bvacation\b|on (annual )?leave|away from|abwesen|absence|fuera de (la )?oficina|risposta automatica|automatisch|assente|i am away|不在|休暇|autoreply`)
	challenge  = regexp.MustCompile(`(confirm|verify) (your|that you|this) (e-?mail|message|are|address|sender|identity)|please confirm your (message|e-?mail)|challenge|click (here|the link|on the link).{0,60}(deliver|verify|approve|release)|boxbe|spam ?arrest|tmda|waiting list|sender (address )?verification required`)
	failed     = regexp.MustCompile(`undeliver|not (be )?deliver|deliver(y|ing).*(fail|problem|error|status)|fail(ed|ure)|returned? (mail|to sender|message)|mail (delivery|system) error|could ?n.t|unable to|unzustellbar|non ?(remis|distribu)|rejected|bounced|user unknown|unknown user|no such|mail could not|mancata consegna|no se pudo|エラー|返|message not sent|non-delivery|nondeliverable|warning: could not send|problem delivering|delivery notification`)
	// undelivered is failed without what people write about other things.
	undelivered = regexp.MustCompile(`undeliver|not (be )?deliver|deliver(y|ing).*(fail|problem|error|status)|fail(ed|ure)? (delivery|notice)|returned? (mail|to sender|message)|(mail|message) (delivery|system|status) (error|failure)|unzustellbar|mail could not|non-delivery|nondeliverable`)
	late        = regexp.MustCompile(`still (being )?(try|queued|retry)|attempts will continue|will continue to attempt|will (continue to |be |keep )?(re)?try|will be re(tried|sent|-?attempted)|(delivery|message|mail) (has been |is |was |temporarily )*(delayed|deferred)|has not (yet )?been delivered( yet)?|you do not need to resend|no action is required|warning message only|not yet been delivered|delay(ed)? (notification|warning)|delayed mail|could not (be delivered|send message) for (the )?(past|last)? ?\d+ (hour|minute)|temporarily`)
	over        = regexp.MustCompile(`permanent|no longer valid|given? up|giving up|final|fatal error|retry time(out)? exceeded|unrecoverable|has failed|not going to try again|returned to (you|sender)`)
	separator   = regexp.MustCompile(`(?im)^[ \t]*(-{2,}|_{2,}|\*{2,}|={2,}|>+)?[ \t]*(below this line is a copy|this is a copy of (the|your) message|(the )?original message( follows| header| text|:|[ \t]*-*[ \t\r]*$)|returned message( follows)?|unsent message( follows)?|message headers? follow|here is a copy of|headers? of (the )?(original|returned|message)|transcript of (the )?message|(a )?copy of (the|your) (original )?message|begin (forwarded|returned) message|message (text )?follows|included is a copy|text of (your )?(message|mail)|received: from|return-path:|the following is a copy|undelivered message headers|the body of the message)`)
	anAddress   = regexp.MustCompile(`[A-Za-z0-9_.+=&'/!#$%*?^{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?`)
	bracketed   = regexp.MustCompile(`(?m)^(?:<[^\s<>@]+@[^\s<>@]+>|[^\s<>@]+@[^\s<>@:]+):[ \t\r]*$`)
	follow      = regexp.MustCompile(`(?i)did not reach the following recipient|the following (recipient|address|user)[a-z()]* (did not|failed|has|have|could|couldn)|following address(es|\(es\))? (failed|had)|could not be delivered to( the following| one or more)?[^\n]{0,60}:`)
	generated   = regexp.MustCompile(`\((?:generated|expanded) from:? <?([^\s<>()]+@[^\s<>()]+?)>?\)`)
	repliedTo   = regexp.MustCompile(`(?m)^[45]\d\d <([^\s<>]+@[^\s<>]+)>\.\.\.`) // Sendmail's transcripts
	rcptTo      = regexp.MustCompile(`(?i)RCPT TO:? ?<?(?:mailto:)?([^\s<>:;,]+@[^\s<>:;,]+?)>?(?:[\s:;,]|$)`)
	noAddress   = regexp.MustCompile(`(?i)^(mailer-daemon|postmaster|abuse|noreply|no-reply|support|help|helpdesk|nobody)@|@(localhost|mail\.python)|^[0-9a-f._$+-]{16,}@`)
	reason      = regexp.MustCompile(`(?i)unknown|no such|does ?n.t exist|not exist|invalid|unable|undeliver|not (be )?(found|deliver|listed|known|accept)|fail|quota|full|disabled|reject|refused|denied|unavailable|unrouteable|unroutable|bad address|error|inactive|suspended|over|timed? ?out|blocked|unrecognized|cannot|can't|could not|couldn't|host|domain|expired|exceed|no user|no mailbox|spam|virus`)
)

// words reads a notice that a program wrote in words of its own.
func (m *part) words() (n Notice) {
	subject := strings.ToLower(m.decodedHeader("subject"))
	text := m.readable()
	if at := separator.FindStringIndex(text); at != nil && strings.TrimSpace(text[:at[0]]) != "" {
		text = text[:at[0]]
	}
	lower := strings.ToLower(text)
	daemon := fromDaemon.MatchString(strings.ToLower(m.header["from"]+" "+m.header["return-path"])) || strings.Contains(m.header["return-path"], "<>") ||
		m.header["x-failed-recipients"] != "" || strings.HasPrefix(m.kind, "multipart/report")
	if !daemon && !failed.MatchString(subject) {
		return n
	}
	if !failed.MatchString(subject) && !failed.MatchString(lower) && !coded.MatchString(text) && !reason.MatchString(text) && !late.MatchString(subject+lower) && !bracketed.MatchString(text) {
		return n
	}
	kind := Failed
	if (late.MatchString(lower) || late.MatchString(subject)) && !over.MatchString(lower) || strings.HasPrefix(subject, "warning") && late.MatchString(lower) {
		kind = Delayed
	}
	all := m.named(text)
	for _, a := range all {
		about := alone(near(text, a), a, all)
		if len(strings.TrimSpace(about)) < len(a)+4 { // nothing follows: what goes before tells
			at := strings.Index(asciiLower(text), asciiLower(a))
			about = text[max(0, at-400) : max(0, at)+min(len(text)-max(0, at), len(a))]
		}
		r := Recipient{Address: a, Kind: kind, Reply: said(about)}
		r.classify(text)
		n.Recipients = append(n.Recipients, r)
	}
	if len(n.Recipients) == 0 {
		r := Recipient{Kind: kind, Reply: said(text)}
		r.classify("")
		n.Recipients = []Recipient{r}
	}
	n.Kind = kind
	return n
}

// alone is words up to where they name another of all.
func alone(words, a string, all []string) string {
	lower := asciiLower(words)
	for _, other := range all {
		other = asciiLower(other)
		if i := strings.Index(lower[min(len(lower), len(a)):], other); i >= 0 && other != asciiLower(a) {
			words = words[:min(len(words), i+len(a))]
			lower = asciiLower(words)
		}
	}
	return words
}

// said is the reply that words quote. Without a code they are what a server might say.
func said(words string) relay.Reply {
	r := replyOf(words)
	if at := coded.FindStringSubmatchIndex(r.Text); at != nil && len(r.Text)-at[2] > 20 { // from the code on: a transcript may precede it
		words = words[at[2]:]
	}
	r.Text = strings.Join(strings.Fields(words[:min(len(words), 1500)]), " ")
	return r
}

// named are the recipients that words name: where a header field does, these; else those
// that a quoted RCPT names; else addresses near words of failure, each at the beginning of
// its line before any others.
func (m *part) named(text string) []string {
	if list := m.header["x-failed-recipients"]; list != "" {
		return anAddress.FindAllString(list, maxRecipients)
	}
	follows := false
	if at := follow.FindStringIndex(text); at != nil && anAddress.MatchString(text[at[1]:]) {
		text, follows = text[at[1]:], true
	}
	sender := address(m.header["from"])
	own := map[string]bool{strings.ToLower(sender): true, strings.ToLower(address(m.header["to"])): true}
	seen := map[string]bool{}
	var quoted, first, others []string
	add := func(list *[]string, a string) {
		a = strings.Trim(a, ".'`/=*")
		if i := strings.LastIndexByte(a, '='); i >= 0 && strings.EqualFold(a[:i], "SMTP") { // X.400
			a = a[i+1:]
		}
		key := strings.ToLower(a)
		if len(a) > 320 || !strings.Contains(a, "@") || own[key] || seen[key] || noAddress.MatchString(a) {
			return
		}
		seen[key] = true
		*list = append(*list, a)
	}
	lines := strings.Split(text, "\n")
	lines = lines[:min(len(lines), maxLines)]
	for _, line := range lines {
		line = line[:min(len(line), 2000)]
		for _, f := range rcptTo.FindAllStringSubmatch(line, 5) {
			add(&quoted, f[1])
		}
	}
	for _, f := range repliedTo.FindAllStringSubmatch(text, maxRecipients) {
		add(&quoted, f[1])
	}
	for _, f := range bracketed.FindAllString(text, maxRecipients) { // also where somebody wrote to himself
		delete(own, strings.ToLower(strings.TrimRight(strings.TrimLeft(f, "<"), ">: \t\r")))
	}
	for _, f := range generated.FindAllStringSubmatch(text, maxRecipients) {
		add(&first, f[1])
	}
	if len(quoted) > 0 && len(first) == 0 {
		return quoted
	}
	for i, line := range lines {
		line = line[:min(len(line), 2000)]
		at := anAddress.FindStringIndex(line)
		if at == nil {
			continue
		}
		around := strings.Join(lines[max(0, i-2):min(len(lines), i+4)], " ")
		before := strings.TrimLeft(line[:at[0]], " \t<>*\"'(-:")
		switch {
		case before == "" || strings.HasPrefix(strings.ToLower(before), "to:") || strings.HasPrefix(strings.ToLower(before), "recipient"):
			add(&first, line[at[0]:at[1]])
		case follows || reason.MatchString(around):
			for _, a := range anAddress.FindAllString(line, 5) {
				add(&others, a)
			}
		}
	}
	if len(first) > 0 {
		return first
	}
	return others
}
