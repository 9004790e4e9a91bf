package identity

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"strings"
)

// Passwords checks passwords at a bounded cost: a check takes 19 MiB and a core, so there is at
// most one per CPU at a time, and right passwords are remembered for a while.
type Passwords struct {
	slots chan struct{}
	cache *verified
}

// NewPasswords remembers nothing yet.
func NewPasswords() *Passwords {
	return &Passwords{slots: make(chan struct{}, runtime.NumCPU()), cache: newVerified()}
}

// Match says whether password matches hash, in a form that CheckHash accepts. An empty hash stands
// for a name that does not exist: it costs as much, and never matches. The error is ErrTemporary:
// no turn came before ctx ended.
func (p *Passwords) Match(ctx context.Context, name, hash, password string) (bool, error) {
	h, err := parseHash(hash)
	known := err == nil && password != ""
	if err != nil {
		h = emptyDecoy()
	}
	if len(password) > maxPassword {
		password = "" // no hash matches this
	}
	return p.match(ctx, name, h, known, password)
}

// match is the costly part, behind the cache and the semaphore.
func (p *Passwords) match(ctx context.Context, name string, hash *passwordHash, known bool, password string) (bool, error) {
	key := p.cache.key(strings.ToLower(name), hash.text, password)
	if p.cache.has(key) {
		return true, nil
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return false, fmt.Errorf("%w: too many at once: %w", ErrTemporary, context.Cause(ctx))
	}
	if p.cache.has(key) { // two hundred connections of one program: one check
		return true, nil
	}
	if !hash.matches(password) || !known {
		return false, nil
	}
	p.cache.add(key)
	return true, nil
}

// emptyDecoy serves where there is no hash to check. Its digest is random: nothing
// matches.
func emptyDecoy() *passwordHash {
	h := &passwordHash{argon: &argonParams{defaultMemory, defaultTime, defaultThreads}, salt: make([]byte, saltLen), digest: make([]byte, digestLen)}
	_, _ = rand.Read(h.digest) // never fails (crypto/rand)
	return h
}
