package config

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"dawk/queue/boltstore"
	"dawk/queue/postgres"
	"dawk/queue/postgres/dsn"
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
	// where the queue is kept: `"bolt"`, in files below `data_dir`; or `"postgres"`, in a database, which [another
	// machine can take over](postgres.md)
	Store string `toml:"store"`
	// file that says how to reach the database: a URL or keywords, as libpq reads them; several hosts are allowed. It
	// holds a password, so only the relay's user may read it
	// Default: none; needed with `store = "postgres"`
	DSNFile string `toml:"dsn_file"`
	// takes mail although the database has no synchronous standby: then it may be lost with the database's machine
	AllowAsync bool `toml:"allow_async"`
}

// The values of queue.store.
const (
	StoreBolt     = "bolt"
	StorePostgres = "postgres"
)

// ClusterConfig is [cluster]: with it all machines that share a database work; without it one, and the others stand by.
type ClusterConfig struct {
	// the number of this machine among those that share a database, 1 to 255
	// Default: the lowest that is free
	Node int `toml:"node"`
}

func newQueueConfig() QueueConfig {
	q := QueueConfig{Store: StoreBolt, MaxAge: relay.Duration(delivery.DefaultMaxAge), DelayNotice: relay.Duration(4 * time.Hour)}
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

// checkStore is about where the queue is.
func (c *Config) checkStore() {
	q := c.Queue
	switch {
	case q.Store != StoreBolt && q.Store != StorePostgres:
		c.doc.Fault("queue.store", `queue.store %q is neither "bolt" nor "postgres"`, relay.Clip(q.Store))
	case q.Store == StorePostgres && q.DSNFile == "":
		c.doc.Fault("queue.store", `queue.store = "postgres" needs queue.dsn_file: the file that says how to reach the database`)
	case q.Store == StoreBolt && (q.DSNFile != "" || q.AllowAsync || c.Clustered()):
		absent := func(key string) bool { return !c.doc.Has(key) }
		c.doc.Fault(append(slices.DeleteFunc([]string{"queue.dsn_file", "queue.allow_async", "cluster.node", "cluster"}, absent), "queue.store")[0], `this is for a queue in a database: it needs queue.store = "postgres"`)
	}
	if n := c.Cluster.Node; n < 0 || n > 255 {
		c.doc.Fault("cluster.node", "cluster.node is %d; it must be 1 to 255", n)
	}
}

// Clustered says whether several machines work at the same time.
func (c *Config) Clustered() bool { return c.Cluster.Node != 0 || c.doc != nil && c.doc.Has("cluster") }

// checkDSN reads queue.dsn_file, and says what is wrong without a word of it.
func (c *Config) checkDSN() {
	q := c.Queue
	if q.Store != StorePostgres || q.DSNFile == "" {
		return
	}
	text, err := dsn.Read(q.DSNFile)
	if err != nil {
		c.doc.Fault("queue.dsn_file", "dsn_file: %v", err)
	}
	c.secrets.dsn = text
}

// PostgresOptions are those of a queue in a database; they lack Destination, Fatal and
// CommitSeconds.
func (c *Config) PostgresOptions(log *slog.Logger) postgres.Options {
	return postgres.Options{DSN: c.secrets.dsn, Dir: c.DataDir, Node: c.Cluster.Node, Name: c.Hostname, AllowAsync: c.Queue.AllowAsync, Sole: !c.Clustered(), Log: log}
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
