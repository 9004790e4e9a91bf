package suppression

import (
	"encoding/json"
	"errors"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"dawk/relay/durable"
)

// A provider whose directory is broken says of everybody that there is no such mailbox.
// The guard knows recipients that a provider took mail for. While more than a tenth of
// them fail, nothing is entered because of that provider, and what was entered lately is
// taken off again. One recipient alone is no trouble of a provider.
const (
	sampled     = 256                // good recipients that are known of a provider: those with the lowest hashes, a fair sample of all
	mostGuarded = 4096               // providers
	failingFor  = 3 * 24 * time.Hour // that a failure counts for
	tenth       = 10
	mostEntered = 1000 // entries of a provider that can be taken off again
)

// guard is what is known of all providers.
type guard struct {
	mu        sync.Mutex
	providers map[string]*provider
	off       []string // keys that have to be taken off
	dirty     bool
}

// provider is a sample of the recipients that it took mail for.
type provider struct {
	Good    map[uint64]int64 `json:"good"`    // when it last failed, in seconds; 0: it has not, since it last succeeded
	Entered map[string]int64 `json:"entered"` // keys of entries that it led to, and when
	Seen    int64            `json:"seen"`
	highest uint64           // of Good, when it is full
}

func recipientHash(address string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(address))
	return h.Sum64()
}

// of is a provider; the one that was seen least lately makes room. The caller holds g.mu.
func (g *guard) of(name string) *provider {
	if p := g.providers[name]; p != nil {
		return p
	}
	if g.providers == nil {
		g.providers = make(map[string]*provider)
	}
	if len(g.providers) >= mostGuarded {
		oldest := ""
		for n, p := range g.providers {
			if oldest == "" || p.Seen < g.providers[oldest].Seen {
				oldest = n
			}
		}
		delete(g.providers, oldest)
	}
	p := &provider{Good: map[uint64]int64{}, Entered: map[string]int64{}}
	g.providers[name] = p
	return p
}

// good notes that a provider took mail for a recipient.
func (g *guard) good(name, address string) {
	h := recipientHash(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.of(name)
	p.Seen, g.dirty = time.Now().Unix(), true
	if _, ok := p.Good[h]; !ok && len(p.Good) >= sampled {
		if p.highest == 0 {
			for k := range p.Good {
				p.highest = max(p.highest, k)
			}
		}
		if h >= p.highest {
			return
		}
		delete(p.Good, p.highest)
		p.highest = 0
	}
	p.Good[h] = 0
}

// failed notes that a provider says of a recipient that it does not exist.
func (g *guard) failed(name, address string, at time.Time) {
	h := recipientHash(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.providers[name]
	if p == nil {
		return
	}
	if _, ok := p.Good[h]; !ok {
		return
	}
	p.Good[h], g.dirty = at.Unix(), true
	if !p.believed(at) {
		for k, when := range p.Entered {
			if at.Sub(time.Unix(when, 0)) < failingFor {
				g.off = append(g.off, k)
			}
		}
		clear(p.Entered)
	}
}

// believed says whether failures of a provider count at the time now.
func (g *guard) believed(name string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.providers[name]
	return p == nil || p.believed(now)
}

func (p *provider) believed(now time.Time) bool {
	failing := 0
	for _, at := range p.Good {
		if at != 0 && now.Sub(time.Unix(at, 0)) < failingFor {
			failing++
		}
	}
	return failing < 2 || failing*tenth <= len(p.Good)
}

// entered notes an entry that failures at a provider led to.
func (g *guard) entered(name, key string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.of(name)
	for k, at := range p.Entered {
		if len(p.Entered) >= mostEntered || now.Sub(time.Unix(at, 0)) >= failingFor {
			delete(p.Entered, k)
		}
	}
	p.Entered[key], g.dirty = now.Unix(), true
}

// withdrawn are the keys that have to be taken off the list; it tells each once.
func (g *guard) withdrawn() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	off := g.off
	g.off = nil
	slices.Sort(off)
	return off
}

func guardPath(dir string) string { return filepath.Join(dir, "suppression-providers.json") }

// save writes what is known. After a crash the last ten minutes are missing.
func (g *guard) save(path string, log *slog.Logger) {
	g.mu.Lock()
	if !g.dirty {
		g.mu.Unlock()
		return
	}
	g.dirty = false
	b, err := json.Marshal(g.providers)
	g.mu.Unlock()
	if err == nil {
		err = durable.WriteUnsynced(path, b)
	}
	if err != nil {
		log.Warn("what is known of providers' recipients is not on disk; it begins anew at the next start", "err", err)
	}
}

func (g *guard) load(path string, log *slog.Logger) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	known := map[string]*provider{}
	if err == nil {
		err = json.Unmarshal(b, &known)
	}
	if err != nil {
		log.Warn("what was known of providers' recipients cannot be read; it begins anew", "file", path, "err", err)
		return
	}
	for name, p := range known {
		if p == nil || p.Good == nil || p.Entered == nil {
			delete(known, name)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.providers = known
}
