package delivery

import (
	"context"
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"

	"dawk/relay"
	"dawk/relay/delivery/notices"
	"dawk/relay/delivery/schedule"
)

// Queue is what the dispatcher needs of the store; a queue.Store implements it.
type Queue interface {
	// Watch sets the function that is told of every new Delivery, after the commit that made it and
	// before its caller is answered. Watch is called once, by New.
	Watch(func([]relay.Entry))
	// Entries are all Deliveries in the store, in the order of their keys. A
	// record that cannot be read comes as an error that is relay.ErrCorrupt;
	// any other error ends the load.
	Entries() iter.Seq2[relay.Entry, error]
	// Claim reads a Delivery with its message and its content, which the caller closes. Errors:
	// relay.ErrNotFound, relay.ErrCorrupt, relay.ErrClosed, or what the disk said. If only the content
	// cannot be read, it returns a Claim without it and an error, relay.ErrContentLost if it is lost
	// for good.
	Claim(relay.QueueID, uint16) (*relay.Claim, error)
	// Settle commits a Settlement, all or nothing, and calls the function once
	// afterwards. A failed Settlement left nothing behind, or the error is
	// relay.ErrClosed.
	Settle(relay.Settlement, func(error))
	// Item is a message with all its Deliveries and their history. Errors:
	// relay.ErrNotFound, relay.ErrCorrupt, or what the disk said.
	Item(relay.QueueID) (*relay.Item, error)
	// DigestRows are the rows of earlier settlements that no list has told of. An
	// error ends them.
	DigestRows() iter.Seq2[relay.DigestRow, error]
	// NextID reserves a queue ID for a notice or a row.
	NextID() relay.QueueID
}

// Transport makes delivery attempts; package mx implements it.
type Transport interface {
	// Deliver offers the content to the recipients of one task and returns one
	// reply for each. It returns soon after its context ends.
	Deliver(context.Context, relay.Task) relay.Result
	// Destination names the route or the domain of a recipient as of now.
	Destination(*relay.Message, relay.Path) string
	// Along is the destination of a recipient that is sent by the named route, or by
	// relay.RouteMX; "": there is no such route with a smart host.
	Along(route string, m *relay.Message, to relay.Path) string
}

// Limits are what next hops allow.
type Limits = schedule.Limits

// Allowance is what a provider takes.
type Allowance = schedule.Allowance

// Config is the dispatcher's part of the configuration. The zero value of a field is its default,
// except where it says otherwise. The caller has checked it: no time in it is negative, and no step
// of Retry is 0.
type Config struct {
	Retry       []time.Duration // waits between attempts; the last repeats. Default 1m 5m 15m 30m 1h 2h
	MaxAge      time.Duration   // lifetime, time on hold not counted. Default DefaultMaxAge
	DelayNotice time.Duration   // age at which the sender is told of the delay; 0: never

	// Notices are what senders are told. Item, NextID and Log are the
	// dispatcher's own.
	Notices notices.Config

	// Schedule says whose turn it is. Retry, Limits and Clock are the dispatcher's
	// own; Attempts is DefaultMaxConnections unless it is set.
	Schedule schedule.Config
	Limits   Limits        // of next hops
	Grace    time.Duration // how long a stop lets running attempts go on. Default 8 s

	Log  *slog.Logger        // faults only; events go to the Observer. Default: discarded
	Rand func(n int64) int64 // jitter, in [0, n). Default: math/rand/v2
}

// The defaults of a Config.
const (
	DefaultMaxAge         = 5 * 24 * time.Hour // RFC 5321 §4.5.4.1
	DefaultMaxConnections = 500
)

// DefaultRetry is the schedule of a configuration that names none: greylisting often ends after one
// minute, and one attempt in two hours is a small load for any host.
var DefaultRetry = []time.Duration{
	time.Minute,      // 0:01 after arrival
	5 * time.Minute,  // 0:06
	15 * time.Minute, // 0:21
	30 * time.Minute, // 0:51
	time.Hour,        // 1:51
	2 * time.Hour,    // 3:51, 5:51 … until MaxAge
}

func (c Config) withDefaults() Config {
	if len(c.Retry) == 0 {
		c.Retry = DefaultRetry
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.Schedule.Attempts == 0 {
		c.Schedule.Attempts = DefaultMaxConnections
	}
	if c.Grace == 0 {
		c.Grace = 8 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		c.Rand = rand.Int64N
	}
	return c
}
