package dns

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Outage is that no name server gives a useful answer to anything.
type Outage struct {
	Since time.Time // when the first question failed
	Last  time.Time // when the last one did
	Err   error     // of that one
}

// outages notices an outage in the questions that are asked anyway.
type outages struct {
	log *slog.Logger

	mu     sync.Mutex
	begun  Outage
	names  map[string]bool // that have failed since; at most failedNames
	silent bool            // the servers did not even answer a question for the root
	told   bool            // in the log
}

// failedNames is how many names fail, one after the other, before it is no longer the domains that
// are to blame: a resolver without a way to the world answers SERVFAIL to each.
const failedNames = 3

// answered ends an outage.
func (o *outages) answered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told {
		o.log.Info("name servers answer again", "since", o.begun.Since)
	}
	o.begun, o.names, o.silent, o.told = Outage{}, nil, false, false
}

// failed notes that every server was asked for name and none gave a useful answer. It is
// not yet known whether the servers say anything at all where first is true.
func (o *outages) failed(name string, err *Error) (first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.names == nil {
		o.begun.Since, o.names, first = time.Now(), make(map[string]bool), true
	}
	o.begun.Last, o.begun.Err = time.Now(), err
	if len(o.names) < failedNames {
		o.names[name] = true
	}
	o.tell()
	return first
}

// nothing notes that the servers answer no question, whatever the name.
func (o *outages) nothing() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.names != nil { // else another question was answered meanwhile
		o.silent = true
		o.tell()
	}
}

func (o *outages) on() bool { return o.silent || len(o.names) >= failedNames }

func (o *outages) tell() {
	if o.on() && !o.told {
		o.told = true
		o.log.Warn("no name server gives a useful answer", "error", o.begun.Err)
	}
}

// Outage says whether no name server gives a useful answer, as far as the questions that mail
// needed have shown. It asks nothing.
func (r *Resolver) Outage() (Outage, bool) {
	r.outages.mu.Lock()
	defer r.outages.mu.Unlock()
	return r.outages.begun, r.outages.on()
}

// failed notes a question that no server answered usefully. At the first time-out in a row the
// servers are asked for the root: servers of a domain that keep silent make a resolver
// keep silent for that domain, too.
func (r *Resolver) failed(ctx context.Context, q question, err *Error) {
	if first := r.outages.failed(q.name, err); !first || err.Trouble != Timeout {
		return
	}
	for _, server := range r.Servers() {
		if _, err := r.exchange(ctx, server, root, false); err == nil {
			return
		}
	}
	r.outages.nothing()
}
