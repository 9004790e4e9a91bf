package mx

import (
	"context"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"sync"
	"time"
)

// poolKey is what two deliveries must share to share a connection. The host's
// name is part of it since certificates are checked against names; a login
// never serves mail of another mailbox, nor a source address mail of another source.
type poolKey struct {
	host       string
	at         place
	source     string
	implicit   bool
	lmtp       bool
	level      tlspolicy.Level
	requireTLS bool
	dane       string // the TLSA records that its certificate was held against
	account    string // see policy.account
}

func keyOf(tg target, p policy) poolKey {
	return poolKey{host: tg.Host, at: tg.place(), source: p.source.name(), implicit: tg.Implicit, lmtp: tg.LMTP,
		level: p.Level, requireTLS: p.RequireTLS, dane: p.DANE.Fingerprint(), account: p.account}
}

// maxIdle bounds the connections kept, for all hosts together.
const maxIdle = 200

// pool keeps idle connections for a short while.
type pool struct {
	idle time.Duration // below 0: nothing is kept
	bg   *background

	mu     sync.Mutex
	closed bool
	count  int
	conns  map[poolKey][]*idleConn // the latest last
	open   map[string]opened       // by target.account
	gone   chan struct{}           // closed and replaced when a farewell is over
}

// opened is how many connections to a provider, or on a route, there are. The
// idle ones count too, and those on which a farewell is being said: to the other
// side they are connections like any.
type opened struct{ used, idle, leaving int }

func (o opened) all() int { return o.used + o.idle + o.leaving }

type idleConn struct {
	*link
	timer *time.Timer
}

func newPool(idle time.Duration, bg *background) *pool {
	return &pool{idle: idle, bg: bg, conns: make(map[poolKey][]*idleConn), open: make(map[string]opened), gone: make(chan struct{})}
}

// has says whether get would find one.
func (p *pool) has(k poolKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns[k]) > 0
}

// Get takes the connection that was used last, or nil.
func (p *pool) Get(k poolKey) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.conns[k]
	if len(list) == 0 {
		return nil
	}
	e := list[len(list)-1]
	p.remove(k, e)
	p.tally(e.target, opened{used: 1})
	e.timer.Stop()
	return e.link
}

// tally keeps count of the connections to a provider, or on a route; p.mu is held.
func (p *pool) tally(tg target, more opened) {
	if tg.account == "" {
		return
	}
	o := p.open[tg.account]
	if o = (opened{o.used + more.used, o.idle + more.idle, o.leaving + more.leaving}); o == (opened{}) {
		delete(p.open, tg.account)
		return
	}
	p.open[tg.account] = o
}

// begin counts a connection that is about to be made; room comes next.
func (p *pool) begin(tg target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally(tg, opened{used: 1})
}

// room makes room for a connection that is counted already: where the limit is
// passed, an idle one goes first, and farewells are waited for, since
// whoever hears one counts that connection until then. That is no longer than a
// farewell takes, at most quitTimeout.
func (p *pool) room(ctx context.Context, tg target) {
	if tg.account == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, smtpclient.QuitTimeout)
	defer cancel()
	for ctx.Err() == nil {
		p.mu.Lock()
		o, gone := p.open[tg.account], p.gone
		var c *link
		if o.used+o.idle > tg.most {
			c = p.evict(tg.account)
		}
		p.mu.Unlock()
		switch {
		case c != nil:
			p.bye(c)
			continue
		case o.all() <= tg.most, o.leaving == 0:
			return
		}
		select {
		case <-gone:
		case <-ctx.Done():
		}
	}
}

// evict is an idle connection of an account, for which it is time to leave; nil
// where there is none. p.mu is held.
func (p *pool) evict(account string) *link {
	if p.open[account].idle == 0 {
		return nil
	}
	for k, list := range p.conns {
		if e := list[0]; e.target.account == account {
			p.remove(k, e)
			p.tally(e.target, opened{leaving: 1})
			e.timer.Stop()
			return e.link
		}
	}
	return nil
}

// bye says goodbye on a connection that is counted as leaving.
func (p *pool) bye(c *link) {
	quit := func() {
		c.Quit()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tally(c.target, opened{leaving: -1})
		close(p.gone)
		p.gone = make(chan struct{})
	}
	if !p.bg.run(quit) {
		quit()
	}
}

// end is for a connection that is not in use any more, or never came to be.
func (p *pool) end(tg target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally(tg, opened{used: -1})
}

// drop says goodbye on a connection that was in use.
func (p *pool) drop(c *link) {
	c.Detach()
	p.mu.Lock()
	p.tally(c.target, opened{used: -1, leaving: 1})
	p.mu.Unlock()
	p.bye(c)
}

// dropNew is drop for one on which no session came to be: whoever wanted it may
// try again, and is still counted.
func (p *pool) dropNew(c *link) {
	c.Detach()
	p.mu.Lock()
	p.tally(c.target, opened{leaving: 1})
	p.mu.Unlock()
	p.bye(c)
}

// Put keeps c for the next delivery, or says goodbye to it. A connection on
// which something unread waits is out of step and not kept.
func (p *pool) Put(c *link) {
	c.Detach()
	c.Dead = c.Dead || c.Br.Buffered() > 0
	p.mu.Lock()
	if p.idle <= 0 || c.Dead || p.closed || p.count >= maxIdle {
		p.mu.Unlock()
		p.drop(c)
		return
	}
	defer p.mu.Unlock()
	e := &idleConn{link: c}
	p.conns[c.key] = append(p.conns[c.key], e)
	p.count++
	p.tally(c.target, opened{used: -1, idle: 1})
	e.timer = time.AfterFunc(p.idle, func() { p.expire(c.key, e) })
}

// remove unlinks e, if it is still there; p.mu is held.
func (p *pool) remove(k poolKey, e *idleConn) bool {
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
		p.tally(e.target, opened{idle: -1})
		return true
	}
	return false
}

func (p *pool) expire(k poolKey, e *idleConn) {
	p.mu.Lock()
	mine := p.remove(k, e)
	if mine { // else get was faster
		p.tally(e.target, opened{leaving: 1})
	}
	p.mu.Unlock()
	if mine {
		p.bye(e.link)
	}
}

// Close says goodbye to all and keeps none from now on.
func (p *pool) Close() {
	p.mu.Lock()
	p.closed = true
	var all []*link
	for _, list := range p.conns {
		for _, e := range list {
			e.timer.Stop()
			p.tally(e.target, opened{idle: -1, leaving: 1})
			all = append(all, e.link)
		}
	}
	p.conns, p.count = make(map[poolKey][]*idleConn), 0
	p.mu.Unlock()
	for _, c := range all {
		p.bye(c)
	}
}
