package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
	"dawk/relay/limits"
)

// Ledger remembers what each user has sent lately: how much of its quotas is left, signs of a
// stolen password, and who is on hold because of them. It is safe for concurrent use, and bounded:
// see maxAccounts.
//
// Holds are on disk before they are reported. The rest is written by Save, periodically and at the
// end; after a crash the use since the last Save, at most a minute, is not counted.
type Ledger struct {
	path   string // "": in memory only
	log    *slog.Logger
	counts limits.Counts // who counts the quotas; nil: we do, alone

	saving sync.Mutex // held by whoever writes the file; taken before mu
	mu     sync.Mutex
	dirty  bool
	users  map[string]*account // lower case
	known  int                 // recipients remembered, of all users together
}

// Bounds. With them the file has at most some 40 MiB, most of it recipients of
// 17 octets each.
const (
	maxAccounts  = 1 << 14   // users remembered; a file of users has fewer, a trusted network may have more addresses
	maxKnown     = 1_000_000 // recipients remembered, of all users together
	maxLedger    = 1 << 28   // largest file that is read, in octets
	lookedAtOnce = 16        // sample of accounts of which the least used is forgotten
)

// account is what is remembered of one user. Only what its limits need is kept.
type account struct {
	Messages   [2]bucket     `json:"messages,omitzero"` // by hour, by day
	Recipients [2]bucket     `json:"recipients,omitzero"`
	Held       *Hold         `json:"held,omitempty"`
	Known      []uint64      `json:"known,omitempty"` // recipients written to before, the oldest first
	New        limits.Window `json:"new,omitzero"`    // recipients not written to before

	known  map[uint64]bool           // Known
	copies map[uint64]*limits.Window // recipients by text
}

// Hold says since when and why a user is on hold.
type Hold struct {
	Name   string     `json:"name"`
	Since  time.Time  `json:"since"`
	Reason HoldReason `json:"reason"`
	Rule   string     `json:"rule"` // for people
}

// NewLedger makes a Ledger in memory.
func NewLedger() *Ledger {
	return &Ledger{log: slog.New(slog.DiscardHandler), users: map[string]*account{}}
}

// OpenLedger reads the file at path, if there is one. A damaged file is moved aside and logged:
// quotas begin from zero, and mail continues.
func OpenLedger(path string, log *slog.Logger) (*Ledger, error) {
	l := NewLedger()
	l.path = path
	if log != nil {
		l.log = log
	}
	durable.Sweep(path)
	err := l.read()
	switch {
	case errors.Is(err, errDamaged):
		aside := path + ".damaged"
		l.log.Error("the ledger of users is damaged: quotas and holds of users begin from zero", "file", path, "moved_to", aside, "err", err)
		l.users = map[string]*account{}
		return l, durable.Rename(path, aside)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the ledger of users: %w", err)
	}
	return l, nil
}

// ReadLedger reads the ledger for inspection: it is never written, and a damaged file stays where
// it is.
func ReadLedger(path string) (*Ledger, error) {
	l := NewLedger()
	l.path = path
	err := l.read()
	l.path = ""
	return l, err
}

var errDamaged = errors.New("it is damaged")

// read takes what is in the file.
func (l *Ledger) read() error {
	info, err := os.Stat(l.path)
	if err != nil {
		return err
	}
	var data []byte
	if info.Size() <= maxLedger {
		if data, err = os.ReadFile(l.path); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(data, &l.users); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	for name, a := range l.users {
		if a == nil { // "name": null is JSON too
			delete(l.users, name)
			continue
		}
		l.known += len(a.Known)
		a.known = make(map[uint64]bool, len(a.Known))
		for _, k := range a.Known {
			a.known[k] = true
		}
	}
	return nil
}

// Check says whether u may send so much now, and counts nothing. Its error is a *QuotaError.
func (l *Ledger) Check(u *User, messages, recipients int) error {
	if !u.limited() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.account(u.Name).check(u, messages, recipients, time.Now())
}

// Take is Check, and counts the message in all quotas or in none.
func (l *Ledger) Take(u *User, messages, recipients int) error {
	if !u.limited() {
		return nil
	}
	if l.counts != nil {
		return l.spend(u, messages, recipients)
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
	if l.counts != nil {
		if err := l.spend(u, -messages, -recipients); err != nil { // it stays counted
			l.log.Warn("what a message that was not taken used of its quota is not given back", "user", u.Name, "error", err)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(u.Name).take(u, -messages, -recipients, time.Now())
}

// Watch counts a message that u is about to send, and returns the hold that u is on; nil if there
// is none. fresh: the hold began with this message, and is on disk. An error means that it could
// not be written; the hold is in force until we stop.
func (l *Ledger) Watch(u *User, text Text, to []relay.Path) (h *Hold, fresh bool, err error) {
	if h, fresh = l.watch(u, text, to); fresh {
		err = l.Save()
	}
	return h, fresh, err
}

func (l *Ledger) watch(u *User, text Text, to []relay.Path) (h *Hold, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.users[strings.ToLower(u.Name)]
	if a != nil && a.Held != nil {
		held := *a.Held
		return &held, false
	}
	if u.HoldCopies == 0 && u.HoldNewRecipients == 0 {
		return nil, false
	}
	a = l.account(u.Name)
	before := len(a.Known)
	reason, rule := a.watch(u, text, to, time.Now())
	l.known += len(a.Known) - before
	for l.known > maxKnown {
		l.forgetKnown()
	}
	l.dirty = true
	if reason == "" {
		return nil, false
	}
	a.Held = &Hold{Name: u.Name, Since: time.Now(), Reason: reason, Rule: rule}
	a.copies, a.New = nil, limits.Window{}
	held := *a.Held
	return &held, true
}

// Save writes the file if anything has changed. Nobody who sends waits for
// the disk meanwhile.
func (l *Ledger) Save() error {
	l.saving.Lock()
	defer l.saving.Unlock()
	data, err := l.unsaved()
	if data == nil {
		return err
	}
	err = durable.Write(l.path, data, 0o600)
	if err != nil {
		l.mu.Lock()
		l.dirty = true
		l.mu.Unlock()
		return fmt.Errorf("write the ledger of users: %w", err)
	}
	return nil
}

// unsaved is the content to write to the file; nil if nothing has changed.
func (l *Ledger) unsaved() ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path == "" || !l.dirty {
		return nil, nil
	}
	data, err := json.Marshal(l.users)
	if err != nil {
		return nil, fmt.Errorf("write the ledger of users: %w", err)
	}
	l.dirty = false
	return data, nil
}

// account is the account of u, made if it is missing.
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

// forget drops an account without a hold: of a random sample, the one that has used the least
// lately.
func (l *Ledger) forget() {
	victim, least, looked, now := "", math.Inf(1), 0, time.Now()
	for name, a := range l.users {
		if a.Held != nil {
			continue
		}
		if used := a.recent(now); used < least {
			victim, least = name, used
		}
		if looked++; looked == lookedAtOnce {
			break
		}
	}
	if victim != "" {
		l.known -= len(l.users[victim].Known)
		delete(l.users, victim)
	}
}

// recent is a rough measure of what has been sent lately.
func (a *account) recent(now time.Time) (used float64) {
	for _, b := range []bucket{a.Messages[0], a.Messages[1], a.Recipients[0], a.Recipients[1]} {
		used += max(0, b.Used*(1-now.Sub(b.At).Hours()/24))
	}
	return used + float64(len(a.Known)+a.New.N)
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
	a := l.users[strings.ToLower(name)]
	if a == nil || a.Held == nil {
		l.mu.Unlock()
		return Hold{}, fmt.Errorf("%w on hold: %s", ErrUnknown, relay.Sanitize(name))
	}
	held := *a.Held
	a.Held, l.dirty = nil, true
	l.mu.Unlock()
	if err := l.Save(); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if a.Held == nil {
			a.Held = &held
		}
		return Hold{}, err
	}
	return held, nil
}
