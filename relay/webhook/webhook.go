// Package webhook tells programs of events over HTTP, as Standard Webhooks says: it
// follows the outbox of the queue, posts what each webhook asks for, tries again what
// was not taken, and remembers in a file how far each has come.
//
// [Hooks] is all webhooks of one configuration. Hooks.Run starts a goroutine for each, which
// alone owns its state; others ask it through hook.ask. Requests run beside it. Begin
// reading at hook.run.
//
// What was told is on disk within a second. After a crash an event may be told once
// more, with the same ID; none is left out. Events of one message are told in order:
// the next one waits until the one before is taken or given up.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
	"dawk/relay/history"
)

// Outbox is what the queue keeps of events.
type Outbox interface {
	Events(after uint64) iter.Seq2[relay.OutboxEvent, error]
	Last() uint64
	Told(number uint64)
	Watch(func())
}

// Config is one webhook.
type Config struct {
	Name       string
	URL        string
	Secrets    func() ([][]byte, error) // the first signs first; asked once a second while there are requests
	Kinds      []relay.EventKind        // nil: all
	Identities []string                 // nil: all
	Batch      int                      // events in a request at most; below 2: one each, without the envelope
	Retry      []time.Duration          // waits after a request that failed; the last repeats
	Post       Poster
}

// Poster makes one request and gives the status of the answer, once all of it has come.
type Poster func(ctx context.Context, url string, header map[string]string, body []byte) (status int, err error)

const (
	// GiveUp is how long an event is tried.
	GiveUp = 3 * 24 * time.Hour

	concurrency = 8 // requests of one webhook
	perSecond   = 500
	rest        = 100 * time.Millisecond // between two bursts of requests at that rate
	gather      = 200 * time.Millisecond // that a batch waits for more events
	together    = 10 * time.Millisecond  // between two looks at the outbox
	readAgain   = 5 * time.Second        // after the outbox could not be read
	window      = 1000                   // events of one webhook that are tried or wait for their next try
	windowBytes = 4 << 20                // about what they take in memory
	saveEvery   = time.Second
	saveAgain   = 10 * time.Second // after that has failed
	idle        = time.Hour        // until somebody wakes up a webhook without events
)

// DefaultRetry are the waits of a webhook that says nothing else.
func DefaultRetry() []time.Duration {
	return []time.Duration{5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour}
}

// Options of Hooks.
type Options struct {
	Dir    string // of the files; made if it is missing
	Outbox Outbox
	Log    *slog.Logger
}

// Hooks is all webhooks of a configuration.
type Hooks struct {
	opt Options
	all []*hook
	mu  sync.Mutex
	to  map[*hook]uint64 // how far each was told everything
}

// New is the webhooks of list. A new one is told what happens from now on.
func New(opt Options, list []Config) (*Hooks, error) {
	h := &Hooks{opt: opt, to: make(map[*hook]uint64)}
	if len(list) == 0 {
		return h, nil
	}
	if err := durable.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder of the webhooks: %w", err)
	}
	for _, c := range list {
		if len(c.Retry) == 0 {
			c.Retry = DefaultRetry()
		}
		k := &hook{Config: c, owner: h, path: filepath.Join(opt.Dir, url.PathEscape(c.Name)+".json"),
			wake: make(chan struct{}, 1), ctl: make(chan func()), done: make(chan result), ended: make(chan struct{})}
		if err := k.begin(opt.Outbox.Last()); err != nil {
			return nil, fmt.Errorf("webhook %s: %w", c.Name, err)
		}
		h.all = append(h.all, k)
		h.to[k] = 0
	}
	return h, nil
}

// Run tells until ctx ends. No other Hooks of the same folder may run.
func (h *Hooks) Run(ctx context.Context) {
	h.opt.Outbox.Watch(func() {
		for _, k := range h.all {
			k.nudge()
		}
	})
	var running sync.WaitGroup
	for _, k := range h.all {
		running.Go(func() { k.run(ctx) })
	}
	running.Wait()
}

// told says how far one webhook has come. One that has ended keeps nothing, nor one whose file cannot be read.
func (h *Hooks) told(k *hook, to uint64) {
	h.mu.Lock()
	h.to[k] = to
	least := to
	for _, n := range h.to {
		least = min(least, n)
	}
	h.mu.Unlock()
	h.opt.Outbox.Told(least)
}

// State says what a webhook does.
type State string

// The states.
const (
	Active State = "active"
	Ended  State = "ended" // the receiver answered 410, and is asked no more until it is enabled
)

// Status is how one webhook does.
type Status struct {
	Name      string    `json:"name"`                 // of the [[webhook]]
	URL       string    `json:"url"`                  // without a password
	State     State     `json:"state"`                // "active" or "ended": the receiver answered 410
	Pending   int       `json:"pending"`              // events that are still to be told
	Failed    int64     `json:"failed"`               // events that were given up
	Delivered int64     `json:"delivered"`            // events that were taken
	Oldest    time.Time `json:"oldest,omitzero"`      // when the oldest pending event happened that was tried
	Next      time.Time `json:"next,omitzero"`        // when the next try is, if nothing else comes
	LastError string    `json:"last_error,omitempty"` // of the last request, if it failed
	LastAt    time.Time `json:"last_at,omitzero"`     // when that ended
}

// Called is s for a person, in a word or two.
func (s *Status) Called() string {
	if s.State == Active && s.LastError != "" {
		return "failing"
	}
	return string(s.State)
}

// ErrUnknown says that there is no webhook of that name.
var ErrUnknown = errors.New("there is no such webhook: see `dawk webhook list`")

// errStopped: the relay stops, or its configuration is being replaced.
var errStopped = errors.New("webhooks are stopping: try again")

func (h *Hooks) find(name string) (*hook, error) {
	i := slices.IndexFunc(h.all, func(k *hook) bool { return k.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("webhook %q: %w", relay.Clip(name), ErrUnknown)
	}
	return h.all[i], nil
}

// List is all webhooks, in the order of the configuration.
func (h *Hooks) List() (list []Status) {
	list = []Status{}
	for _, k := range h.all {
		var s Status
		if k.ask(func() { k.count(); s = k.status() }) != nil {
			s = k.asSaved()
		}
		list = append(list, s)
	}
	return list
}

// Enable takes up again a webhook that has ended, from where it was, as far as the
// outbox still has it.
func (h *Hooks) Enable(name string) error {
	k, err := h.find(name)
	if err != nil {
		return err
	}
	var refused error
	err = k.ask(func() {
		if k.broken {
			refused = errors.New(k.state.LastError)
			return
		}
		k.state.Ended, k.failing, k.dirty = false, 0, true
		for _, i := range k.items {
			i.Due = time.Time{}
		}
		k.nudge()
	})
	return errors.Join(err, refused)
}

// Replay tells a webhook again what the outbox has and the terms pick, which are those
// of the history, and says how many events that are.
func (h *Hooks) Replay(name string, terms []string, now time.Time) (n int, err error) {
	k, err := h.find(name)
	if err != nil {
		return 0, err
	}
	q, err := history.Terms.Args(terms, now)
	if err != nil {
		return 0, err
	}
	r := replay{stream: stream{End: h.opt.Outbox.Last()}, Terms: terms, Asked: now}
	for e, err := range h.opt.Outbox.Events(0) {
		if err != nil {
			return 0, err
		}
		if e.Number > r.End {
			break
		}
		if k.wants(&e.Event) && picks(&q, &e.Event) {
			n++
		}
	}
	if n == 0 {
		return 0, nil
	}
	var refused error
	err = k.ask(func() {
		switch {
		case k.broken:
			refused = errors.New(k.state.LastError)
		case k.state.Ended:
			refused = fmt.Errorf("the receiver of webhook %s answered 410 and is told nothing: `dawk webhook enable %s` first", k.Name, k.Name)
		default:
			k.state.Replays, k.dirty = append(k.state.Replays, r), true
			k.nudge()
		}
	})
	return n, errors.Join(err, refused)
}

// picks says whether a query picks an event, for any of its recipients.
func picks(q *history.Query, e *relay.Event) bool {
	r := history.Record{Event: *e}
	if len(e.To) == 0 {
		return q.Match(&r)
	}
	return slices.ContainsFunc(e.To, func(p relay.Path) bool {
		r.Recipient = p
		return q.Match(&r)
	})
}

// Test posts an event of type test, and gives the status of the answer; it is not tried again.
func (h *Hooks) Test(ctx context.Context, name string, now time.Time) (status int, err error) {
	k, err := h.find(name)
	if err != nil {
		return 0, err
	}
	keys, err := k.Secrets()
	if err != nil {
		return 0, err
	}
	body := testBody(now)
	return k.Post(ctx, k.URL, headers(testID(now), body, keys, now), body)
}

// FileSecrets reads the secrets of a file, one a line, again whenever it changes.
func FileSecrets(path string) func() ([][]byte, error) {
	var mu sync.Mutex
	var keys [][]byte
	var was os.FileInfo
	return func() ([][]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("secret_file: %w", err)
		}
		if was != nil && os.SameFile(was, info) && info.ModTime().Equal(was.ModTime()) && info.Size() == was.Size() {
			return keys, nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("secret_file: %w", err)
		}
		if keys, err = ParseSecrets(data); err != nil {
			was = nil
			return nil, fmt.Errorf("secret_file %s: %w", path, err)
		}
		was = info
		return keys, nil
	}
}
