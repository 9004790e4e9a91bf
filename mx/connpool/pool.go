package connpool

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// Key is what two deliveries must share to share a connection. The host's
// name is part of it since certificates are checked against names; a login
// never serves mail of another mailbox, nor a source address mail of another source.
type Key struct {
	Host       string
	Addr       netip.AddrPort
	Socket     string
	Source     string
	Implicit   bool
	LMTP       bool
	Level      tlspolicy.Level
	RequireTLS bool
	DANE       string // the TLSA records that its certificate was held against
	Account    string // see policy.account
}

// Conn is a connection as an attempt or the pool holds it.
type Conn struct {
	*smtpclient.Conn
	Key        Key
	Account    string // whose connections it is counted with; "": nobody's
	Messages   int    // that it may serve; 0: Config.MessagesPerConnection
	Recipients int    // in one transaction; 0: Config.RecipientsPerMessage
	NoTLS      string // why TLS failed, on a connection in the clear; "" otherwise
	TLSTry     string // see relay.Session, as TLSFailed
	TLSFailed  string
}

// Retried notes that an earlier try of TLS failed; try is tlspolicy.TrySecond or
// TryClear.
func (c *Conn) Retried(try, why string) {
	c.TLSTry, c.TLSFailed = try, relay.Sanitize(why)
	if try == tlspolicy.TryClear {
		c.NoTLS = c.TLSFailed
	}
}

// maxIdle bounds the connections kept, for all hosts together.
const maxIdle = 200

// Pool keeps idle connections for a short while.
type Pool struct {
	idle time.Duration // below 0: nothing is kept
	bg   *Background

	mu     sync.Mutex
	closed bool
	count  int
	conns  map[Key][]*idleConn // the latest last
	open   map[string]opened   // by account
	gone   chan struct{}       // closed and replaced when a farewell is over
}

// opened is how many connections to a provider, or on a route, there are. The
// idle ones count too, and those on which a farewell is being said: to the other
// side they are connections like any.
type opened struct{ used, idle, leaving int }

func (o opened) all() int { return o.used + o.idle + o.leaving }

type idleConn struct {
	*Conn
	timer *time.Timer
}

func New(idle time.Duration, bg *Background) *Pool {
	return &Pool{idle: idle, bg: bg, conns: make(map[Key][]*idleConn), open: make(map[string]opened), gone: make(chan struct{})}
}

// Has says whether get would find one.
func (p *Pool) Has(k Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns[k]) > 0
}

// Get takes the connection that was used last, or nil.
func (p *Pool) Get(k Key) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.conns[k]
	if len(list) == 0 {
		return nil
	}
	e := list[len(list)-1]
	p.remove(k, e)
	p.tally(e.Account, opened{used: 1})
	e.timer.Stop()
	return e.Conn
}

// tally keeps count of the connections to a provider, or on a route; p.mu is held.
func (p *Pool) tally(account string, more opened) {
	if account == "" {
		return
	}
	o := p.open[account]
	if o = (opened{o.used + more.used, o.idle + more.idle, o.leaving + more.leaving}); o == (opened{}) {
		delete(p.open, account)
		return
	}
	p.open[account] = o
}

// Begin counts a connection that is about to be made; room comes next.
func (p *Pool) Begin(account string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally(account, opened{used: 1})
}

// Room makes room for a connection that is counted already: where the limit is
// passed, an idle one goes first, and farewells are waited for, since
// whoever hears one counts that connection until then. That is no longer than a
// farewell takes, at most smtpclient.QuitTimeout.
func (p *Pool) Room(ctx context.Context, account string, most int) {
	if account == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, smtpclient.QuitTimeout)
	defer cancel()
	for ctx.Err() == nil {
		p.mu.Lock()
		o, gone := p.open[account], p.gone
		var c *Conn
		if o.used+o.idle > most {
			c = p.evict(account)
		}
		p.mu.Unlock()
		switch {
		case c != nil:
			p.bye(c)
			continue
		case o.all() <= most, o.leaving == 0:
			return
		}
		select {
		case <-gone:
		case <-ctx.Done():
		}
	}
}

// Shrink says goodbye on idle connections of accounts that have more than they may, and gives
// how many are open beyond that; those on which the farewell is still being said count.
func (p *Pool) Shrink(most func(account string) int) (over int) {
	var leave []*Conn
	p.mu.Lock()
	for account, o := range p.open {
		n := most(account)
		over += max(0, o.all()-n)
		for range o.used + o.idle - n {
			if c := p.evict(account); c != nil {
				leave = append(leave, c)
			}
		}
	}
	p.mu.Unlock()
	for _, c := range leave {
		p.bye(c)
	}
	return over
}

// evict is an idle connection of an account, for which it is time to leave; nil
// where there is none. p.mu is held.
func (p *Pool) evict(account string) *Conn {
	if p.open[account].idle == 0 {
		return nil
	}
	for k, list := range p.conns {
		if e := list[0]; e.Account == account {
			p.remove(k, e)
			p.tally(e.Account, opened{leaving: 1})
			e.timer.Stop()
			return e.Conn
		}
	}
	return nil
}

// bye says goodbye on a connection that is counted as leaving.
func (p *Pool) bye(c *Conn) {
	quit := func() {
		c.Quit()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tally(c.Account, opened{leaving: -1})
		close(p.gone)
		p.gone = make(chan struct{})
	}
	if !p.bg.Run(quit) {
		quit()
	}
}

// End is for a connection that is not in use any more, or never came to be.
func (p *Pool) End(account string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally(account, opened{used: -1})
}

// Drop says goodbye on a connection that was in use.
func (p *Pool) Drop(c *Conn) { p.leave(c, opened{used: -1, leaving: 1}) }

// DropNew is Drop for one on which no session came about: whoever wanted it may
// try again, and is still counted.
func (p *Pool) DropNew(c *Conn) { p.leave(c, opened{leaving: 1}) }

func (p *Pool) leave(c *Conn, change opened) {
	c.Detach()
	p.mu.Lock()
	p.tally(c.Account, change)
	p.mu.Unlock()
	p.bye(c)
}

// Put keeps c for the next delivery, or says goodbye to it. A connection on
// which something unread waits is out of step and not kept.
func (p *Pool) Put(c *Conn) {
	c.Detach()
	c.Dead = c.Dead || c.Br.Buffered() > 0
	p.mu.Lock()
	if p.idle <= 0 || c.Dead || p.closed || p.count >= maxIdle {
		p.mu.Unlock()
		p.Drop(c)
		return
	}
	defer p.mu.Unlock()
	e := &idleConn{Conn: c}
	p.conns[c.Key] = append(p.conns[c.Key], e)
	p.count++
	p.tally(c.Account, opened{used: -1, idle: 1})
	e.timer = time.AfterFunc(p.idle, func() { p.expire(c.Key, e) })
}

// remove unlinks e, if it is still there; p.mu is held.
func (p *Pool) remove(k Key, e *idleConn) bool {
	list := p.conns[k]
	for i := range list {
		if list[i] != e {
			continue
		}
		if list = append(list[:i:i], list[i+1:]...); len(list) == 0 {
			delete(p.conns, k)
		} else {
			p.conns[k] = list
		}
		p.count--
		p.tally(e.Account, opened{idle: -1})
		return true
	}
	return false
}

func (p *Pool) expire(k Key, e *idleConn) {
	p.mu.Lock()
	mine := p.remove(k, e)
	if mine { // else get was faster
		p.tally(e.Account, opened{leaving: 1})
	}
	p.mu.Unlock()
	if mine {
		p.bye(e.Conn)
	}
}

// Close says goodbye to all and keeps none from now on.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	var all []*Conn
	for _, list := range p.conns {
		for _, e := range list {
			e.timer.Stop()
			p.tally(e.Account, opened{idle: -1, leaving: 1})
			all = append(all, e.Conn)
		}
	}
	p.conns, p.count = make(map[Key][]*idleConn), 0
	p.mu.Unlock()
	for _, c := range all {
		p.bye(c)
	}
}
