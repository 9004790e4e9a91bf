package mx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"dawk/mx/dial"
	"dawk/relay"
)

// attemptDelay is how long an attempt is left alone before the next begins beside it (RFC 8305 §5).
const attemptDelay = 250 * time.Millisecond

// dialed is what came of one address.
type dialed struct {
	i   int // of the list
	nc  net.Conn
	bad relay.Reply
}

// race connects to the first of several addresses that answers: the next one is tried when one
// has failed, or has not answered for attemptDelay. won is -1 when all failed. A connection that
// comes too late is closed before a word was said on it; nobody waits for it.
func (t *Transport) race(ctx context.Context, list []target, p policy) (won int, nc net.Conn, failed []dialed) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // those that come too late; it does not reach a connection that stands
	results := make(chan dialed, len(list))
	started := 0
	next := time.NewTimer(0)
	defer next.Stop()
	for len(failed) < len(list) {
		select {
		case <-next.C:
			if started < len(list) {
				i := started
				started++
				go func() {
					nc, bad := t.connect(ctx, list[i], p)
					results <- dialed{i, nc, bad}
				}()
				next.Reset(attemptDelay)
			}
		case d := <-results:
			if d.nc != nil {
				t.dropLate(results, started-len(failed)-1)
				return d.i, d.nc, failed
			}
			failed = append(failed, d)
			next.Reset(0)
		}
	}
	return -1, nil, failed
}

// dropLate closes the connections of a race that is over.
func (t *Transport) dropLate(results <-chan dialed, n int) {
	drop := func() {
		for range n {
			if d := <-results; d.nc != nil {
				d.nc.Close()
			}
		}
	}
	if n > 0 && !t.bg.Run(drop) {
		drop()
	}
}

// connect dials one address, unless it is refused.
func (t *Transport) connect(ctx context.Context, tg target, p policy) (net.Conn, relay.Reply) {
	if p.mx {
		if err := t.addresses.Check(tg.Addr); err != nil {
			return nil, dial.Refusal(tg.Host, err)
		}
	}
	from, ok := p.source.Local(tg.Addr.Addr())
	if !ok && tg.Socket == "" {
		return nil, p.source.NoFamily(tg.Addr.Addr(), tg.String())
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeouts.Connect)
	defer cancel()
	var nc net.Conn
	var err error
	switch {
	case tg.Socket != "":
		nc, err = t.cfg.Dial(ctx, "unix", tg.Socket)
	case from.IsValid():
		nc, err = dial.Dialer(from).DialContext(ctx, "tcp", tg.Addr.String())
		if bad := p.source.Unbound(from, err); !bad.IsZero() {
			return nil, bad
		}
	default:
		nc, err = t.cfg.Dial(ctx, "tcp", tg.Addr.String())
	}
	if err == nil {
		return nc, relay.Reply{}
	}
	why, silent := dial.Cause(err), false
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		why, silent = fmt.Sprintf("no answer within %v", min(t.cfg.Timeouts.Connect, time.Since(begun).Round(time.Second))), true
	}
	bad := relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "cannot connect to %s: %s", tg, why)
	bad.Refused = !silent
	if tg.Socket != "" { // of this machine
		bad.Cause = relay.CauseLocal
	}
	return nil, bad
}
