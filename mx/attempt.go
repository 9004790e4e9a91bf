package mx

import (
	"strings"
	"time"

	"dawk/relay"
)

// attempt is one call of Deliver. Recipients are positions in
// task.Recipients and res.Replies throughout.
type attempt struct {
	t    *Transport
	task relay.Task
	use  *use
	res  relay.Result

	relayed bool // a recipient got a 2yz
	dsn     bool // and whoever did was given the DSN parameters
	noDSN   bool // a server refused them: none gets them any more
	charged bool // a transaction was begun
	enough  bool // the smart host says that we send too much: no other host is tried
}

func (a *attempt) all() []int {
	all := make([]int, len(a.task.Recipients))
	for i := range all {
		all[i] = i
	}
	return all
}

func (a *attempt) recipient(i int) *relay.Recipient {
	return &a.task.Message.Recipients[a.task.Recipients[i]]
}

// sameDestination splits off the recipients that go where the first goes.
func (a *attempt) sameDestination(rest []int) (same, other []int) {
	want := a.t.Destination(a.task.Message, a.recipient(rest[0]).Path)
	for _, i := range rest {
		if a.t.Destination(a.task.Message, a.recipient(i).Path) == want {
			same = append(same, i)
		} else {
			other = append(other, i)
		}
	}
	return same, other
}

// deliver tries the hosts of one destination until all recipients are judged.
func (a *attempt) deliver(rest []int) {
	first := a.recipient(rest[0]).Path
	r := a.t.route(a.task.Message, first)
	pol := a.t.policy(a.task.Message, r)
	if pol.user != "" {
		if why, since, shut := r.gate.shut(time.Now(), a.t.cfg.HoldProbe); shut {
			a.res.Route = r.Name
			a.turnBack(rest, why, since)
			return
		}
	}
	var p plan
	if r != nil && len(r.Via) > 0 {
		a.res.Route = r.Name
		p = a.t.planVia(a.use.ctx, r)
		p.targets = a.t.health.order(p.targets)
	} else {
		p = a.t.planMX(a.use.ctx, a.t.domain(first))
		a.t.addSTS(a.use.ctx, &p, pol, a.t.domain(first))
	}
	targets := a.t.idleFirst(p.targets, pol)
	failures := p.failures
	dials, sessions, fresh := 0, 0, false
	for i := 0; i < len(targets) && len(rest) > 0 && dials < maxDials && sessions < maxSessions && a.use.ctx.Err() == nil; {
		s := a.session(targets[i], pol, rest, fresh)
		if pol.user != "" {
			a.learn(r, &s, rest)
		}
		rest = s.rest
		if a.use.ctx.Err() == nil { // else it is we who failed
			a.t.health.note(targets[i], pol, s)
		}
		switch {
		case s.stale, s.progress && s.failure.IsZero():
			fresh = fresh || s.stale // the same host again
			continue
		case s.failure.IsZero(): // DSN parameters refused on the last message it takes
			sessions++
			continue
		}
		failures = append(failures, s.failure)
		switch s.failure.Stage {
		case relay.StageConnect:
			dials++
		case relay.StageRoute: // refused: nothing was dialled
		default:
			sessions++
		}
		if a.enough || hopeless(s.failure) {
			break
		}
		i, fresh = i+1, false
	}
	if len(rest) > 0 {
		verdict := summary(failures)
		if pol.user != "" && loginTrouble(verdict) && a.use.ctx.Err() == nil {
			a.res.HeldSince = a.t.hold(r, verdict)
		}
		for _, i := range rest {
			a.res.Replies[i] = verdict
		}
	}
}

// policy is what the message and its route ask of a session.
func (t *Transport) policy(m *relay.Message, r *compiled) policy {
	p := policy{level: t.cfg.TLS, mx: true, lax: m.TLSOptional && !m.RequireTLS}
	if r != nil {
		p.level = r.TLS
		p.mx = len(r.Via) == 0
		if r.User != "" {
			p.route, p.user, p.password = r.Name, r.User, r.Password
			p.auth, p.credential, p.token, p.provider = r.Auth, r.Credential, r.Token, r.Provider
		}
	}
	switch {
	case m.RequireTLS: // RFC 8689 §4.2.1; it beats "TLS-Required: No"
		p.level, p.requireTLS, p.by = LevelVerified, true, byRequireTLS
	case m.TLSOptional && p.user == "" && p.level > LevelOpportunistic:
		p.level = LevelOpportunistic
	}
	return p
}

// idleFirst puts targets with an idle connection before the others of the
// best rank: any of those would do, and this one is there already.
func (t *Transport) idleFirst(targets []target, p policy) []target {
	for i, tg := range targets {
		if tg.rank != targets[0].rank {
			break
		}
		raised, _ := t.raise(p, tg)
		if i > 0 && t.pool.has(keyOf(tg, raised)) {
			first := append([]target{tg}, targets[:i]...)
			return append(first, targets[i+1:]...)
		}
	}
	return targets
}

// sessionResult is what came of one connection.
type sessionResult struct {
	rest     []int       // recipients not judged
	progress bool        // at least one was
	stale    bool        // an idle connection turned out dead: a fresh one may do
	failure  relay.Reply // why those in rest were not; zero with progress or stale
}

// session takes or makes a connection to a target and runs transactions on
// it until every recipient is judged or it can do no more.
func (a *attempt) session(tg target, p policy, rest []int, fresh bool) sessionResult {
	p, bad := a.t.raise(p, tg)
	a.res.TLSPolicy = p.by
	if !bad.IsZero() {
		a.t.reportRefused(tg, p, bad)
		return sessionResult{rest: rest, failure: bad}
	}
	key := keyOf(tg, p)
	var c *conn
	if !fresh {
		c = a.t.pool.get(key)
	}
	reused := c != nil
	if reused {
		c.attach(a.use)
	} else {
		a.use.tlsWhy = ""
		c, bad = a.t.open(a.use, tg, p)
		a.t.report(a.use, tg, p, c, bad)
		if c == nil {
			if bad.MTA != "" {
				a.res.Host, a.res.Addr, a.res.TLS = bad.MTA, bad.Addr, ""
			}
			return sessionResult{rest: rest, failure: bad}
		}
		c.key = key
	}
	a.res.Host, a.res.Addr, a.res.TLS, a.res.Reused = c.target.host, c.addr, c.tls, reused
	s := sessionResult{rest: rest}
	for len(s.rest) > 0 && !c.dead && s.failure.IsZero() && a.room(c) && a.afford(p, &s) {
		a.transaction(c, &s, reused && !s.progress)
	}
	if a.room(c) {
		a.t.pool.put(c)
	} else {
		c.detach()
		a.t.bg.quit(c)
	}
	return s
}

// room says whether c may serve another message.
func (a *attempt) room(c *conn) bool {
	limit := a.t.cfg.MessagesPerConnection
	if c.ext.mailMax > 0 {
		limit = min(limit, c.ext.mailMax)
	}
	return c.served < limit && !c.last
}

// transaction runs one, for as many of s.rest as fit, and keeps the score.
// maybeStale: the connection was idle and has not spoken since.
func (a *attempt) transaction(c *conn, s *sessionResult, maybeStale bool) {
	s.rest = a.judgeUnfit(c, s.rest)
	if len(s.rest) == 0 {
		s.progress = true
		return
	}
	batch := s.rest[:min(len(s.rest), a.batchSize(c))]
	tx := &transaction{m: a.task.Message, content: a.task.Content, rcpts: make([]*relay.Recipient, len(batch))}
	tx.opts.dsn = c.ext.dsn && !c.noDSN && !a.noDSN
	tx.opts.smtpUTF8 = c.ext.smtpUTF8 && a.task.Message.SMTPUTF8
	for i, pos := range batch {
		tx.rcpts[i] = a.recipient(pos)
		tx.opts.smtpUTF8 = tx.opts.smtpUTF8 || c.ext.smtpUTF8 && a.needsUTF8(tx.rcpts[i])
	}
	c.transact(tx)
	if s.stale = maybeStale && c.dead && !tx.began; s.stale {
		return // whatever it said, it said goodbye to the message before
	}
	a.res.Unknown = a.res.Unknown || tx.unknown
	a.noDSN = a.noDSN || tx.noDSN
	rest := make([]int, 0, len(s.rest))
	for i, pos := range batch {
		r := tx.replies[i]
		if r.IsZero() {
			rest = append(rest, pos)
			continue
		}
		a.res.Replies[pos] = r
		s.progress = true
		if r.Positive() {
			a.relayed = true
			a.dsn = a.dsn && tx.opts.dsn
		}
	}
	s.rest = append(rest, s.rest[len(batch):]...)
	s.failure = tx.trouble
	if tx.tooMany {
		c.ext.rcptMax = len(tx.accepted)
	}
}

// batchSize is how many recipients one transaction may have (RFC 9422).
func (a *attempt) batchSize(c *conn) int {
	n := a.t.cfg.RecipientsPerMessage
	if own := c.target.recipients; own > 0 {
		n = own
	}
	if c.ext.rcptMax > 0 {
		n = min(n, c.ext.rcptMax)
	}
	return n
}

func (a *attempt) needsUTF8(r *relay.Recipient) bool {
	m := a.task.Message
	return m.UTF8Header || !m.From.ASCII() || !r.Path.ASCII()
}

// judgeUnfit settles the recipients whose message this server cannot take,
// and returns the others. The verdict is final: another MX host of the same
// domain that could take it would help only by chance, and the sender is told
// at once.
func (a *attempt) judgeUnfit(c *conn, rest []int) []int {
	m := a.task.Message
	no := func(status relay.Status, format string, args ...any) relay.Reply {
		return c.named(relay.Failure(relay.StageMail, status, format, args...))
	}
	fit := rest[:0:0]
	for _, pos := range rest {
		var r relay.Reply
		switch {
		case a.needsUTF8(a.recipient(pos)) && !c.ext.smtpUTF8: // RFC 6531 §3.2
			r = no(relay.Status{Class: 5, Subject: 6, Detail: 7}, "the address or header is not ASCII, and the server does not offer SMTPUTF8")
		case m.EightBit && !c.ext.eightBitMIME: // RFC 6152 §3
			// Converting to quoted-printable would change what the sender
			// wrote and break its signatures; sending as is may lose the
			// eighth bit. An exact failure is better than either.
			r = no(relay.Status{Class: 5, Subject: 6, Detail: 3}, "the message has 8-bit content, and the server does not offer 8BITMIME")
		case c.ext.size > 0 && a.task.Content.Size() > c.ext.size: // RFC 1870 §6.1
			r = no(relay.Status{Class: 5, Subject: 3, Detail: 4}, "the message has %d octets, and the server takes at most %d",
				a.task.Content.Size(), c.ext.size)
		default:
			fit = append(fit, pos)
			continue
		}
		a.res.Replies[pos] = r
	}
	return fit
}

// summary is the verdict when no host judged: the last failure, unless only
// an earlier one leaves hope, with the others named.
func summary(failures []relay.Reply) relay.Reply {
	if len(failures) == 0 {
		return relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "no host was tried, or the attempt was stopped")
	}
	best := failures[len(failures)-1]
	for _, f := range failures {
		if best.Permanent() && (!f.Permanent() || f.Enhanced().Detail == 6) {
			best = f
		}
	}
	if len(failures) == 1 {
		return best
	}
	texts := []string{best.Text}
	if best.Text == "" {
		texts[0] = best.MTA + " refused"
	}
	for _, f := range failures {
		if f == best {
			continue
		}
		who := ""
		if f.MTA != "" {
			who = f.MTA + ": "
		}
		texts = append(texts, who+f.String())
	}
	best.Text = relay.Sanitize(strings.Join(texts, "; also "))
	return best
}
