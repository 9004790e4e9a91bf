package delivery_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
)

// store is a Queue in memory: the semantics of package queue without a disk.
// Its writer is a goroutine, so that Settle answers later and from elsewhere.
type store struct {
	t    testing.TB
	mu   sync.Mutex
	last uint64
	msgs map[relay.QueueID]*relay.Message
	jobs map[jobKey]*relay.Delivery
	next map[relay.QueueID]uint16
	body map[relay.QueueID][]byte // of notices; other messages are all alike

	watch     func([]relay.Entry)
	claims    int                // open ones
	onClaim   func()             // may be nil
	settled   []relay.Settlement // committed, in order
	rows      map[relay.QueueID][]byte
	history   map[jobKey][]relay.Attempt
	refuse    func(relay.Settlement) error // a commit that fails
	commits   sync.Mutex
	committed func() // after each commit; may be nil
	corrupt   map[relay.QueueID]bool
	unread    map[relay.QueueID]error // content that cannot be had
	broken    map[relay.QueueID]error // records that Entries cannot read
	closed    bool
}

type jobKey struct {
	id  relay.QueueID
	job uint16
}

func newStore(t testing.TB) *store {
	return &store{t: t, rows: map[relay.QueueID][]byte{}, msgs: map[relay.QueueID]*relay.Message{}, jobs: map[jobKey]*relay.Delivery{},
		next: map[relay.QueueID]uint16{}, body: map[relay.QueueID][]byte{}, history: map[jobKey][]relay.Attempt{}, corrupt: map[relay.QueueID]bool{}, unread: map[relay.QueueID]error{}, broken: map[relay.QueueID]error{}}
}

func (s *store) Watch(f func([]relay.Entry)) { s.watch = f }

func (s *store) NextID() relay.QueueID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextID()
}

func (s *store) nextID() relay.QueueID {
	s.last = max(s.last+1, uint64(time.Now().UnixMicro()))
	return relay.QueueID{Key: s.last, Dir: 7}
}

// enqueue splits by domain, as package queue does without routes.
func (s *store) enqueue(m *relay.Message) []relay.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.ID.IsZero() {
		m.ID = s.nextID()
	}
	if m.Arrival.IsZero() {
		m.Arrival = time.Now().Round(0)
	}
	s.msgs[m.ID] = m
	var entries []relay.Entry
	at := map[string]*relay.Delivery{}
	for i, r := range m.Recipients {
		dest := r.Path.Domain()
		d := at[dest]
		if d == nil {
			d = &relay.Delivery{Entry: relay.Entry{ID: m.ID, Job: s.next[m.ID], Destination: dest, Identity: m.Identity, Peer: m.Peer(),
				Arrival: m.Arrival, Due: m.Arrival}}
			if m.NotBefore.After(d.Due) {
				d.Due = m.NotBefore
			}
			s.next[m.ID]++
			at[dest] = d
			s.jobs[jobKey{m.ID, d.Job}] = d
		}
		d.Open = append(d.Open, relay.Open{Recipient: i})
	}
	for _, d := range at {
		entries = append(entries, d.Entry)
	}
	slices.SortFunc(entries, func(a, b relay.Entry) int { return int(a.Job) - int(b.Job) })
	return entries
}

// accept is enqueue, told to the dispatcher.
func (s *store) accept(m *relay.Message) relay.QueueID {
	e := s.enqueue(m)
	if s.watch != nil {
		s.watch(e)
	}
	return m.ID
}

func (s *store) Entries() iter.Seq2[relay.Entry, error] {
	return func(yield func(relay.Entry, error) bool) {
		s.mu.Lock()
		keys := slices.SortedFunc(maps.Keys(s.jobs), func(a, b jobKey) int {
			return int(int64(a.id.Key)-int64(b.id.Key)) + int(a.job) - int(b.job)
		})
		s.mu.Unlock()
		for _, k := range keys {
			s.mu.Lock()
			d, err := s.jobs[k], s.broken[k.id]
			s.mu.Unlock()
			if d == nil {
				continue
			}
			if err != nil && !yield(relay.Entry{ID: k.id}, err) {
				return
			}
			if err == nil && !yield(d.Entry, nil) {
				return
			}
		}
	}
}

func (s *store) Claim(id relay.QueueID, job uint16) (*relay.Claim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("claim: %w", relay.ErrClosed)
	}
	if s.corrupt[id] {
		return nil, fmt.Errorf("claim: %w", relay.ErrCorrupt)
	}
	d := s.jobs[jobKey{id, job}]
	if d == nil {
		return nil, fmt.Errorf("claim: %w", relay.ErrNotFound)
	}
	s.claims++
	if s.onClaim != nil {
		s.onClaim()
	}
	c := *d
	c.Open = slices.Clone(d.Open)
	if err := s.unread[id]; err != nil {
		s.claims--
		return &relay.Claim{Message: s.msgs[id], Delivery: &c, Content: &content{s: s, Reader: bytes.NewReader(nil)}}, fmt.Errorf("claim: %w", err)
	}
	body := s.body[id]
	if body == nil {
		body = []byte("Subject: x\r\n\r\ny\r\n")
	}
	return &relay.Claim{Message: s.msgs[id], Delivery: &c, Content: &content{s: s, Reader: bytes.NewReader(body)}}, nil
}

type content struct {
	*bytes.Reader
	s    *store
	once sync.Once
}

func (c *content) Close() error {
	c.once.Do(func() { c.s.mu.Lock(); c.s.claims--; c.s.mu.Unlock() })
	return nil
}

func (s *store) Item(id relay.QueueID) (*relay.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item := &relay.Item{Attempts: map[uint16][]relay.Attempt{}}
	for k, history := range s.history {
		if k.id == id {
			item.Attempts[k.job] = slices.Clone(history)
		}
	}
	if m := s.msgs[id]; m != nil {
		item.Message = *m
		return item, nil
	}
	return nil, fmt.Errorf("item: %w", relay.ErrNotFound)
}

func (s *store) DigestRows() iter.Seq2[relay.DigestRow, error] {
	return func(yield func(relay.DigestRow, error) bool) {
		s.mu.Lock()
		rows := maps.Clone(s.rows)
		s.mu.Unlock()
		for _, id := range slices.SortedFunc(maps.Keys(rows), func(a, b relay.QueueID) int { return cmp.Compare(a.Key, b.Key) }) {
			if !yield(relay.DigestRow{ID: id, Data: rows[id]}, nil) {
				return
			}
		}
	}
}

func (s *store) Settle(st relay.Settlement, done func(error)) {
	go func() { done(s.commit(st)) }()
}

func (s *store) commit(st relay.Settlement) error {
	s.commits.Lock() // one at a time, and all of it
	defer s.commits.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("settle: %w", relay.ErrClosed)
	}
	if s.refuse != nil {
		if err := s.refuse(st); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	d := s.jobs[jobKey{st.ID, st.Job}]
	if st.ID.IsZero() {
		d = &relay.Delivery{Open: []relay.Open{{}}} // which is not there
	}
	if d == nil {
		s.mu.Unlock()
		s.t.Errorf("settled twice: %s/%d", st.ID, st.Job)
		return relay.ErrNotFound
	}
	s.settled = append(s.settled, st)
	var entries []relay.Entry
	take := func(r int) relay.Open {
		i := slices.IndexFunc(d.Open, func(o relay.Open) bool { return o.Recipient == r })
		if i < 0 {
			s.t.Errorf("recipient %d of %s/%d is not open", r, st.ID, st.Job)
			return relay.Open{}
		}
		o := d.Open[i]
		d.Open = slices.Delete(d.Open, i, i+1)
		return o
	}
	for _, o := range st.Outcomes {
		if o.Action.Final() {
			take(o.Recipient)
			continue
		}
		i := slices.IndexFunc(d.Open, func(p relay.Open) bool { return p.Recipient == o.Recipient })
		d.Open[i].Last = o.Reply
	}
	d.Set(st.Next)
	if st.Attempt != nil {
		s.history[jobKey{st.ID, st.Job}] = append(s.history[jobKey{st.ID, st.Job}], *st.Attempt)
	}
	for _, p := range st.Split {
		n := &relay.Delivery{Entry: d.Entry}
		n.Set(st.Next)
		if p.Next != nil {
			n.Set(*p.Next)
		}
		n.Destination, n.Job = p.Destination, s.next[st.ID]
		s.next[st.ID]++
		for _, r := range p.Recipients {
			n.Open = append(n.Open, take(r))
		}
		s.jobs[jobKey{st.ID, n.Job}] = n
		entries = append(entries, n.Entry)
	}
	if len(d.Open) == 0 {
		delete(s.jobs, jobKey{st.ID, st.Job})
	}
	for _, r := range st.Rows {
		s.rows[r.ID] = r.Data
	}
	for _, id := range st.Listed {
		if s.rows[id] == nil {
			s.t.Errorf("%s is listed, and is no row", id)
		}
		delete(s.rows, id)
	}
	s.mu.Unlock()
	for i := range st.Notices {
		s.mu.Lock()
		s.body[st.Notices[i].Message.ID] = st.Notices[i].Content
		s.mu.Unlock()
		entries = append(entries, s.enqueue(&st.Notices[i].Message)...)
	}
	if s.committed != nil {
		s.committed()
	}
	if len(entries) > 0 {
		s.watch(entries)
	}
	return nil
}

// waiting is how many rows are in no list yet.
func (s *store) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rows)
}

func (s *store) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.jobs)
}

// next hop: a scripted Transport.
type nextHop struct {
	mu      sync.Mutex
	script  func(context.Context, relay.Task) relay.Result // nil: takes all
	route   func(*relay.Message, relay.Path) string        // nil: the domain
	routes  []string                                       // that an operator may name
	tries   []try
	running map[string]int
	most    map[string]int // the most that ran at once, by destination; "" for all together
}

type try struct {
	at   time.Time
	dest string
	task relay.Task
}

func (n *nextHop) Destination(m *relay.Message, p relay.Path) string {
	if n.route != nil {
		return n.route(m, p)
	}
	return p.Domain()
}

func (n *nextHop) Along(route string, m *relay.Message, p relay.Path) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case route == relay.RouteMX:
		return p.Domain()
	case slices.Contains(n.routes, route):
		return "route:" + route
	}
	return ""
}

func (n *nextHop) Deliver(ctx context.Context, t relay.Task) relay.Result {
	n.mu.Lock()
	n.tries = append(n.tries, try{time.Now(), t.Destination, t})
	if n.running == nil {
		n.running, n.most = map[string]int{}, map[string]int{}
	}
	for _, k := range []string{"", t.Destination} {
		n.running[k]++
		n.most[k] = max(n.most[k], n.running[k])
	}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.running[""]--
		n.running[t.Destination]--
	}()
	n.mu.Lock()
	script := n.script
	n.mu.Unlock()
	if script == nil {
		return all(t, relayed)
	}
	return script(ctx, t)
}

// answer changes the script while attempts run.
func (n *nextHop) answer(script func(context.Context, relay.Task) relay.Result) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.script = script
}

// peaks are the most attempts that ran at once.
func (n *nextHop) peaks() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.most)
}

// attempts are the times of the attempts for one destination.
func (n *nextHop) attempts(dest string) (at []time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.tries {
		if dest == "" || t.dest == dest {
			at = append(at, t.at)
		}
	}
	return at
}

var (
	relayed   = relay.Reply{Code: 250, Status: relay.Status{Class: 2}, Text: "ok", Stage: relay.StageBody, MTA: "mx.example.org"}
	greylist  = relay.Reply{Code: 451, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Text: "greylisted, come back later", Stage: relay.StageRcpt, MTA: "mx.example.org"}
	noUser    = relay.Reply{Code: 550, Status: relay.Status{Class: 5, Subject: 1, Detail: 1}, Text: "no such user", Stage: relay.StageRcpt, MTA: "mx.example.org"}
	noConnect = relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "connection refused")
	noAnswer  = relay.Failure(relay.StageBody, relay.Status{Class: 4, Subject: 4, Detail: 2}, "no answer to the final dot")
)

func all(t relay.Task, r relay.Reply) relay.Result {
	res := relay.Result{Session: relay.Session{Route: "mx", Host: r.MTA}, Began: time.Now(), Unknown: r == noAnswer}
	for range t.Recipients {
		res.Replies = append(res.Replies, r)
	}
	return res
}

// ledger is an Observer.
type ledger struct {
	mu     sync.Mutex
	events []relay.Event
}

func (l *ledger) Observe(e relay.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *ledger) kinds(id relay.QueueID) (kinds []relay.EventKind) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if id.IsZero() || e.ID == id {
			kinds = append(kinds, e.Kind)
		}
	}
	return kinds
}

func (l *ledger) count(kind relay.EventKind) (n int) {
	for _, k := range l.kinds(relay.QueueID{}) {
		if k == kind {
			n++
		}
	}
	return n
}

func (l *ledger) first(kind relay.EventKind) relay.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Kind == kind {
			return e
		}
	}
	return relay.Event{}
}

// rig is a dispatcher with its surroundings, in a synctest bubble.
type rig struct {
	t      *testing.T
	store  *store
	hop    *nextHop
	ledger *ledger
	d      *delivery.Dispatcher
	stop   func() error // ends Run and says what it returned; once
}

// begin starts a rig that is stopped, and checked, at the end of the bubble.
func begin(t *testing.T, cfg delivery.Config, prepare ...func(*rig)) *rig {
	t.Helper()
	return beginWith(t, cfg, nil, prepare...)
}

// beginWith is begin with a transport of one's own, if it is not nil.
func beginWith(t *testing.T, cfg delivery.Config, transport delivery.Transport, prepare ...func(*rig)) *rig {
	t.Helper()
	r := &rig{t: t, store: newStore(t), hop: &nextHop{}, ledger: &ledger{}}
	if transport == nil {
		transport = r.hop
	}
	for _, p := range prepare {
		p(r)
	}
	if cfg.Notices.Bounce.Hostname == "" {
		cfg.Notices.Bounce.Hostname = "relay.example.org"
	}
	if cfg.Rand == nil {
		cfg.Rand = func(n int64) int64 { return n / 2 } // the middle: exact waits
	}
	r.d = delivery.New(cfg, r.store, transport, r.ledger)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- r.d.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-result })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if st := r.d.Stats(); st.Adrift != 0 || st.Stranded != 0 || st.InFlight != 0 || st.Connections != 0 {
			t.Errorf("adrift %d, stranded %d, in flight %d, connections %d, all to be 0", st.Adrift, st.Stranded, st.InFlight, st.Connections)
		}
		if n := r.store.claims; n != 0 {
			t.Errorf("%d claims were never closed", n)
		}
	})
	synctest.Wait()
	return r
}

// perProvider lets so many attempts go to one provider at once.
func perProvider(most int) delivery.Limits {
	return delivery.Limits{Allowance: func(string) delivery.Allowance { return delivery.Allowance{Connections: most} }}
}

func mail(from string, to ...string) *relay.Message {
	m := &relay.Message{Envelope: relay.Envelope{From: path(from)}, Identity: "app", Size: 16}
	for _, r := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: path(r)})
	}
	return m
}

func path(s string) relay.Path {
	p, err := relay.ParsePath(s)
	if err != nil {
		panic(err)
	}
	return p
}

var errDisk = errors.New("write queue.db: input/output error")

// pass lets time go by, and everything happen that is due in it.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// noticeAbout is the last notice about a message.
func (s *store) noticeAbout(id relay.QueueID) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range slices.Backward(s.settled) {
		if st.ID == id && len(st.Notices) > 0 {
			return st.Notices[0].Content
		}
	}
	return nil
}

// fieldsOf are the values of a field, wherever it begins a line.
func fieldsOf(message []byte, name string) (values []string) {
	for line := range bytes.Lines(message) {
		if v, ok := bytes.CutPrefix(line, []byte(name+": ")); ok {
			values = append(values, string(bytes.TrimSpace(v)))
		}
	}
	return values
}
