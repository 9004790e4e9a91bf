package httpapi

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
)

// Bounds of Keys.
const (
	keepKeys = 24 * time.Hour
	maxKeys  = 50_000 // about 15 MiB
)

// Keys remembers the idempotency keys of the last day, at most maxKeys: beyond that the oldest key
// of the user with the most keys is dropped. With a file they survive a restart and a crash of the
// process; keys of the last moments before a power failure may be lost. It is safe for concurrent
// use.
type Keys struct {
	mu    sync.Mutex
	users map[string]*userKeys
	all   int           // of those that are done
	file  *durable.File // nil: in memory only
	path  string
	lines int // in the file

	shared SharedKeys // nil: there are no others
}

// SharedKeys are those of several relays. Its methods may wait.
type SharedKeys interface {
	// ClaimKey claims a key, or gives what FinishKey kept for it; neither: another one has claimed it.
	ClaimKey(user, key string) (value []byte, claimed bool, err error)
	FinishKey(user, key string, value []byte) error
	AbandonKey(user, key string) error
}

// Together has keys remembered together with other relays, from before the first is used.
func (k *Keys) Together(with SharedKeys) { k.shared = with }

// userKeys are the keys of one user.
type userKeys struct {
	byKey map[string]*use // nil: being worked on
	order []string        // of those that are done, the oldest first
}

// use is what a key was used for.
type use struct {
	Digest [32]byte
	ID     relay.QueueID
	At     time.Time
}

// keyLine is a line of the file.
type keyLine struct {
	User   string        `json:"user"`
	Key    string        `json:"key"`
	Digest []byte        `json:"digest"`
	ID     relay.QueueID `json:"id"`
	At     time.Time     `json:"at"`
}

type keyState int

const (
	keyNew  keyState = iota // and now being worked on
	keyBusy                 // by somebody else
	keyDone
)

// NewKeys remembers in memory only.
func NewKeys() *Keys { return &Keys{users: map[string]*userKeys{}} }

// OpenKeys remembers in a file as well. Lines of it that cannot be read are left out: the last one
// may be incomplete after a crash.
func OpenKeys(path string, now time.Time) (*Keys, error) {
	k := NewKeys()
	k.path = path
	f, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("idempotency keys: %w", err)
	}
	if err == nil {
		r := bufio.NewScanner(io.LimitReader(f, 256<<20))
		for r.Scan() {
			var l keyLine
			if json.Unmarshal(r.Bytes(), &l) == nil && len(l.Digest) == 32 && now.Sub(l.At) < keepKeys {
				k.remember(l.User, l.Key, use{[32]byte(l.Digest), l.ID, l.At})
			}
		}
		f.Close()
	}
	return k, k.rewrite()
}

// rewrite writes a new file, without the expired keys.
func (k *Keys) rewrite() error {
	f, err := durable.Create(k.path)
	if err != nil {
		return fmt.Errorf("idempotency keys: %w", err)
	}
	k.file, k.lines = f, k.all
	w := bufio.NewWriter(f)
	for user, keys := range k.users {
		for _, key := range keys.order {
			_, _ = w.Write(line(user, key, *keys.byKey[key])) // the first error stays
		}
	}
	err = w.Flush()
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("idempotency keys: %w", err)
	}
	return nil
}

func line(user, key string, u use) []byte {
	b, _ := json.Marshal(keyLine{user, key, u.Digest[:], u.ID, u.At}) // never fails: plain values
	return append(b, '\n')
}

// Close closes the file.
func (k *Keys) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return nil
	}
	err := k.file.Close()
	k.file = nil
	return err
}

// begin returns what is known about a key; if nothing is, it marks its message as being worked on.
// An error means that others cannot be asked.
func (k *Keys) begin(user, key string, now time.Time) (use, keyState, error) {
	u, state := k.beginHere(user, key, now)
	if state != keyNew || k.shared == nil {
		return u, state, nil
	}
	value, claimed, err := k.shared.ClaimKey(user, key)
	if err == nil && claimed {
		return use{}, keyNew, nil
	}
	var l keyLine
	if err == nil && value != nil {
		if err = json.Unmarshal(value, &l); err == nil && len(l.Digest) != len(u.Digest) {
			err = errors.New("an idempotency key of another relay: its digest is damaged")
		}
	}
	k.abandonHere(user, key)
	if err != nil || value == nil {
		return use{}, keyBusy, err
	}
	return use{Digest: [32]byte(l.Digest), ID: l.ID, At: l.At}, keyDone, nil
}

func (k *Keys) beginHere(user, key string, now time.Time) (use, keyState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys := k.of(user)
	for len(keys.order) > 0 && now.Sub(keys.byKey[keys.order[0]].At) >= keepKeys {
		k.dropOldest(keys)
	}
	u, known := keys.byKey[key]
	switch {
	case !known:
		keys.byKey[key] = nil
		return use{}, keyNew
	case u == nil:
		return use{}, keyBusy
	}
	return *u, keyDone
}

// of gives the keys of a user.
func (k *Keys) of(user string) *userKeys {
	keys := k.users[user]
	if keys == nil {
		keys = &userKeys{byKey: map[string]*use{}}
		k.users[user] = keys
	}
	return keys
}

func (k *Keys) dropOldest(keys *userKeys) {
	delete(keys.byKey, keys.order[0])
	keys.order = keys.order[1:]
	k.all--
}

// finish stores the result of a key that is being worked on. An error means that it is stored in
// memory only.
func (k *Keys) finish(user, key string, u use) error {
	if k.shared != nil {
		k.abandonHere(user, key) // the others remember it
		return k.shared.FinishKey(user, key, line(user, key, u))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.remember(user, key, u)
	if k.file == nil {
		return nil
	}
	if k.lines++; k.lines > 2*maxKeys {
		old := k.file
		err := k.rewrite()
		old.Close()
		return err
	}
	_, err := k.file.Write(line(user, key, u))
	return err
}

// abandon forgets a key whose message was not accepted: it may be tried again.
func (k *Keys) abandon(user, key string) error {
	k.abandonHere(user, key)
	if k.shared != nil {
		return k.shared.AbandonKey(user, key)
	}
	return nil
}

func (k *Keys) abandonHere(user, key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	keys := k.of(user)
	delete(keys.byKey, key)
	if len(keys.byKey) == 0 {
		delete(k.users, user)
	}
}

// remember stores a key. If it is in the file twice, the last entry counts.
func (k *Keys) remember(user, key string, u use) {
	keys := k.of(user)
	if keys.byKey[key] == nil {
		keys.order = append(keys.order, key)
		k.all++
	}
	keys.byKey[key] = &u
	if k.all <= maxKeys {
		return
	}
	most := keys
	for _, other := range k.users {
		if len(other.order) > len(most.order) {
			most = other
		}
	}
	k.dropOldest(most)
}
