package mx

import (
	"errors"

	"dawk/relay"
)

// transaction is one MAIL, its RCPTs, DATA and the content, with what came
// of them. Recipients are positions in all that follows.
type transaction struct {
	c       *conn
	m       *relay.Message
	content relay.Content
	rcpts   []*relay.Recipient
	opts    options

	replies  []relay.Reply // one for each recipient; zero: no verdict, may be tried again
	accepted []int         // by RCPT
	began    bool          // MAIL was answered
	tooMany  bool          // some have no verdict because the server takes fewer at a time
	noDSN    bool          // some have no verdict because the server refused DSN parameters
	confused bool          // some have no verdict because the server cannot take commands ahead of their time
	unknown  bool          // content and final dot were sent, no answer came (RFC 1047)
	trouble  relay.Reply   // the host failed before it had the content: another may do better
}

// step is a command of the envelope.
type step struct {
	line  []byte
	stage relay.Stage
	rcpt  int
}

// transact sends one message to some of its recipients. It leaves the
// connection ready for the next, or dead.
func (c *conn) transact(t *transaction) {
	t.c, t.replies = c, make([]relay.Reply, len(t.rcpts))
	c.served++
	if early, bad := c.ahead(); bad != nil {
		t.lost(c.outOfStep(relay.StageMail, early, bad))
		return
	}
	steps := t.steps()
	var batch *batch
	if c.ext.pipelining {
		batch = c.sendBatch(steps)
	}
	data, ok := t.envelope(steps, batch == nil)
	if batch != nil {
		batch.wait(c)
	}
	c.ext.pipelining = c.ext.pipelining && !t.confused
	if !ok {
		return
	}
	switch {
	case len(t.accepted) > 0 && data.code == 354:
		if early, bad := c.ahead(); bad == nil {
			t.body()
		} else if early.class() >= 4 { // it has changed its mind
			t.settle(c.named(asRefusal(early, relay.StageBody)))
		} else {
			t.settle(c.failure(relay.StageData, "about to send the content", bad))
		}
	case data.code == 354:
		t.emptyBody()
	default: // nobody accepted, or DATA refused
		c.reset = true
	}
}

// steps are the commands in order. RSET goes first where an earlier
// transaction was left open: lazily, so that it costs no round trip.
func (t *transaction) steps() []step {
	steps := make([]step, 0, len(t.rcpts)+3)
	if t.c.reset {
		steps = append(steps, step{[]byte("RSET\r\n"), "", 0})
	}
	steps = append(steps, step{mailCommand(t.m, t.content.Size(), t.c.ext, t.opts), relay.StageMail, 0})
	for i, r := range t.rcpts {
		steps = append(steps, step{rcptCommand(r, t.opts), relay.StageRcpt, i})
	}
	return append(steps, step{[]byte("DATA\r\n"), relay.StageData, 0})
}

// batch writes the whole envelope, a long one beside the goroutine that reads
// the replies: a server that answers while it is still being written to, and
// stops reading until it is heard, would else block both sides (RFC 2920 §3.1).
type batch struct{ done chan error }

// shortBatch is how many octets any socket takes without its other end reading
// (Linux gives no send buffer less than 4 KiB), when it holds nothing else. It
// holds nothing: the server has answered all that was sent before. An envelope
// of usual size needs no goroutine of its own then.
const shortBatch = 2 << 10

func (c *conn) sendBatch(steps []step) *batch {
	size := 0
	for _, s := range steps {
		size += len(s.line)
	}
	all := make([]byte, 0, size)
	for _, s := range steps {
		all = append(all, s.line...)
	}
	b := &batch{make(chan error, 1)}
	c.writeBy(c.use.budget(c.limits.Command))
	write := func() {
		_, err := c.nc.Write(all)
		b.done <- err
	}
	if size <= shortBatch {
		write()
	} else {
		go write()
	}
	return b
}

// wait joins the writer. A dead connection is not written to any longer.
func (b *batch) wait(c *conn) {
	if c.dead {
		c.nc.SetWriteDeadline(longAgo) //nolint:errcheck // fails only on a closed one
	}
	if err := <-b.done; err != nil {
		c.dead = true
	}
}

// envelope sends the commands one by one unless they are on their way, and
// reads the replies. It returns the reply to DATA; ok is false when the
// transaction is over.
func (t *transaction) envelope(steps []step, lockstep bool) (data wireReply, ok bool) {
	c := t.c
	var refused relay.Reply // the reply to MAIL, if it was no
	for _, s := range steps {
		if s.stage == relay.StageData && len(t.accepted) == 0 && lockstep {
			c.reset = true
			return wireReply{}, false
		}
		r, err := t.exchange(s, lockstep)
		if err != nil {
			t.lost(c.failure(s.stage, "waiting for the reply to "+command(s.line), err))
			return wireReply{}, false
		}
		reply := c.named(asRefusal(r, s.stage))
		if r.code == 421 { // RFC 5321 §3.8: it closes, whatever else was asked
			t.lost(reply)
			return wireReply{}, false
		}
		switch s.stage {
		case "": // RSET cannot fail (RFC 5321 §4.1.1.5)
			if r.class() != 2 {
				c.dead = true
				reply.Stage = relay.StageMail
				t.lost(reply)
				return wireReply{}, false
			}
			c.reset = false
		case relay.StageMail:
			t.began = true
			if r.class() != 2 {
				refused = reply
				t.mailRefused(reply)
				if lockstep || c.dead {
					return wireReply{}, false
				}
			}
		case relay.StageRcpt:
			if refused.IsZero() {
				t.rcpt(s.rcpt, r, reply)
			}
		case relay.StageData:
			data = r
			if r.code != 354 && !t.misplaced(reply) {
				t.settle(c.named(asFailure(reply)))
				c.dead = c.dead || r.code < 400 // out of step
			}
		}
	}
	return data, !c.dead
}

func (t *transaction) exchange(s step, lockstep bool) (wireReply, error) {
	limit := t.c.limits.Command
	if s.stage == relay.StageData {
		limit = t.c.limits.Data
	}
	if lockstep {
		return t.c.command(string(s.line[:len(s.line)-2]), limit)
	}
	return t.c.read(limit)
}

// asRefusal is the reply; one that is neither yes nor no becomes a failure.
func asRefusal(r wireReply, stage relay.Stage) relay.Reply {
	reply := r.reply(stage)
	if stage != relay.StageData && r.class() != 2 {
		return asFailure(reply)
	}
	return reply
}

// mailRefused settles a refused MAIL for all recipients.
func (t *transaction) mailRefused(r relay.Reply) {
	switch {
	case t.opts.dsn && badParameter(r):
		t.noDSN, t.c.noDSN = true, true
	case hostTrouble(r):
		t.trouble, t.c.last = r, true
	default:
		for i := range t.replies {
			t.replies[i] = r
		}
	}
	t.c.reset = true
	if r.Code == 0 { // neither yes nor no: out of step
		t.c.dead = true
	}
}

// hostTrouble says whether a reply to MAIL speaks of the state of that host
// ("mail system", "network" of RFC 3463 §3), so that another host may do
// better. A temporary refusal of the sender or by policy ("too much mail from
// you") is the same at each host, and asking all of them makes it worse.
func hostTrouble(r relay.Reply) bool {
	if r.Code == 0 {
		return true
	}
	return r.Code/100 == 4 && (r.Status.Subject == 3 || r.Status.Subject == 4 || r.Status.IsZero() && (r.Code == 421 || r.Code == 452))
}

// badParameter says whether a reply means that a parameter was not understood
// (RFC 5321 §4.1.1.11, RFC 3461 §5.1).
func badParameter(r relay.Reply) bool {
	return r.Code == 555 || (r.Code == 501 || r.Code == 504) && r.Status == relay.Status{Class: 5, Subject: 5, Detail: 4}
}

// rcpt takes the reply to one RCPT.
func (t *transaction) rcpt(i int, r wireReply, reply relay.Reply) {
	switch {
	case r.class() == 2:
		t.accepted = append(t.accepted, i)
	case t.opts.dsn && badParameter(reply) && usesDSN(t.m, t.rcpts[i]):
		t.noDSN, t.c.noDSN = true, true
	case t.misplaced(reply):
	case tooMany(reply) && len(t.accepted) > 0:
		// RFC 5321 §4.5.3.1.10: the rest goes in another transaction, at once.
		t.tooMany = true
	default:
		t.replies[i] = reply
		if reply.Code == 0 {
			t.c.dead = true
		}
	}
}

// tooMany says whether RCPT was refused for the number of recipients, as a 452
// or 552 is read that has no status which says otherwise. Where a full mailbox
// was meant, the server says so once more when it is asked for that one first.
func tooMany(r relay.Reply) bool {
	count := r.Status.Subject == 5 && r.Status.Detail == 3
	return (r.Code == 452 || r.Code == 552) && (count || r.Status.IsZero())
}

// misplaced says whether a server that was sent all commands at once, as it
// offered, has answered as if they came in the wrong order. It gets them one by
// one from now on, those that it has no verdict on at once.
func (t *transaction) misplaced(r relay.Reply) bool {
	if !r.OutOfOrder() || !t.c.ext.pipelining {
		return false
	}
	t.confused = true
	return true
}

// settle gives all accepted recipients one reply.
func (t *transaction) settle(r relay.Reply) {
	for _, i := range t.accepted {
		t.replies[i] = r
	}
}

// lost ends the transaction before the content went: whoever was accepted got
// nothing. If no recipient has been judged yet another host may be tried.
func (t *transaction) lost(r relay.Reply) {
	t.c.dead = true
	judged := len(t.accepted) > 0
	for _, each := range t.replies {
		judged = judged || !each.IsZero()
	}
	if !judged && hostTrouble(r) {
		t.trouble = r
		return
	}
	for i := range t.replies {
		if t.replies[i].IsZero() {
			t.replies[i] = r
		}
	}
}

// body sends the content after 354 and takes the reply to the final dot,
// which counts for every accepted recipient.
func (t *transaction) body() {
	c := t.c
	start := newPace(c)
	err := writeBody(t.content, start.send)
	start.end()
	if err != nil {
		c.dead = true
		t.settle(t.bodyFailure(err))
		return
	}
	if !c.peer.lmtp {
		reply, _ := t.finalReply()
		t.settle(reply)
		return
	}
	// An LMTP server answers once for each recipient that it accepted, in
	// their order (RFC 2033 §4.2).
	for k, i := range t.accepted {
		reply, ok := t.finalReply()
		if t.replies[i] = reply; ok {
			continue
		}
		for _, i := range t.accepted[k:] {
			t.replies[i] = reply
		}
		return
	}
}

// finalReply reads a reply to the final dot. Without one, or one that says
// neither yes nor no, the server may have the message, or not (RFC 1047): it
// is never "failed".
func (t *transaction) finalReply() (reply relay.Reply, ok bool) {
	c := t.c
	r, err := c.read(c.limits.FinalDot)
	if err != nil || r.class() < 2 || r.class() == 3 {
		c.dead, t.unknown = true, true
		if err == nil {
			err = errGarbled
		}
		reply := c.failure(relay.StageBody, "waiting for the reply to the final dot", err)
		reply.Text = relay.Sanitize(reply.Text + "; the message may have been delivered")
		return reply, false
	}
	if r.class() > 5 {
		return c.named(asRefusal(r, relay.StageBody)), true
	}
	return c.named(r.reply(relay.StageBody)), true
}

// bodyFailure is why the content did not go out whole: no final dot was sent.
func (t *transaction) bodyFailure(err error) relay.Reply {
	c := t.c
	switch {
	case errors.Is(err, errContent):
		return relay.Decision(relay.CauseContent, relay.Status{Class: 5, Subject: 6, Detail: 0}, "%v", err)
	case errors.Is(err, errRead):
		return relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 3, Detail: 0}, "%v", err)
	}
	// Servers that have enough say why and hang up; those words count, unless
	// they claim success for a message that was never finished.
	if r, rerr := c.lastWords(); rerr == nil && r.class() >= 4 {
		return c.named(r.reply(relay.StageBody))
	}
	return c.failure(relay.StageBody, "sending the content", err)
}

// emptyBody ends a DATA that nobody asked for: some servers answer 354 though
// they accepted no recipient (RFC 2920 §3.1).
func (t *transaction) emptyBody() {
	if t.c.peer.lmtp { // it answers for no recipient, and nothing follows (RFC 2033 §4.2)
		t.c.dead = true
		return
	}
	if t.c.write([]byte(".\r\n")) == nil {
		t.c.read(t.c.limits.FinalDot) //nolint:errcheck // marks the connection; the reply concerns nobody
	}
}

// command is the verb of a line, for people.
func command(line []byte) string {
	for i, b := range line {
		if b == ' ' || b == '\r' {
			return string(line[:i])
		}
	}
	return string(line)
}
