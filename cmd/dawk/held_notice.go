package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"mime/quotedprintable"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
)

// heldAgain is how often the postmaster is reminded of a route that is held.
const heldAgain = 24 * time.Hour

// heldNotices tell the postmaster of routes that are held: nobody looks at a
// log for mail that does not come. They go by another route (see mx).
type heldNotices struct {
	after    time.Duration // on hold; 0: nobody is told
	hostname string
	to       relay.Path // null: nobody
	accept   func(context.Context, accept.Submission) (relay.QueueID, error)
	log      *slog.Logger

	mu     sync.Mutex
	closed bool
	held   map[string]*heldRoute
}

type heldRoute struct {
	since time.Time
	why   relay.Reply
	timer *time.Timer
	told  bool
}

func (r *instance) newHeldNotices() *heldNotices {
	return &heldNotices{after: time.Duration(r.cfg.Bounce.HeldNotice), hostname: r.cfg.Hostname, to: r.cfg.PostmasterPath(),
		accept: func(ctx context.Context, s accept.Submission) (relay.QueueID, error) {
			return r.acceptor.Submit(ctx, s)
		},
		log: r.log, held: map[string]*heldRoute{}}
}

// note hears of a route that is held or free again. It does not block.
func (n *heldNotices) note(route string, held bool, why relay.Reply) {
	if n.after <= 0 || n.to.IsNull() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.held[route]
	switch {
	case n.closed:
	case held && h == nil:
		h = &heldRoute{since: time.Now(), why: why}
		h.timer = time.AfterFunc(n.after, func() { n.tell(route) })
		n.held[route] = h
	case !held && h != nil:
		h.timer.Stop()
		delete(n.held, route)
		if h.told {
			go n.send(fmt.Sprintf("Route %s is free again", route),
				fmt.Sprintf("The smart host of route %q lets us in again. Its mail is on its way; nothing was lost.\n", route))
		}
	}
}

// tell says that a route is still held, and again after a day.
func (n *heldNotices) tell(route string) {
	n.mu.Lock()
	h := n.held[route]
	if h == nil || n.closed {
		n.mu.Unlock()
		return
	}
	h.told = true
	h.timer.Reset(heldAgain)
	text := fmt.Sprintf("The relay %s cannot log in at the smart host of route %q since\n%s. What it heard:\n\n%s\n\n"+
		"The mail of this route waits and nothing is lost; time on hold does not count towards its lifetime. "+
		"It goes on by itself when the login works. See:\n\n    dawk oauth status\n    dawk oauth test %s\n    dawk queue list\n",
		n.hostname, route, h.since.UTC().Format(time.RFC1123), relay.Sanitize(h.why.Advised()), route)
	n.mu.Unlock()
	n.send(fmt.Sprintf("Route %s is held: its mail waits", route), text)
}

// send queues a notice. Like a report it comes from nobody and brings nothing
// back.
func (n *heldNotices) send(subject, text string) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Mail Delivery System <postmaster@%s>\r\n", n.hostname)
	if n.to.ASCII() {
		fmt.Fprintf(&b, "To: %s\r\n", n.to.Wire())
	}
	fmt.Fprintf(&b, "Subject: %s\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", headerWord(subject))
	w := quotedprintable.NewWriter(&b)
	w.Write([]byte(text)) //nolint:errcheck // into memory
	w.Close()             //nolint:errcheck // likewise
	s := accept.Submission{Submitter: accept.Submitter{Identity: "dawk", Listener: "route", Protocol: "ESMTP"},
		Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: n.to, Notify: relay.NotifyNever}}},
		Content:  bytes.NewReader(b.Bytes())}
	if _, err := n.accept(context.Background(), s); err != nil {
		n.log.Warn("the postmaster cannot be told of a route", "subject", subject, "to", n.to.Wire(), "err", err)
	}
}

// headerWord keeps what is not printable ASCII out of a header: names of
// routes may hold it.
func headerWord(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

func (n *heldNotices) Close() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, h := range n.held {
		h.timer.Stop()
	}
}
