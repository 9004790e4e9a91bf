package identity

import (
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
	maxAccounts = 1 << 14 // users remembered; a file of users has fewer
	maxLedger   = 1 << 28 // octets of the file
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
