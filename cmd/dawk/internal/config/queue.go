package config

import (
	"fmt"
	"log/slog"
	"time"

	"dawk/queue/boltstore"
	"dawk/relay"
	"dawk/relay/delivery"
)

// QueueConfig is [queue].
type QueueConfig struct {
	// waits between the attempts, ±10 %; the last repeats
	Retry []relay.Duration `toml:"retry"`
	// a message that an attempt could not deliver after this time is returned to its sender
	MaxAge relay.Duration `toml:"max_age"`
	// this long after acceptance the sender is told, once, that the mail is late; `"0"`: never. Shorter than
	// `max_age`
	// Default: `"4h"`, or `"0"` where `max_age` is not longer
	DelayNotice relay.Duration `toml:"delay_notice"`
	// below this much free disk, or twice `max_message_size` if that is more, new mail is refused for the time being
	// (452). `"0"`: the default
	// Default: the lesser of 1 GiB and 10 % of the file system
	MinFree relay.Size `toml:"min_free"`
	// hard limit of the queue's file, at least 64MiB; `"0"`: none. While less than a quarter of it is left, or less
	// than twice `min_free` of the disk, one sender fills at most half of what is left (452)
	MaxSize relay.Size `toml:"max_size"`
}

func newQueueConfig() QueueConfig {
	q := QueueConfig{MaxAge: relay.Duration(delivery.DefaultMaxAge), DelayNotice: relay.Duration(4 * time.Hour)}
	for _, wait := range delivery.DefaultRetry {
		q.Retry = append(q.Retry, relay.Duration(wait))
	}
	return q
}

func (c *Config) checkQueue() {
	q := c.Queue
	if len(q.Retry) == 0 && c.doc.Clean("queue.retry") {
		c.doc.Fault("queue.retry", `queue.retry is empty: give at least one wait, as in retry = ["5m"]`)
	}
	for i, step := range q.Retry {
		c.positive(fmt.Sprintf("queue.retry[%d]", i), step)
	}
	c.positive("queue.max_age", q.MaxAge)
	if c.doc.Clean("queue") && c.doc.Has("queue.delay_notice") && q.MaxAge > 0 && q.DelayNotice >= q.MaxAge {
		c.doc.Fault("queue.delay_notice", `queue.delay_notice (%s) is not shorter than queue.max_age (%s), so no notice would ever go out: shorten it, or write "0" for none`, q.DelayNotice, q.MaxAge)
	}
	if least := relay.Size(64 << 20); q.MaxSize > 0 && q.MaxSize < least {
		c.doc.Fault("queue.max_size", `queue.max_size (%s) leaves no room for mail beside what the file keeps for itself: give at least %s, or "0" for no limit`, q.MaxSize, least)
	} else if q.MaxSize > 0 && q.MaxSize < c.Limits.MaxMessageSize {
		c.doc.Fault("queue.max_size", "queue.max_size (%s) is smaller than one message may be (limits.max_message_size = %s)", q.MaxSize, c.Limits.MaxMessageSize)
	}
}

// delayNotice is queue.delay_notice. Where it was not written and mail is given
// up before it, there is none: that mail is returned before it could be late.
func (c *Config) delayNotice() time.Duration {
	if c.Queue.DelayNotice >= c.Queue.MaxAge {
		return 0
	}
	return time.Duration(c.Queue.DelayNotice)
}

// QueueOptions lacks Destination, Fatal and Hook.
func (c *Config) QueueOptions(log *slog.Logger) boltstore.Options {
	return boltstore.Options{
		Dir:            c.DataDir,
		MaxSize:        int64(c.Queue.MaxSize),
		MinFree:        int64(c.Queue.MinFree),
		MaxMessageSize: int64(c.Limits.MaxMessageSize),
		Log:            log,
	}
}

func durations(list []relay.Duration) []time.Duration {
	out := make([]time.Duration, len(list))
	for i, d := range list {
		out[i] = time.Duration(d)
	}
	return out
}
