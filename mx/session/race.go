package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"dawk/mx/dial"
	"dawk/mx/hosts"
	"dawk/relay"
)

// attemptDelay is how long an attempt is left alone before the next begins beside it (RFC 8305 §5).
const attemptDelay = 250 * time.Millisecond

// Dialed is what came of one address.
type Dialed struct {
	I   int // of the list
	nc  net.Conn
	Bad relay.Reply
}

// Race connects to the first of several addresses that answers: the next one is tried when one
// has failed, or has not answered for attemptDelay. won is -1 when all failed. A connection that
// comes too late is closed before a word was said on it; nobody waits for it.
func (o *Opener) Race(ctx context.Context, list []hosts.Target, p Policy) (won int, nc net.Conn, failed []Dialed) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // those that come too late; it does not reach a connection that stands
	results := make(chan Dialed, len(list))
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
					nc, bad := o.connect(ctx, list[i], p)
					results <- Dialed{i, nc, bad}
				}()
				next.Reset(attemptDelay)
			}
		case d := <-results:
			if d.nc != nil {
				o.dropLate(results, started-len(failed)-1)
				return d.I, d.nc, failed
			}
			failed = append(failed, d)
			next.Reset(0)
		}
	}
	return -1, nil, failed
}

// dropLate closes the connections of a race that is over.
func (o *Opener) dropLate(results <-chan Dialed, n int) {
	drop := func() {
		for range n {
			if d := <-results; d.nc != nil {
				d.nc.Close()
			}
		}
	}
	if n > 0 && !o.Bg.Run(drop) {
		drop()
	}
}

// connect dials one address, unless it is refused.
func (o *Opener) connect(ctx context.Context, tg hosts.Target, p Policy) (net.Conn, relay.Reply) {
	if p.MX {
		if err := o.Addresses.Check(tg.Addr); err != nil {
			return nil, dial.Refusal(tg.Host, err)
		}
	}
	from, ok := p.Source.Local(tg.Addr.Addr())
	if !ok && tg.Socket == "" {
		return nil, p.Source.NoFamily(tg.Addr.Addr(), tg.String())
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, o.Timeouts.Connect)
	defer cancel()
	var nc net.Conn
	var err error
	switch {
	case tg.Socket != "":
		nc, err = o.Dial(ctx, "unix", tg.Socket)
	case from.IsValid():
		nc, err = dial.Dialer(from).DialContext(ctx, "tcp", tg.Addr.String())
		if bad := p.Source.Unbound(from, err); !bad.IsZero() {
			return nil, bad
		}
	default:
		nc, err = o.Dial(ctx, "tcp", tg.Addr.String())
	}
	if err == nil {
		return nc, relay.Reply{}
	}
	why, silent := dial.Cause(err), false
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		why, silent = fmt.Sprintf("no answer within %v", min(o.Timeouts.Connect, time.Since(begun).Round(time.Second))), true
	}
	bad := relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "cannot connect to %s: %s", tg, why)
	bad.Refused = !silent
	if tg.Socket != "" { // of this machine
		bad.Cause = relay.CauseLocal
	}
	return nil, bad
}
