package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dawk/relay"
)

// Ledger remembers what each user has sent lately: how much of its quotas is
// left, what looks like a stolen password, and who is on hold for it. It is
// safe for concurrent use, and bounded: see maxAccounts.
//
// Holds are on disk before anybody is told of them. The rest is written by
// Save, now and then and at the end; after a crash a user gets back what it
// used since, which is at most a minute's worth.
type Ledger struct {
	path string // "": in memory only
	log  *slog.Logger

	mu    sync.Mutex
	dirty bool
	users map[string]*account // lower case
}

const (
	maxAccounts   = 1 << 14 // users remembered; a file of users has fewer
	maxLedger     = 1 << 28 // octets of the file
	maxCopies     = 256     // texts of one user watched at once
	maxRecipients = 10_000  // recipients of one user remembered: 8 octets each
	window        = time.Hour
)

// account is what is remembered of one user. Only what its limits need is kept.
type account struct {
	Messages   [2]bucket `json:"messages,omitzero"` // by hour, by day
	Recipients [2]bucket `json:"recipients,omitzero"`
	Held       *Hold     `json:"held,omitempty"`
	Known      []uint64  `json:"known,omitempty"` // recipients written to before, the oldest first
	New        tally     `json:"new,omitzero"`    // recipients not written to before

	known  map[uint64]bool   // Known
	copies map[uint64]*tally // recipients by text
}

// Hold says since when and why a user is on hold.
type Hold struct {
	Name   string     `json:"name"`
	Since  time.Time  `json:"since"`
	Reason HoldReason `json:"reason"`
	Rule   string     `json:"rule"` // for people
}

// HoldReason is a closed set: a metric label.
type HoldReason string

// The reasons for a hold.
const (
	HoldCopies        HoldReason = "copies"         // the same text to many
	HoldNewRecipients HoldReason = "new_recipients" // many that it never wrote to
)

// HoldReasons are all of them.
func HoldReasons() []string { return []string{string(HoldCopies), string(HoldNewRecipients)} }

// bucket holds what a user may still send. It fills evenly, and never above
// its size; its zero value is full.
type bucket struct {
	Used float64   `json:"used"` // at At
	At   time.Time `json:"at,omitzero"`
}

// quota is a rate: amount in period, of which at most size at once.
type quota struct {
	amount, size int
	period       time.Duration
}

// used is what is used of the bucket now.
func (b bucket) used(q quota, now time.Time) float64 {
	passed := max(0, now.Sub(b.At)) // the clock may have been set back
	return max(0, b.Used-float64(q.amount)*passed.Seconds()/q.period.Seconds())
}

func (b *bucket) take(q quota, n int, now time.Time) {
	b.Used, b.At = max(0, b.used(q, now)+float64(n)), now
}

// wait is how long until n fit; false if they fit now.
func (b bucket) wait(q quota, n int, now time.Time) (time.Duration, bool) {
	over := b.used(q, now) + float64(n) - float64(q.size)
	if q.amount == 0 || over <= 1e-9 {
		return 0, false
	}
	return time.Duration(over / float64(q.amount) * float64(q.period)), true
}

// tally counts within a window that begins with the first of it.
type tally struct {
	N     int       `json:"n"`
	Began time.Time `json:"began,omitzero"`
}

func (t *tally) add(n int, now time.Time) int {
	if since := now.Sub(t.Began); since >= window || since < 0 {
		*t = tally{Began: now}
	}
	t.N += n
	return t.N
}

// NewLedger makes a Ledger in memory.
func NewLedger() *Ledger {
	return &Ledger{log: slog.New(slog.DiscardHandler), users: map[string]*account{}}
}

// OpenLedger reads the file at path, if there is one. A file that cannot be
// read as what it should be is moved aside and told of: quotas begin anew, and
// mail goes on.
func OpenLedger(path string, log *slog.Logger) (*Ledger, error) {
	l := NewLedger()
	l.path = path
	if log != nil {
		l.log = log
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the ledger of users: %w", err)
	}
	var data []byte
	if info.Size() <= maxLedger {
		if data, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("the ledger of users: %w", err)
		}
	}
	if err := json.Unmarshal(data, &l.users); err != nil {
		aside := path + ".damaged"
		l.log.Error("the ledger of users is damaged: quotas and holds of users begin anew", "file", path, "moved_to", aside, "err", err)
		l.users = map[string]*account{}
		return l, os.Rename(path, aside)
	}
	for _, a := range l.users {
		a.known = make(map[uint64]bool, len(a.Known))
		for _, k := range a.Known {
			a.known[k] = true
		}
	}
	return l, nil
}

// Save writes the file if anything has changed.
func (l *Ledger) Save() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.save()
}

func (l *Ledger) save() error {
	if l.path == "" || !l.dirty {
		return nil
	}
	data, err := json.Marshal(l.users)
	if err != nil {
		return fmt.Errorf("write the ledger of users: %w", err)
	}
	dir, err := os.Open(filepath.Dir(l.path))
	if err != nil {
		return fmt.Errorf("write the ledger of users: %w", err)
	}
	defer dir.Close()
	if err := replaceFile(dir, l.path, data, true); err != nil {
		return fmt.Errorf("write the ledger of users: %w", err)
	}
	l.dirty = false
	return nil
}

// account is the one of u, made if it is missing.
func (l *Ledger) account(name string) *account {
	key := strings.ToLower(name)
	a := l.users[key]
	if a == nil {
		if len(l.users) >= maxAccounts {
			l.forget()
		}
		a = &account{}
		l.users[key] = a
	}
	return a
}

// forget drops some account that holds nobody.
func (l *Ledger) forget() {
	for name, a := range l.users {
		if a.Held == nil {
			delete(l.users, name)
			return
		}
	}
}

// QuotaError: the user has sent what it may for now; test with errors.As for
// *QuotaError.
type QuotaError struct {
	What  string        // "messages" or "recipients"
	Limit int           // of them
	Per   string        // "hour" or "day"
	Wait  time.Duration // until it fits
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("%d %s an %s", e.Limit, e.What, e.Per)
}

// quotas are those of u, in the order of account's buckets.
func (u *User) quotas() (messages, recipients [2]quota) {
	of := func(hour, day, burst int) [2]quota {
		if burst == 0 {
			burst = hour
		}
		return [2]quota{{hour, burst, time.Hour}, {day, day, 24 * time.Hour}}
	}
	return of(u.PerHour, u.PerDay, u.Burst), of(u.RecipientsPerHour, u.RecipientsPerDay, 0)
}

// limited says whether anything of u is counted.
func (u *User) limited() bool {
	return u.PerHour+u.PerDay+u.RecipientsPerHour+u.RecipientsPerDay > 0
}

// Check says whether u may send so much now, and takes nothing. Its error is a
// *QuotaError.
func (l *Ledger) Check(u *User, messages, recipients int) error {
	if !u.limited() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.account(u.Name).check(u, messages, recipients, time.Now())
}

// Take is Check, and takes it: of all quotas or of none.
func (l *Ledger) Take(u *User, messages, recipients int) error {
	if !u.limited() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a, now := l.account(u.Name), time.Now()
	if err := a.check(u, messages, recipients, now); err != nil {
		return err
	}
	a.take(u, messages, recipients, now)
	l.dirty = true
	return nil
}

// GiveBack undoes a Take whose message was not accepted.
func (l *Ledger) GiveBack(u *User, messages, recipients int) {
	if !u.limited() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(u.Name).take(u, -messages, -recipients, time.Now())
}

func (a *account) check(u *User, messages, recipients int, now time.Time) error {
	m, r := u.quotas()
	for i, per := range [2]string{"hour", "day"} {
		if wait, over := a.Messages[i].wait(m[i], messages, now); over {
			return &QuotaError{"messages", m[i].amount, per, wait}
		}
		if wait, over := a.Recipients[i].wait(r[i], recipients, now); over {
			return &QuotaError{"recipients", r[i].amount, per, wait}
		}
	}
	return nil
}

func (a *account) take(u *User, messages, recipients int, now time.Time) {
	m, r := u.quotas()
	for i := range 2 {
		if m[i].amount > 0 {
			a.Messages[i].take(m[i], messages, now)
		}
		if r[i].amount > 0 {
			a.Recipients[i].take(r[i], recipients, now)
		}
	}
}

// Text is what tells one text from another: a hash of subject and body.
type Text [sha256.Size]byte

// Watch counts a message that u is about to send, and gives the hold that u is
// on; nil without one. A hold that begins with this message is fresh, and on
// disk. An error means that it could not be written; it holds all the same
// until we stop.
func (l *Ledger) Watch(u *User, text Text, to []relay.Path) (h *Hold, fresh bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.users[strings.ToLower(u.Name)]
	if a != nil && a.Held != nil {
		held := *a.Held
		return &held, false, nil
	}
	if u.HoldCopies == 0 && u.HoldNewRecipients == 0 {
		return nil, false, nil
	}
	a = l.account(u.Name)
	reason, rule := a.watch(u, text, to, time.Now())
	l.dirty = true
	if reason == "" {
		return nil, false, nil
	}
	a.Held = &Hold{Name: u.Name, Since: time.Now(), Reason: reason, Rule: rule}
	a.copies, a.New = nil, tally{}
	held := *a.Held
	return &held, true, l.save()
}

func (a *account) watch(u *User, text Text, to []relay.Path, now time.Time) (reason HoldReason, rule string) {
	if u.HoldCopies > 0 {
		if n := a.count(text, len(to), now); n > u.HoldCopies {
			reason, rule = HoldCopies, fmt.Sprintf("the same text to %d recipients within an hour; hold_copies is %d", n, u.HoldCopies)
		}
	}
	if u.HoldNewRecipients > 0 {
		fresh := 0
		for _, p := range to {
			if a.learn(p) {
				fresh++
			}
		}
		if n := a.New.add(fresh, now); n > u.HoldNewRecipients {
			reason, rule = HoldNewRecipients, fmt.Sprintf("%d recipients within an hour that it never wrote to before; hold_new_recipients is %d", n, u.HoldNewRecipients)
		}
	}
	return reason, rule
}

// count counts copies of a text. When too many texts are watched, those whose
// hour has passed go, and then the rarest.
func (a *account) count(text Text, n int, now time.Time) int {
	key := binary.BigEndian.Uint64(text[:])
	t := a.copies[key]
	if t == nil {
		if a.copies == nil {
			a.copies = map[uint64]*tally{}
		}
		if len(a.copies) >= maxCopies {
			a.drop(now)
		}
		t = &tally{}
		a.copies[key] = t
	}
	return t.add(n, now)
}

func (a *account) drop(now time.Time) {
	rarest, least := uint64(0), -1
	for k, t := range a.copies {
		if now.Sub(t.Began) >= window {
			delete(a.copies, k)
		} else if least < 0 || t.N < least {
			rarest, least = k, t.N
		}
	}
	if len(a.copies) >= maxCopies {
		delete(a.copies, rarest)
	}
}

// learn says whether p is new, and remembers it.
func (a *account) learn(p relay.Path) bool {
	sum := sha256.Sum256([]byte(strings.ToLower(p.String())))
	key := binary.BigEndian.Uint64(sum[:]) >> 11 // 53 bits: exact as a JSON number everywhere
	if a.known[key] {
		return false
	}
	if a.known == nil {
		a.known = map[uint64]bool{}
	}
	if len(a.Known) >= maxRecipients {
		delete(a.known, a.Known[0])
		a.Known = slices.Delete(a.Known, 0, 1)
	}
	a.Known, a.known[key] = append(a.Known, key), true
	return true
}

// Holds are the users on hold, by name.
func (l *Ledger) Holds() []Hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	var held []Hold
	for _, a := range l.users {
		if a.Held != nil {
			held = append(held, *a.Held)
		}
	}
	slices.SortFunc(held, func(a, b Hold) int { return strings.Compare(a.Name, b.Name) })
	return held
}

// Release ends the hold of a user, on disk; ErrUnknown if it is on none.
func (l *Ledger) Release(name string) (Hold, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.users[strings.ToLower(name)]
	if a == nil || a.Held == nil {
		return Hold{}, fmt.Errorf("%w on hold: %s", ErrUnknown, relay.Sanitize(name))
	}
	held := *a.Held
	a.Held, l.dirty = nil, true
	if err := l.save(); err != nil {
		a.Held = &held
		return Hold{}, err
	}
	return held, nil
}
