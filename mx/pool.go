package mx

import (
	"net/netip"
	"sync"
	"time"
)

// poolKey is what two deliveries must share to share a connection. The host's
// name is part of it since certificates are checked against names; a login
// never serves mail of another route.
type poolKey struct {
	host       string
	addr       netip.AddrPort
	implicit   bool
	level      Level
	requireTLS bool
	dane       string // the TLSA records that its certificate was held against
	route      string
}

func keyOf(tg target, p policy) poolKey {
	return poolKey{tg.host, tg.addr, tg.implicit, p.level, p.requireTLS, p.dane.fingerprint(), p.route}
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
}

type idleConn struct {
	*conn
	timer *time.Timer
}

func newPool(idle time.Duration, bg *background) *pool {
	return &pool{idle: idle, bg: bg, conns: make(map[poolKey][]*idleConn)}
}

// has says whether get would find one.
func (p *pool) has(k poolKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns[k]) > 0
}

// get takes the connection that was used last, or nil.
func (p *pool) get(k poolKey) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.conns[k]
	if len(list) == 0 {
		return nil
	}
	e := list[len(list)-1]
	p.remove(k, e)
	e.timer.Stop()
	return e.conn
}

// put keeps c for the next delivery, or says goodbye to it. A connection on
// which something unread waits is out of step and not kept.
func (p *pool) put(c *conn) {
	c.detach()
	if p.idle <= 0 || c.dead || c.br.Buffered() > 0 {
		c.dead = c.dead || c.br.Buffered() > 0
		p.bg.quit(c)
		return
	}
	p.mu.Lock()
	if p.closed || p.count >= maxIdle {
		p.mu.Unlock()
		p.bg.quit(c)
		return
	}
	defer p.mu.Unlock()
	e := &idleConn{conn: c}
	p.conns[c.key] = append(p.conns[c.key], e)
	p.count++
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
		return true
	}
	return false
}

func (p *pool) expire(k poolKey, e *idleConn) {
	p.mu.Lock()
	mine := p.remove(k, e)
	p.mu.Unlock()
	if mine { // else get was faster
		p.bg.quit(e.conn)
	}
}

// close says goodbye to all and keeps none from now on.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.conns {
		for _, e := range list {
			e.timer.Stop()
			p.bg.quit(e.conn)
		}
	}
	p.conns, p.count = make(map[poolKey][]*idleConn), 0
}
