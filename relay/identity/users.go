// Package identity knows who may log in and what each user may do: it reads
// users.toml, checks passwords at a bounded cost, and edits the file for
// `dawk user`.
//
// It does not know SMTP: the submission server asks [Users.Authenticate] and
// turns the error into a reply, the acceptor asks the [User] what it may.
package identity

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
)

// Errors of Authenticate; test with errors.Is.
var (
	// ErrCredentials: no such user, a wrong password, or an address that is not allowed. SMTP says 535
	// 5.7.8, the same for all three.
	ErrCredentials = errors.New("wrong name or password")
	// ErrTemporary: the password could not be checked now. SMTP says 454 4.7.0.
	ErrTemporary = errors.New("logins cannot be checked now")
)

const (
	checkEvery  = time.Second     // how often the file is looked at
	racyWindow  = 2 * time.Second // the age up to which a file may change without a new time
	maxFileSize = 16 << 20        // octets of users.toml
	maxName     = 256             // octets of a user's name
	maxPassword = 1024            // octets of a password; a longer one is not hashed
)

// Users is users.toml in memory. It reads the file again when it has changed;
// while the new one is broken, the old users stay.
type Users struct {
	path      string
	log       *slog.Logger
	passwords *Passwords
	table     atomic.Pointer[table]

	reload  sync.Mutex // held while the file is read
	checked time.Time  // when it was last looked at
	seen    fileState  // of the file as it was last read, broken or not
	unread  error      // why it could not be read at the last look; nil: it could
	faulty  error      // the mistakes in it, as it was last read; nil: there are none
}

// table is one reading of the file.
type table struct {
	byName  map[string]*User // lower case
	byToken map[string]*User // by hash
	byCert  map[string]*User // by name in a certificate, lower case
	list    []*User          // in the order of the file
}

// fileState tells whether a file has changed.
type fileState struct {
	info fs.FileInfo
	data []byte
	at   time.Time // when it was read
}

// Open reads the file of users. The error of a file with mistakes is a *tomlfile.Error, which names
// each with line and column. later changes are logged to log; nil: they are not.
func Open(path string, log *slog.Logger) (*Users, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	state, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the file of users %s does not exist; make it with `dawk user add NAME`: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("the file of users cannot be read: %w", durable.Unreadable(path, err))
	}
	t, err := parse(path, state.data)
	if err != nil {
		return nil, err
	}
	u := &Users{path: path, log: log, passwords: NewPasswords(), seen: state, checked: time.Now()}
	u.table.Store(t)
	return u, nil
}

func readFile(path string) (fileState, error) {
	f, err := os.Open(path)
	if err != nil {
		return fileState{}, err
	}
	defer f.Close()
	s := fileState{at: time.Now()}
	if s.info, err = f.Stat(); err != nil {
		return fileState{}, err
	}
	if s.info.Size() > maxFileSize {
		return fileState{}, fmt.Errorf("%s has %d octets; more than %d cannot be meant", path, s.info.Size(), maxFileSize)
	}
	var b bytes.Buffer
	if _, err = b.ReadFrom(f); err != nil {
		return fileState{}, err
	}
	s.data = b.Bytes()
	return s, nil
}

// List is every user, in the order of the file.
func (u *Users) List() []*User {
	u.refresh()
	return u.table.Load().list
}

// Lookup is the user of that name, in upper or lower case; nil if there is none.
func (u *Users) Lookup(name string) *User {
	u.refresh()
	return u.table.Load().byName[strings.ToLower(name)]
}

// Priority is the priority of a user, as the file was last read; it never waits for a disk. A name
// that is no user has relay.PriorityNormal.
func (u *Users) Priority(name string) relay.Priority {
	if user := u.table.Load().byName[strings.ToLower(name)]; user != nil {
		return user.Priority
	}
	return relay.PriorityNormal
}

// SignedReturn says whether the mail of a user leaves with signed return addresses. A
// change also counts for mail that waits.
func (u *Users) SignedReturn(name string) bool {
	user := u.table.Load().byName[strings.ToLower(name)]
	return user != nil && user.SignedReturn
}

// Authenticate checks a login. It takes as long for a name that does not
// exist as for one that does; it waits for its turn, at most until ctx ends.
// Errors are ErrCredentials or ErrTemporary, with words for the log only.
func (u *Users) Authenticate(ctx context.Context, name, password string, client netip.Addr) (*User, error) {
	user := u.Lookup(name)
	if len(password) > maxPassword {
		password = "" // no stored hash matches this: the check costs what others cost, and fails
	}
	ok, err := u.verify(ctx, user, name, password)
	switch {
	case err != nil:
		return nil, err
	case user == nil:
		return nil, fmt.Errorf("%w: no such user", ErrCredentials)
	case !ok || password == "":
		return nil, fmt.Errorf("%w: the password is wrong", ErrCredentials)
	case !user.mayComeFrom(client):
		return nil, fmt.Errorf("%w: %s is not in the user's networks", ErrCredentials, client)
	}
	return user, nil
}

// Current returns a user that logged in before, as the file has it now. The error is ErrCredentials
// if it could not log in any more: it was removed, has another password, or its address is no
// longer allowed. While the file cannot be read, the users read before stay.
func (u *Users) Current(before *User, client netip.Addr) (*User, error) {
	now := u.Lookup(before.Name)
	switch {
	case now == nil:
		return nil, fmt.Errorf("%w: no such user any more", ErrCredentials)
	case now.password.text != before.password.text:
		return nil, fmt.Errorf("%w: the password has changed", ErrCredentials)
	case !now.mayComeFrom(client):
		return nil, fmt.Errorf("%w: %s is not in the user's networks", ErrCredentials, client)
	}
	return now, nil
}

// Certificate returns the user who may log in with a verified client certificate, by the names in
// it. The error is ErrCredentials.
func (u *Users) Certificate(names []string, client netip.Addr) (*User, error) {
	u.refresh()
	byCert := u.table.Load().byCert
	for _, name := range names {
		user := byCert[strings.ToLower(name)]
		switch {
		case user == nil || name == "":
		case !user.mayComeFrom(client):
			return nil, fmt.Errorf("%w: %s is not in the user's networks", ErrCredentials, client)
		default:
			return user, nil
		}
	}
	return nil, fmt.Errorf("%w: no user has a certificate of these names", ErrCredentials)
}

// verify checks a password. A nil user costs as much as any other, and always fails.
func (u *Users) verify(ctx context.Context, user *User, name, password string) (bool, error) {
	if user == nil {
		return u.passwords.match(ctx, name, u.decoy(name), false, password)
	}
	return u.passwords.match(ctx, name, user.password, true, password)
}

// decoy is the hash against which an unknown name is checked: the hash of some user, the same each
// time for a name. So an unknown name costs what a known one does, whatever kinds of hashes the
// file holds. The result is discarded.
func (u *Users) decoy(name string) *passwordHash {
	list := u.table.Load().list
	if len(list) == 0 {
		return emptyDecoy()
	}
	k := u.passwords.cache.key(strings.ToLower(name))
	n := int(k[0])<<16 | int(k[1])<<8 | int(k[2])
	return list[n%len(list)].password
}

// refresh reads the file again if it has changed, at most once a second. A caller that comes during
// a read continues with the old users.
func (u *Users) refresh() {
	if !u.reload.TryLock() {
		return
	}
	defer u.reload.Unlock()
	now := time.Now()
	if since := now.Sub(u.checked); since >= 0 && since < checkEvery {
		return
	}
	u.checked = now
	info, err := os.Stat(u.path)
	if err == nil && !u.seen.changed(info) {
		u.unread = nil
		return
	}
	var state fileState
	if err == nil {
		state, err = readFile(u.path)
	}
	if err != nil {
		if u.unread == nil {
			u.log.Error("the file of users cannot be read; the users read before stay", "file", u.path, "error", err)
		}
		u.unread = err
		return
	}
	same := bytes.Equal(state.data, u.seen.data)
	u.seen, u.unread = state, nil
	if same {
		return
	}
	t, err := parse(u.path, state.data)
	if u.faulty = err; err != nil {
		u.log.Error("the changed file of users has mistakes; the users read before stay", "file", u.path, "error", err)
		return
	}
	u.table.Store(t)
	u.log.Info("users reloaded", "file", u.path, "users", len(t.list))
}

// Trouble says why the users read before stay: the file of users cannot be read, or has mistakes.
// nil: the file is in force.
func (u *Users) Trouble() error {
	u.refresh()
	u.reload.Lock()
	defer u.reload.Unlock()
	switch {
	case u.unread != nil:
		return fmt.Errorf("the file of users cannot be read, and the users read before stay: %w", u.unread)
	case u.faulty != nil:
		return fmt.Errorf("the changed file of users has mistakes, and the users read before stay: %w", u.faulty)
	}
	return nil
}

// changed says whether the file may differ from what was read. A file that was written just before
// it was read may change again within the resolution of its time, so it counts as changed until it
// is older.
func (s fileState) changed(now fs.FileInfo) bool {
	return !os.SameFile(s.info, now) || !s.info.ModTime().Equal(now.ModTime()) || s.info.Size() != now.Size() ||
		s.at.Sub(s.info.ModTime()) < racyWindow
}

// equalDigest compares in constant time.
func equalDigest(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
