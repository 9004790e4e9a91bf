// Package suppression is the list of recipients that get no mail any more: addresses
// whose servers said more than once that there is no such mailbox, whose mail came back,
// or whose owners complained, and those that an administrator put there.
//
// [List.Observe] learns from events, [List.Screen] keeps mail from who is on the list.
// The list is a file (file.go); memory holds where each entry stands in it. safeguard.go
// says when failures are not believed. List.writing is held while the file is written,
// List.mu while its index is looked at or changed, List.wait while events are handed
// over, List.working while they are put on the list, guard.mu is the safeguard's own. Run writes what was observed.
// Begin reading at Observe in learn.go.
package suppression

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"dawk/relay"
)

// Entry is one recipient on the list.
type Entry struct {
	Address  string        `json:"address"`
	Identity string        `json:"identity"` // whose mail it concerns; "": everybody's
	Reason   string        `json:"reason"`   // a category, "complaint", or words of whoever added it
	Since    time.Time     `json:"since"`
	Expires  time.Time     `json:"expires"`
	QueueID  relay.QueueID `json:"queue_id"` // of the message that led to it; zero: none did
}

// Reasons besides the categories of package replies.
const (
	ReasonComplaint = "complaint"
	ReasonManual    = "manual"
)

// The values of Config.Scope and Config.Answer.
const (
	ScopeIdentity = "identity"
	ScopeAll      = "all"
	AnswerBounce  = "bounce"
	AnswerRefuse  = "refuse"
)

// Config says what leads to an entry, and what follows from it.
type Config struct {
	After   int           // failures that make an entry
	Expires time.Duration // life of an entry
	Scope   string        // whom an entry concerns: ScopeIdentity or ScopeAll
	Answer  string        // what a client hears: AnswerBounce or AnswerRefuse
}

// apart is the least time between two failures that count as two.
const apart = 24 * time.Hour

// ErrOff says that the feature is not in use.
var ErrOff = errors.New("no suppression list is kept: write the section [suppression] into the configuration")

// List is the list. Without a configuration it is off: nothing is learned, and nobody
// is on it.
type List struct {
	dir string
	log *slog.Logger
	now func() time.Time
	cfg atomic.Pointer[Config] // nil: off

	writing sync.Mutex // held while the file is changed, before mu
	mu      sync.RWMutex
	file    *file // nil until the list is first on
	guard   guard

	working sync.Mutex // held while todo is put on the list, before writing
	wait    sync.Mutex
	todo    []relay.Event
	wake    chan struct{}
}

// New is a list that is off; it keeps its files in dir.
func New(dir string, log *slog.Logger) *List {
	return &List{dir: dir, log: log, now: time.Now, wake: make(chan struct{}, 1)}
}

// Path is the file of the list in a data directory.
func Path(dir string) string { return filepath.Join(dir, "suppression") }

// Configure puts cfg in force; nil turns the list off, and keeps what is on it.
func (l *List) Configure(cfg *Config) error {
	if cfg == nil {
		l.cfg.Store(nil)
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.file == nil {
		f, err := openFile(Path(l.dir), l.log)
		if err != nil {
			return fmt.Errorf("the suppression list: %w", err)
		}
		l.guard.load(guardPath(l.dir), l.log)
		l.mu.Lock()
		l.file = f
		l.mu.Unlock()
	}
	c := *cfg
	l.cfg.Store(&c)
	return nil
}

// Close writes what was observed and closes the file.
func (l *List) Close() error {
	_ = l.Settled() // it is logged
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg.Store(nil)
	if l.file == nil {
		return nil
	}
	l.guard.save(guardPath(l.dir), l.log)
	err := l.file.close()
	l.file = nil
	return err
}

// key names an entry. Domains are in lower case already (relay.Path).
func key(identity, address string) string { return identity + "\x00" + address }

// Find is the entry that keeps mail of identity from to; nil: none does.
func (l *List) Find(identity string, to relay.Path) *Entry {
	if l.cfg.Load() == nil {
		return nil
	}
	address, now := to.String(), l.now().Unix()
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.file == nil || len(l.file.index) == 0 {
		return nil
	}
	for _, id := range [...]string{identity, ""} {
		if r, ok := l.file.get(id, address); ok && r.listed(now) {
			e := r.entry()
			return &e
		}
		if identity == "" {
			break
		}
	}
	return nil
}

// Entries is how many recipients are on the list. Those whose time is up count until the
// file is written anew.
func (l *List) Entries() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.file == nil || l.cfg.Load() == nil {
		return 0
	}
	return l.file.entries
}

// own is the identity of mail that the relay writes itself.
const own = "dawk"

// Screen delivers a task to those of its recipients that are not on the list, by
// deliver, and answers for the others. Notices of the relay go to everybody.
func (l *List) Screen(task relay.Task, deliver func(relay.Task) relay.Result) relay.Result {
	if l.cfg.Load() == nil || task.Message.Notice || task.Message.Identity == own {
		return deliver(task)
	}
	var kept map[int]relay.Reply // by the place in task.Recipients
	var rest []int
	for i, r := range task.Recipients {
		to := task.Message.Recipients[r].Path
		e := l.Find(task.Message.Identity, to)
		if e == nil {
			rest = append(rest, r)
			continue
		}
		if kept == nil {
			kept = make(map[int]relay.Reply)
		}
		kept[i] = relay.Decision(relay.CauseSuppressed, relay.Status{Class: 5, Subject: 7, Detail: 1}, "%s", e.Words(to))
	}
	if kept == nil {
		return deliver(task)
	}
	began := time.Now()
	result := relay.Result{Began: began}
	if len(rest) > 0 {
		narrow := task
		narrow.Recipients = rest
		result = deliver(narrow)
	}
	return merge(result, kept, len(task.Recipients))
}

// merge puts the replies of the list between those of the servers.
func merge(r relay.Result, kept map[int]relay.Reply, n int) relay.Result {
	replies, by, next := make([]relay.Reply, n), make([]int, n), 0
	for i := range n {
		if reply, ok := kept[i]; ok {
			replies[i], by[i] = reply, len(r.Earlier)
			continue
		}
		if next < len(r.Replies) {
			replies[i] = r.Replies[next]
		}
		if next < len(r.By) {
			by[i] = r.By[next]
		}
		next++
	}
	r.Replies = replies
	if r.By != nil {
		r.By = by
	}
	return r
}

// Words say that mail to an address is kept back, since when, why, and how that ends.
func (e *Entry) Words(to relay.Path) string {
	return fmt.Sprintf("%s is suppressed since %s (%s), and nothing is sent; the administrator of this relay can lift it: dawk suppression remove %s",
		to.Wire(), e.Since.UTC().Format(time.DateOnly), relay.Clip(e.Reason), relay.Clip(to.String()))
}

// Refuses says at RCPT why mail of identity may not go to an address; "": it may, or
// who is on the list gets a notice instead.
func (l *List) Refuses(identity string, to relay.Path) string {
	cfg := l.cfg.Load()
	if cfg == nil || cfg.Answer != AnswerRefuse || identity == own {
		return ""
	}
	return cfg.Refusal(l.Find(identity, to), to)
}

// Refusal is what RCPT hears of a recipient with the entry e; "": it is taken.
func (c *Config) Refusal(e *Entry, to relay.Path) string {
	if e == nil || c.Answer != AnswerRefuse {
		return ""
	}
	return e.Words(to)
}
