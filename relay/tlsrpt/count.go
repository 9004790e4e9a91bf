package tlsrpt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dawk/relay/durable"
)

// Session is one session with a host, or the attempt to fetch a policy.
type Session struct {
	Domain   string   // the policy domain: the recipients', or with Type "tlsa" the TLSA base domain
	Type     string   // "tlsa", "sts" or "no-policy-found"
	Policy   []string // as published, a line each
	Patterns []string // of MX hosts, with "sts"
	Testing  bool     // the policy demands nothing yet
	Host     string   // "" when no host was involved
	Addr     string
	Local    string // ours in that session; "" where none came about, or nobody else knows it
	Result   string // Successful, or a result-type of RFC 8460 §4.3
	Detail   string // at most 256 octets are kept
}

// Successful is the Result of a session without fault.
const Successful = "successful"

// Bounds of a day: strangers choose the domains, and what their hosts do.
const (
	maxDomains  = 20_000
	maxPolicies = 10  // of a domain
	maxFailures = 100 // kinds, of a policy
	maxLines    = 100 // of a policy, and of its patterns
	maxDetail   = 256 // octets
)

// keepDays is how long a day's counters wait for their reports.
const keepDays = 3

const dayFormat = "2006-01-02"

// day is one file.
type day struct {
	Domains map[string]*domain `json:"domains"`
	dirty   bool
}

type domain struct {
	Reported bool      `json:"reported,omitempty"`
	Policies []*policy `json:"policies"`
}

// policy is what was counted under one policy, as it stands in a report (RFC 8460
// §4.4).
type policy struct {
	Policy struct {
		Type   string   `json:"policy-type"`
		String []string `json:"policy-string,omitempty"`
		Domain string   `json:"policy-domain"`
		MX     []string `json:"mx-host,omitempty"`
	} `json:"policy"`
	Summary struct {
		Good int64 `json:"total-successful-session-count"`
		Bad  int64 `json:"total-failure-session-count"`
	} `json:"summary"`
	Failures []*failure `json:"failure-details,omitempty"`
}

type failure struct {
	Result string `json:"result-type"`
	Local  string `json:"sending-mta-ip,omitempty"`
	Host   string `json:"receiving-mx-hostname,omitempty"`
	Addr   string `json:"receiving-ip,omitempty"`
	Count  int64  `json:"failed-session-count"`
	Detail string `json:"additional-information,omitempty"` // of the first
}

// Counters are the counters of the last days. They are safe for use by many
// goroutines.
type Counters struct {
	dir string

	mu   sync.Mutex
	days map[string]*day // by date
}

// Open reads what is in dir, and makes it if it is missing. A file that cannot
// be read is thrown away, with its error: lost counters stop nothing.
func Open(dir string, now time.Time) (*Counters, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory for TLS reports: %w", err)
	}
	c := &Counters{dir: dir, days: map[string]*day{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	for _, f := range files {
		date := strings.TrimSuffix(filepath.Base(f), ".json")
		if _, perr := time.Parse(dayFormat, date); perr != nil {
			continue
		}
		d := &day{}
		data, rerr := os.ReadFile(f)
		if rerr == nil {
			rerr = json.Unmarshal(data, d)
		}
		if rerr == nil && !d.sound() {
			rerr = errors.New("it is damaged")
		}
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("TLS counters of %s are lost: %w", date, rerr), os.Remove(f))
			continue
		}
		c.days[date] = d
	}
	c.forget(now)
	return c, err
}

// sound says whether a day that was read has no holes.
func (d *day) sound() bool {
	for _, dom := range d.Domains {
		if dom == nil || slices.Contains(dom.Policies, nil) {
			return false
		}
		for _, p := range dom.Policies {
			if p.Policy.Type == "" || slices.Contains(p.Failures, nil) {
				return false
			}
		}
	}
	return d.Domains != nil
}

// Add counts a session. It does not block on the disk.
func (c *Counters) Add(now time.Time, s Session) {
	date := now.UTC().Format(dayFormat)
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.days[date]
	if d == nil {
		d = &day{Domains: map[string]*domain{}}
		c.days[date] = d
	}
	dom := d.Domains[s.Domain]
	if dom == nil {
		if len(d.Domains) >= maxDomains || s.Domain == "" {
			return
		}
		dom = &domain{}
		d.Domains[s.Domain] = dom
	}
	if p := dom.policy(s); p != nil {
		p.add(s)
		d.dirty = true
	}
}

func (d *domain) policy(s Session) *policy {
	lines, patterns := s.Policy[:min(len(s.Policy), maxLines)], s.Patterns[:min(len(s.Patterns), maxLines)]
	for _, p := range d.Policies {
		if p.Policy.Type == s.Type && slices.Equal(p.Policy.String, lines) {
			return p
		}
	}
	if len(d.Policies) >= maxPolicies {
		return nil
	}
	p := &policy{}
	p.Policy.Type, p.Policy.Domain, p.Policy.String, p.Policy.MX = s.Type, s.Domain, slices.Clone(lines), slices.Clone(patterns)
	d.Policies = append(d.Policies, p)
	return p
}

func (p *policy) add(s Session) {
	if s.Result == Successful {
		p.Summary.Good++
		return
	}
	p.Summary.Bad++
	for _, f := range p.Failures {
		if f.Result == s.Result && f.Host == s.Host && f.Addr == s.Addr && f.Local == s.Local {
			f.Count++
			return
		}
	}
	if len(p.Failures) < maxFailures {
		detail := strings.ToValidUTF8(s.Detail[:min(len(s.Detail), maxDetail)], "")
		p.Failures = append(p.Failures, &failure{s.Result, s.Local, s.Host, s.Addr, 1, detail})
	}
}

// Save writes what has changed, and forgets days that ended long ago.
func (c *Counters) Save(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(now)
	var errs []error
	for date, d := range c.days {
		if !d.dirty {
			continue
		}
		data, err := json.Marshal(d)
		if err == nil {
			err = durable.Write(c.file(date), data, 0o600)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("TLS counters of %s: %w", date, err))
			continue
		}
		d.dirty = false
	}
	return errors.Join(errs...)
}

func (c *Counters) file(date string) string { return filepath.Join(c.dir, date+".json") }

func (c *Counters) forget(now time.Time) {
	oldest := now.UTC().AddDate(0, 0, -keepDays).Format(dayFormat)
	for date := range c.days {
		if date < oldest {
			delete(c.days, date)
			if err := os.Remove(c.file(date)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				continue // forgotten here; the next start tries again
			}
		}
	}
}
