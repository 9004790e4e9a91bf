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

// maxPolicies bounds what is kept in memory; files hold the rest.
const maxPolicies = 10_000

// stsStore keeps policies in files, one a domain, each whole or not at all: a
// restart must not open a time in which nothing is enforced.
type stsStore struct {
	dir string // "": memory only

	mu    sync.Mutex
	known map[string]*STSPolicy // nil: there is no file
}

func newSTSStore(dir string) (*stsStore, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("directory for MTA-STS policies: %w", err)
		}
	}
	return &stsStore{dir: dir, known: map[string]*STSPolicy{}}, nil
}

// file is named after the domain where that makes a short plain name.
func (s *stsStore) file(domain string) string {
	name := domain
	if len(name) > 200 || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		sum := sha256.Sum256([]byte(domain))
		name = "sha256-" + hex.EncodeToString(sum[:])
	}
	return filepath.Join(s.dir, name+".json")
}

// Get is the policy of a domain that has not expired, or nil. A file that
// cannot be read is an error: to take it for no policy would let whoever
// damages it choose.
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
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(p.Domain, p) // in memory it counts whatever the disk says
	if s.dir == "" {
		return nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return durable.Write(s.file(p.Domain), data, 0o600)
}
