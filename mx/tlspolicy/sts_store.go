package tlspolicy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"dawk/relay/durable"
)

// maxPolicies bounds the policies in memory; files hold the rest.
const maxPolicies = 10_000

// sweepEvery is how often files of expired policies are removed.
const sweepEvery = 24 * time.Hour

// stsStore keeps policies in files, one per domain, written atomically: enforcement must not be
// interrupted by a restart.
type stsStore struct {
	dir string // "": memory only

	mu    sync.Mutex
	known map[string]*STSPolicy // nil: there is no file
	swept time.Time             // when files of expired policies were last removed
}

func newSTSStore(dir string) (*stsStore, error) {
	if dir != "" {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("directory for MTA-STS policies: %w", err)
		}
	}
	return &stsStore{dir: dir, known: map[string]*STSPolicy{}}, nil
}

// file is named after the domain if that makes a short plain name.
func (s *stsStore) file(domain string) string {
	name := domain
	if len(name) > 200 || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		sum := sha256.Sum256([]byte(domain))
		name = "sha256-" + hex.EncodeToString(sum[:])
	}
	return filepath.Join(s.dir, name+".json")
}

// Get is the policy of a domain that has not expired, or nil. A file that cannot be read is an
// error: if it counted as no policy, damaging it would end enforcement.
func (s *stsStore) Get(domain string, now time.Time) (*STSPolicy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, known := s.known[domain]
	if !known {
		var err error
		if p, err = s.Read(domain); err != nil {
			return nil, err
		}
		s.remember(domain, p)
	}
	if p == nil || p.expired(now) {
		return nil, nil
	}
	return p, nil
}

func (s *stsStore) remember(domain string, p *STSPolicy) {
	if len(s.known) >= maxPolicies {
		for other, old := range s.known { // any will do: its file stays
			if s.dir != "" || old == nil {
				delete(s.known, other)
				break
			}
		}
	}
	s.known[domain] = p
}

func (s *stsStore) Read(domain string) (*STSPolicy, error) {
	if s.dir == "" {
		return nil, nil
	}
	data, err := os.ReadFile(s.file(domain))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	p := &STSPolicy{}
	if err == nil {
		err = json.Unmarshal(data, p)
	}
	if err == nil && p.Domain != domain {
		err = fmt.Errorf("%s is the policy of another domain", s.file(domain))
	}
	if err != nil {
		return nil, fmt.Errorf("read the MTA-STS policy of %s: %w", domain, err)
	}
	return p, nil
}

// Put writes a policy. When it returns nil, the policy is on stable storage.
func (s *stsStore) Put(p *STSPolicy) error {
	if now := time.Now(); s.dir != "" && s.toSweep(now) {
		s.sweep(now)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(p.Domain, p) // in memory it counts even if the disk fails
	if s.dir == "" {
		return nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return durable.Write(s.file(p.Domain), data, 0o600)
}

// toSweep says whether a sweep is due, and notes the time.
func (s *stsStore) toSweep(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept).Abs() < sweepEvery {
		return false
	}
	s.swept = now
	return true
}

// sweep removes the files of policies that have expired, which would accumulate otherwise. One that
// cannot be read stays: see Get.
func (s *stsStore) sweep(now time.Time) {
	files, _ := os.ReadDir(s.dir) // what it could read
	for _, f := range files {
		path := filepath.Join(s.dir, f.Name())
		if info, err := f.Info(); err != nil || filepath.Ext(path) != ".json" || now.Sub(info.ModTime()) < sweepEvery {
			continue // the young ones are many, and not worth reading
		}
		s.removeExpired(path, now)
	}
}

func (s *stsStore) removeExpired(path string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := os.ReadFile(path)
	p := &STSPolicy{}
	if err != nil || json.Unmarshal(data, p) != nil || p.Fetched.IsZero() || path != s.file(p.Domain) || !p.expired(now) {
		return
	}
	os.Remove(path) //nolint:errcheck // the next one tries again
	delete(s.known, p.Domain)
}
