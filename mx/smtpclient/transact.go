package smtpclient

import (
	"cmp"

	"dawk/relay"
)

// Transaction is one MAIL, its RCPTs, DATA and the content, with their results. A recipient is
// named by its index in all that follows.
type Transaction struct {
	c       *Conn
	M       *relay.Message
	Content relay.Content
	Rcpts   []*relay.Recipient
	Opts    Options
	Split   bool // recipients were sent in smaller transactions in this attempt before

	Replies  []relay.Reply // one for each recipient; zero: no verdict, may be tried again
	Accepted []int         // by RCPT
	Began    bool          // MAIL was answered
	TooMany  bool          // some have no verdict because the server takes fewer at a time
	Fewer    int           // recipients that the server takes at a time, as its refusal or the end of the session shows; 0: not known
	NoParams bool          // some have no verdict because the server refused parameters
	Confused bool          // the server lost or refused pipelined commands
	ahead    bool          // they did
	Earlier  bool          // the server objects to something earlier in this session: recipients without a verdict may be sent on a new connection
	Unknown  bool          // content and final dot were sent, but no answer came (RFC 1047)
	Trouble  relay.Reply   // the host failed, or ended the session, before it had the content: another host may accept the mail
}

// step is a command of the envelope.
type step struct {
	line  []byte
	stage relay.Stage
	rcpt  int
}

// Transact sends one message to some of its recipients. It leaves the
// connection ready for the next, or dead.
func (c *Conn) Transact(t *Transaction) {
	t.c, t.Replies = c, make([]relay.Reply, len(t.Rcpts))
	c.Served++
	if early, bad := c.ahead(); bad != nil {
		t.lost(c.outOfStep(relay.StageMail, early, bad))
		return
	}
	t.Opts.Bare = c.Bare
	steps, all := t.steps()
	var batch batch
	if t.ahead = c.Ext.pipelining && !c.Lockstep; t.ahead {
		batch = c.sendBatch(all)
	}
	data, ok := t.envelope(steps)
	batch.wait(c)
	if !ok {
		return
	}
	switch {
	case len(t.Accepted) > 0 && data.Code == 354:
		if early, bad := c.ahead(); bad == nil {
			t.body()
		} else if early.Class() >= 4 { // the server refused after all
			t.settle(c.Named(asRefusal(early, relay.StageBody)))
		} else {
			t.settle(c.Failure(relay.StageData, "about to send the content", bad))
		}
	case data.Code == 354:
		t.emptyBody()
	default: // nobody accepted, or DATA refused
		c.reset = true
	}
}

// steps are the commands in order, and all their lines together. RSET goes first if an earlier
// transaction was left open: sent late, it costs no round trip.
func (t *Transaction) steps() (steps []step, all []byte) {
	steps = make([]step, 0, len(t.Rcpts)+3)
	all = make([]byte, 0, 128+64*len(t.Rcpts))
	if t.c.reset {
		all = append(all, "RSET\r\n"...)
		steps = append(steps, step{all, "", 0})
	}
	all = mailCommand(all, t.M, t.Content.Size(), t.c.Ext, t.Opts)
	steps = append(steps, step{all, relay.StageMail, 0})
	for i, r := range t.Rcpts {
		all = rcptCommand(all, r, t.Opts)
		steps = append(steps, step{all, relay.StageRcpt, i})
	}
	all = append(all, "DATA\r\n"...)
	steps = append(steps, step{all, relay.StageData, 0})
	from := 0
	for i, s := range steps { // each holds what came before it, too
		steps[i].line, from = all[from:len(s.line)], len(s.line)
	}
	return steps, all
}

// batch writes the whole envelope. A long one is written in a second goroutine while this one reads
// the replies: otherwise a server that stops reading until its answers are read would block both
// sides (RFC 2920 §3.1).
type batch struct {
	done chan error // of the goroutine that writes; nil: it is written, and err says how
	err  error
}

// shortBatch is how many octets a socket with an empty buffer takes while the other end does not
// read (Linux gives every send buffer at least 4 KiB). The buffer is empty: the server has answered
// all that was sent before. So an envelope of usual size needs no goroutine of its own.
const shortBatch = 2 << 10

func (c *Conn) sendBatch(all []byte) (b batch) {
	c.writeBy(c.use.budget(c.Limits.Command))
	if len(all) <= shortBatch {
		_, b.err = c.Nc.Write(all)
		return b
	}
	b.done = make(chan error, 1)
	go func() {
		_, err := c.Nc.Write(all)
		b.done <- err
	}()
	return b
}

// wait waits for the writer to end. On a dead connection the write is cut off.
func (b batch) wait(c *Conn) {
	if b.done != nil {
		if c.Dead {
			c.Nc.SetWriteDeadline(longAgo) //nolint:errcheck // fails only on a closed one
		}
		b.err = <-b.done
	}
	c.Dead = c.Dead || b.err != nil
}

// envelope sends the commands one by one unless they are on their way, and
// reads the replies. It returns the reply to DATA; ok is false when the
// transaction is over.
func (t *Transaction) envelope(steps []step) (data WireReply, ok bool) {
	c, lockstep := t.c, !t.ahead
	var refused relay.Reply // the reply to MAIL, if it was a refusal
	for _, s := range steps {
		if s.stage == relay.StageData && len(t.Accepted) == 0 && lockstep {
			c.reset = true
			return WireReply{}, false
		}
		r, err := t.exchange(s)
		if err != nil {
			// A server that hangs up at the first command, or after it, may object to the commands that came
			// with it.
			t.Confused = t.ahead && c.use.Ctx.Err() == nil && (t.Began || c.Served == 1)
			t.cutOff(s.stage, err)
			t.lost(c.Failure(s.stage, "waiting for the reply to "+command(s.line), err))
			return WireReply{}, false
		}
		// A reply that announces another shifts all that follow by one. No error shows that: only with
		// one command at a time is it clear which reply belongs to which.
		t.Confused = t.Confused || t.ahead && r.Class() == 1
		reply := c.Named(asRefusal(r, s.stage))
		if r.Code == 421 { // RFC 5321 §3.8: it closes, whatever else was asked
			t.ended(s.stage, reply)
			return WireReply{}, false
		}
		switch s.stage {
		case "": // RSET cannot fail (RFC 5321 §4.1.1.5)
			if r.Class() != 2 {
				t.ofEarlier("RSET", reply)
				c.Dead = true
				return WireReply{}, false
			}
			c.reset = false
		case relay.StageMail:
			t.Began = true
			if r.Class() != 2 {
				refused = reply
				t.mailRefused(reply)
				if lockstep || c.Dead {
					return WireReply{}, false
				}
			}
		case relay.StageRcpt:
			if refused.IsZero() {
				t.rcpt(s.rcpt, r, reply)
			}
			if c.Dead { // out of step: nobody knows whose the next replies are
				t.lost(reply)
				return WireReply{}, false
			}
		case relay.StageData:
			data = r
			asked := refused.IsZero() && len(t.Accepted) > 0 // otherwise it is refused because of the replies before it
			if r.Code != 354 && !(asked && (t.ofHistory(reply) || t.misplaced(reply) || t.fewer(reply))) {
				t.settle(c.Named(asFailure(reply)))
				c.Dead = c.Dead || r.Code < 400 // out of step
				c.Last = c.Last || asked && reply.Cause == relay.CauseSession
			}
		}
	}
	return data, !c.Dead
}

func (t *Transaction) exchange(s step) (WireReply, error) {
	t.c.at(cmp.Or(s.stage, relay.StageMail)) // RSET
	limit := t.c.Limits.Command
	if s.stage == relay.StageData {
		limit = t.c.Limits.Data
	}
	if !t.ahead {
		return t.c.command(string(s.line[:len(s.line)-2]), limit)
	}
	t.c.use.Script.sent(s.line)
	t.c.readBy(t.c.use.budget(limit))
	return t.c.next()
}

// asRefusal is the reply. One that neither accepts nor refuses becomes a failure; one about the
// session becomes no verdict on the mail.
func asRefusal(r WireReply, stage relay.Stage) relay.Reply {
	reply := r.Reply(stage)
	if aboutSession(reply) {
		reply.Cause = relay.CauseSession
	}
	if stage != relay.StageData && r.Class() != 2 {
		return asFailure(reply)
	}
	return reply
}

// mailRefused settles a refused MAIL for all recipients.
func (t *Transaction) mailRefused(r relay.Reply) {
	switch {
	case t.ofHistory(r):
		t.c.Dead = true
	case t.barely(r, func(o Options) []byte { return mailCommand(nil, t.M, t.Content.Size(), t.c.Ext, o) }), t.misplaced(r), t.converted(r):
	case t.c.Served > 1 && r.Code != 0 && r.Cause == relay.CauseSession:
		t.ofEarlier("another message in this session", r)
		t.c.Dead = true
	case hostTrouble(r):
		t.Trouble, t.c.Last = r, true
	default:
		for i := range t.Replies {
			t.Replies[i] = r
		}
	}
	t.c.reset = true
	if r.Code == 0 { // neither accepted nor refused: out of step
		t.c.Dead = true
	}
}

// hostTrouble says whether a reply to MAIL is about the state of that host ("mail system",
// "network" of RFC 3463 §3), so that another host may accept the mail. A temporary refusal of the
// sender or by policy ("too much mail from you") would come from each host, and asking all of them
// makes it worse.
func hostTrouble(r relay.Reply) bool {
	if r.Code == 0 || r.Cause == relay.CauseSession {
		return true
	}
	return r.Code/100 == 4 && (r.Status.Subject == 3 || r.Status.Subject == 4 || r.Status.IsZero() && (r.Code == 421 || r.Code == 452))
}

// rcpt takes the reply to one RCPT.
func (t *Transaction) rcpt(i int, r WireReply, reply relay.Reply) {
	switch {
	case r.Class() == 2:
		t.Accepted = append(t.Accepted, i)
	case t.ofHistory(reply):
	case t.barely(reply, func(o Options) []byte { return rcptCommand(nil, t.Rcpts[i], o) }), t.misplaced(reply):
	case t.tooMany(reply):
		// RFC 5321 §4.5.3.1.10: the rest goes in another transaction, at once.
		t.TooMany = true
	default:
		t.Replies[i] = reply
		if reply.Code == 0 {
			t.c.Dead = true
		}
		t.c.Last = t.c.Last || reply.Cause == relay.CauseSession
	}
}

// misplaced says whether a server that was sent all commands at once, as it offered, may have
// refused one for that reason. From now on it gets commands one by one; those without a verdict are
// sent again at once.
func (t *Transaction) misplaced(r relay.Reply) bool {
	session := r.Code != 0 && r.Cause == relay.CauseSession
	syntax := r.Code == 500 || r.Code == 502 || r.Code == 501 && r.Status.IsZero() // for commands that were read as one
	if !t.ahead || !session && !syntax {
		return false
	}
	t.c.Lockstep = true
	t.Confused = t.Confused || session
	return true
}

// settle gives all accepted recipients one reply.
func (t *Transaction) settle(r relay.Reply) {
	for _, i := range t.Accepted {
		t.Replies[i] = r
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
