package mx

import (
	"cmp"
	"slices"
	"time"

	"dawk/mx/connpool"
	"dawk/mx/hosts"
	"dawk/mx/session"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// attempt is one call of Deliver. Recipients are positions in
// task.Recipients and res.Replies throughout.
type attempt struct {
	t    *Transport
	task relay.Task
	use  *session.Use
	res  relay.Result

	msg     *relay.Message // as it goes out now: see dress
	content relay.Content
	dressed bool        // as the route's mailbox
	own     []*compiled // whose hosts refused the notice as it is: there it is mail of ours
	brief   bool        // by MX only where that is easy: another is left

	as     relay.Session // that the last recipient so far was judged in
	judged bool          // there is one

	relayed  bool // a recipient got a 2yz
	onward   bool // and not all of them by LMTP
	dsn      bool // and whoever did was given the DSN parameters
	bare     bool // a server refused parameters: none gets those that the mail can do without
	lockstep bool // a server could not take commands ahead of their time: none gets them
	charged  bool // a transaction was begun
	split    bool // a server minded the number of recipients late: they went in smaller transactions
	seven    sevenBit
	enough   bool // the server says that we send too much: no other host is tried
}

func (a *attempt) all() []int {
	all := make([]int, len(a.task.Recipients))
	for i := range all {
		all[i] = i
	}
	return all
}

func (a *attempt) recipient(i int) *relay.Recipient {
	return &a.msg.Recipients[a.task.Recipients[i]]
}

// sameDestination splits off the recipients that go where the first goes.
func (a *attempt) sameDestination(rest []int) (same, other []int) {
	a.msg = a.task.Message
	want := a.destination(rest[0])
	for _, i := range rest {
		if a.destination(i) == want {
			same = append(same, i)
		} else {
			other = append(other, i)
		}
	}
	return same, other
}

// destination is that of a recipient, by the route that an operator chose as long as
// there is one of that name.
func (a *attempt) destination(i int) string {
	if d := a.t.Along(a.task.Route, a.msg, a.recipient(i).Path); a.task.Route != "" && d != "" {
		return d
	}
	return a.t.Destination(a.msg, a.recipient(i).Path)
}

// ways is like [Routing.ways], for a recipient.
func (a *attempt) ways(i int) (first *compiled, others []*compiled) {
	if a.task.Route != "" {
		if r, ok := a.t.along(a.task.Route, a.task.Message, a.recipient(i).Path); ok {
			return r, nil
		}
	}
	return a.t.ways(a.task.Message, a.recipient(i).Path)
}

// deliver tries the hosts of one destination until all recipients are judged.
func (a *attempt) deliver(rest []int) {
	r, others := a.ways(rest[0])
	a.brief, a.own = len(others) > 0, nil
	a.by(r, rest)
	for r != nil && a.use.Ctx.Err() == nil {
		if a.ownWay(r, rest) { // last, and now: after a verdict that is final no attempt would come to it
			a.own, others = append(a.own, r), append(others, r)
		}
		if len(others) == 0 {
			return
		}
		second := others[0]
		others = others[1:]
		a.brief = len(others) > 0
		if a.byAnother(r, second, rest) {
			r = second
		}
	}
}

// by is deliver by one route; nil: by MX.
func (a *attempt) by(r *compiled, rest []int) {
	if err := a.dress(r, false); err != nil {
		a.cannot(rest, err)
		return
	}
	pol := a.t.policy(a.task.Message, r)
	if pol.Route != "" && r.gate.Held() {
		if why, since, shut := r.gate.Shut(time.Now(), a.t.cfg.HoldProbe, a.mail(rest)); shut {
			a.res.Route = r.Name
			a.turnBack(rest, why, since)
			return
		}
	}
	w := a.walk(r, pol, a.plan(r, pol, a.t.domain(a.recipient(rest[0]).Path)))
	if a.brief && len(r.Via) == 0 {
		w.most = maxBriefDials
	}
	for w.on() && len(rest) > 0 && a.use.Ctx.Err() == nil {
		rest = a.step(r, w, rest)
	}
	if len(rest) > 0 {
		verdict := relay.Summary(w.failures)
		if pol.Route != "" && loginTrouble(verdict) && a.use.Ctx.Err() == nil {
			a.res.HeldSince = a.t.hold(r, shaping.Mail{}, false, verdict).Since
		}
		for _, i := range rest {
			a.judge(i, verdict)
		}
	}
}

// plan is where mail for a domain may go by r.
func (a *attempt) plan(r *compiled, pol session.Policy, domain string) hosts.Plan {
	if r != nil && len(r.Via) > 0 {
		a.res.Route = r.Name
		if a.task.Admission != nil {
			a.task.Admission.Admit(r.first.destination) // it has that connection: this counts recipients
		}
		p := a.t.planVia(a.use.Ctx, r)
		p.Targets = a.t.healthy(p.Targets)
		return p
	}
	p := a.t.finder.PlanMX(a.use.Ctx, domain, a.t.family(r))
	a.t.addSTS(a.use.Ctx, &p, pol, domain)
	return p
}

// policy is what the message and its route demand of a session.
func (t *Transport) policy(m *relay.Message, r *compiled) session.Policy {
	p := session.Policy{Demand: tlspolicy.Demand{Level: t.cfg.TLS, Lax: m.TLSOptional && !m.RequireTLS}, MX: true}
	if r != nil {
		p.Level = r.TLS
		if p.MX = len(r.Via) == 0; !p.MX {
			p.Route, p.Account = r.Name, r.first.Name
		}
		if r.Known() {
			p.User, p.Password, p.Certificate = r.User, r.Password, r.Certificate
			p.Auth, p.Credential, p.Token, p.Provider = r.Auth, r.Credential, r.Token, r.Provider
		}
	}
	switch {
	case m.RequireTLS: // RFC 8689 §4.2.1; it beats "TLS-Required: No"
		p.Level, p.RequireTLS, p.By = tlspolicy.LevelVerified, true, tlspolicy.ByRequireTLS
	case m.TLSOptional && !p.LogsIn() && p.Level > tlspolicy.LevelOpportunistic:
		p.Level = tlspolicy.LevelOpportunistic
	}
	return p
}

// sessionResult is what came of one connection.
type sessionResult struct {
	rest     []int       // recipients not judged
	progress bool        // at least one was
	taken    bool        // with a 2yz
	stale    bool        // an idle connection turned out dead: a fresh one may do
	failure  relay.Reply // why those in rest were not; zero where the same host may have them on another connection
	why      relay.Reply // why that has to be another connection, if the server told
	said     relay.Reply // to recipients: the first that was not positive, else the first
	spoke    bool        // a session came about
}

// session takes or makes a connection to a target and runs transactions on
// it until every recipient is judged or it can do no more.
func (a *attempt) session(tg hosts.Target, p session.Policy, rest []int, fresh bool) sessionResult {
	p, bad := p.Raise(tg)
	a.res.TLSPolicy = p.By
	if !bad.IsZero() {
		if p.By != tlspolicy.ByRequireTLS { // what one message wants is no failure of theirs
			a.t.opener.ReportRefused(tg, p, bad)
		}
		return sessionResult{rest: rest, failure: bad}
	}
	a.res.Source = p.Source.Label()
	key := p.Key(tg)
	var c *connpool.Conn
	if !fresh && a.use.Ready == nil {
		c = a.t.shared.Pool.Get(key)
	}
	reused := c != nil
	if reused {
		c.Attach(&a.use.Claim)
	} else {
		if a.use.Ready == nil { // else it was counted before the race
			a.t.shared.Pool.Begin(tg.Account)
		}
		c, bad = a.t.opener.Open(a.use, tg, p)
		a.t.opener.Report(a.use, tg, p, c, bad)
		if c == nil {
			a.use.Leave()
			a.t.shared.Pool.End(tg.Account)
			if bad.MTA != "" {
				a.res.FailedAt(bad)
			}
			return sessionResult{rest: rest, failure: bad}
		}
		c.Key = key
	}
	a.res.Host, a.res.Addr, a.res.Reused = c.Peer.Host, c.Addr, reused
	a.res.TLS, a.res.TLSLevel, a.res.TLSTry, a.res.TLSFailed = c.TLS, p.Reached(c), c.TLSTry, c.TLSFailed
	s := sessionResult{rest: rest, spoke: true}
	for len(s.rest) > 0 && !c.Dead && s.failure.IsZero() && a.Room(c) && a.afford(p, &s) {
		a.transaction(c, &s, reused && !s.progress)
	}
	if a.Room(c) {
		a.t.shared.Pool.Put(c)
	} else {
		a.t.shared.Pool.Drop(c)
	}
	return s
}

// Room says whether c may serve another message.
func (a *attempt) Room(c *connpool.Conn) bool {
	limit := a.t.cfg.MessagesPerConnection
	if own := c.Messages; own > 0 {
		limit = own
	}
	if c.Ext.MailMax > 0 {
		limit = min(limit, c.Ext.MailMax)
	}
	return c.Served < limit && !c.Last
}

// transaction runs one, for as many of s.rest as fit, and keeps the score.
// maybeStale: the connection was idle and has not spoken since.
func (a *attempt) transaction(c *connpool.Conn, s *sessionResult, maybeStale bool) {
	s.rest = a.judgeUnfit(c, s.rest)
	if len(s.rest) == 0 {
		s.progress = true
		return
	}
	batch := s.rest[:a.batchSize(c, s.rest)]
	content, _ := a.contentFor(c) // judgeUnfit has seen it
	m := a.msg
	if from := a.returnPath(batch[0]); !from.IsNull() {
		own := *m
		own.From, m, batch = from, &own, batch[:1]
	}
	tx := &smtpclient.Transaction{M: m, Content: content, Split: a.split, Rcpts: make([]*relay.Recipient, len(batch))}
	// An LMTP server delivers: it is we who tell the sender (RFC 3461 §5.2.3).
	c.Bare, c.Lockstep = c.Bare || a.bare, c.Lockstep || a.lockstep
	tx.Opts.DSN = c.Ext.DSN && !c.Bare && !c.Peer.LMTP
	tx.Opts.SMTPUTF8 = c.Ext.SMTPUTF8 && a.msg.SMTPUTF8
	for i, pos := range batch {
		tx.Rcpts[i] = a.recipient(pos)
		tx.Opts.SMTPUTF8 = tx.Opts.SMTPUTF8 || c.Ext.SMTPUTF8 && a.needsUTF8(tx.Rcpts[i])
	}
	c.Transact(tx)
	none := !slices.ContainsFunc(tx.Replies, func(r relay.Reply) bool { return !r.IsZero() })
	if s.stale = maybeStale && (c.Dead && !tx.Began || tx.Earlier && none); s.stale {
		return // whatever it said, it said to the messages before
	}
	a.res.Unknown = a.res.Unknown || tx.Unknown
	a.bare, a.lockstep = a.bare || tx.NoParams, a.lockstep || c.Lockstep
	a.enough = a.enough || a.split && tx.Fewer > 0                                  // no host takes it at once
	a.enough = a.enough || tx.Trouble.Code == 421 && tx.Trouble.Status.Subject == 7 // nor more of ours now
	a.split = a.split || tx.TooMany && tx.Fewer > 0
	if tx.Confused || tx.Fewer > 0 {
		a.t.shared.Learned.Learn(c.Peer.String(), shaping.Habits{Lockstep: tx.Confused, Recipients: tx.Fewer})
	}
	a.sentAs(tx)
	rest := make([]int, 0, len(s.rest))
	for i, pos := range batch {
		r := tx.Replies[i]
		if why := c.OfSession(r); !why.IsZero() {
			tx.Trouble, c.Last, r = why, true, relay.Reply{}
		}
		if r.IsZero() {
			rest = append(rest, pos)
			continue
		}
		a.judge(pos, r)
		s.progress = true
		if s.said.IsZero() || s.said.Positive() && !r.Positive() {
			s.said = r
		}
		if r.Positive() {
			a.relayed, s.taken = true, true
			a.onward = a.onward || !c.Peer.LMTP
			a.dsn = a.dsn && tx.Opts.DSN
		}
	}
	s.rest = append(rest, s.rest[len(batch):]...)
	if s.failure = tx.Trouble; tx.Earlier && s.progress {
		s.why, s.failure = s.failure, relay.Reply{} // the others go on a new connection
	}
	if tx.TooMany || tx.Fewer > 0 {
		c.Ext.RcptMax = cmp.Or(tx.Fewer, len(tx.Accepted))
	}
}

// batchSize is how many of rest go in one transaction (RFC 9422). Where their
// domains are limited, those of a domain are put together.
func (a *attempt) batchSize(c *connpool.Conn, rest []int) int {
	n := a.t.cfg.RecipientsPerMessage
	if own := c.Recipients; own > 0 {
		n = own
	}
	if c.Ext.RcptMax > 0 {
		n = min(n, c.Ext.RcptMax)
	}
	n = min(n, len(rest))
	if c.Ext.Domains == 0 {
		return n
	}
	domain := func(pos int) string { return a.recipient(pos).Path.Domain() }
	slices.SortStableFunc(rest, func(x, y int) int { return cmp.Compare(domain(x), domain(y)) })
	seen := 1
	for i := 1; i < n; i++ {
		if domain(rest[i]) == domain(rest[i-1]) {
			continue
		}
		if seen++; seen > c.Ext.Domains {
			return i
		}
	}
	return n
}

func (a *attempt) needsUTF8(r *relay.Recipient) bool {
	m := a.msg
	return m.UTF8Header || !m.From.ASCII() || !r.Path.ASCII()
}

// judgeUnfit settles the recipients whose message this server cannot take,
// and returns the others. A verdict on the mail is final, and the sender is told at
// once: that another MX host of the same domain could take it would be mere chance.
// The lack of an extension is final only if the host's whole offer was heard.
func (a *attempt) judgeUnfit(c *connpool.Conn, rest []int) []int {
	no := func(status relay.Status, format string, args ...any) relay.Reply {
		return c.Named(relay.Failure(relay.StageMail, status, format, args...))
	}
	content, unfit := a.contentFor(c)
	class := 5
	if offersUnheard(c) {
		class = 4
		if unfit.Status.Class == 5 {
			unfit.Status.Class = class
		}
	}
	fit := rest[:0:0]
	for _, pos := range rest {
		var r relay.Reply
		switch {
		case a.needsUTF8(a.recipient(pos)) && !c.Ext.SMTPUTF8: // RFC 6531 §3.2
			r = no(relay.Status{Class: class, Subject: 6, Detail: 7}, "the address or header is not ASCII, and the server does not offer SMTPUTF8")
		case !unfit.IsZero():
			r = unfit
		case c.Ext.Size > 0 && content.Size() > c.Ext.Size: // RFC 1870 §6.1
			r = no(relay.Status{Class: 5, Subject: 3, Detail: 4}, "the message has %d octets, and the server takes at most %d",
				content.Size(), c.Ext.Size)
		default:
			fit = append(fit, pos)
			continue
		}
		a.judge(pos, r)
	}
	return fit
}

// offersUnheard says whether a host may offer more another time: it has answered HELO
// only, or in the clear where TLS failed, behind which the offers may be others.
func offersUnheard(c *connpool.Conn) bool {
	return c.Offers == nil || c.TLS == "" && c.NoTLS != ""
}
