package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	cacheFor  = 5 * time.Minute
	cacheSize = 10_000 // entries, about 1 MiB
)

type cacheKey [sha256.Size]byte

// verified remembers for five minutes which credentials were right, so that a program that logs in
// for each message costs one argon2id in that time. It holds HMACs with a key that only this
// process knows, never a password. The stored hash is part of the HMAC: after a change of the
// password the old one does not match any more.
type verified struct {
	secret [32]byte

	mu    sync.Mutex
	until map[cacheKey]time.Time
}

func newVerified() *verified {
	v := &verified{until: map[cacheKey]time.Time{}}
	_, _ = rand.Read(v.secret[:]) // never fails (crypto/rand)
	return v
}

// key is the HMAC of parts, each with its length before it.
func (v *verified) key(parts ...string) (k cacheKey) {
	h := hmac.New(sha256.New, v.secret[:])
	for _, p := range parts {
		n := len(p)
		h.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		h.Write([]byte(p))
	}
	h.Sum(k[:0])
	return k
}

func (v *verified) has(k cacheKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	until, ok := v.until[k]
	if ok && !time.Now().Before(until) {
		delete(v.until, k)
		return false
	}
	return ok
}

func (v *verified) add(k cacheKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if len(v.until) >= cacheSize {
		v.evict(now)
	}
	v.until[k] = now.Add(cacheFor)
}

// evict drops what is over, and one in four of the rest if that is not enough.
func (v *verified) evict(now time.Time) {
	for k, until := range v.until {
		if !now.Before(until) {
			delete(v.until, k)
		}
	}
	for k := range v.until { // in random order
		if len(v.until) <= cacheSize*3/4 {
			break
		}
		delete(v.until, k)
	}
}
