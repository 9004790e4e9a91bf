package tlspolicy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"dawk/mx/dial"
	"dawk/relay"
)

const (
	stsFetchTime = 10 * time.Second // a fetch as a whole
	stsFetchWait = 5 * time.Minute  // after one that failed, while the id stays
	stsRefresh   = 24 * time.Hour   // RFC 8461 §10.2: a policy is fetched again daily
	maxFailures  = 10_000           // remembered
)

// STS finds and keeps the MTA-STS policies of domains (RFC 8461).
type STS struct {
	lookup SecuredLookup
	web    dial.Web
	log    *slog.Logger
	store  *stsStore
	flight singleflight.Group

	ctx    context.Context // of refreshes that nobody waits for
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	failed map[stsKey]stsFailure
}

// NewSTS keeps policies in a directory; "": only in memory.
func NewSTS(lookup SecuredLookup, web dial.Web, dir string, log *slog.Logger) (*STS, error) {
	store, err := newSTSStore(dir)
	if err != nil {
		return nil, err
	}
	s := &STS{lookup: lookup, web: web, log: log, store: store, failed: map[stsKey]stsFailure{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

type stsKey struct{ domain, id string }

type stsFailure struct {
	at  time.Time
	err error
}

// stsVerdict is what MTA-STS says about a domain: a policy, or why there is none although there
// should be one (only for reports: mail is sent as without a policy).
type stsVerdict struct {
	Policy *STSPolicy // nil: none
	Err    error
}

// Policy is the policy for an attempt now. blocked: there is one that can be neither read nor
// fetched again, so the mail has to wait.
func (s *STS) Policy(ctx context.Context, domain string) (v stsVerdict, blocked error) {
	cached, blocked := s.store.Get(domain, time.Now())
	id, published := s.record(ctx, domain)
	switch {
	case !published: // RFC 8461 §3.1: suppressing the record does not end a policy
		return stsVerdict{Policy: cached}, blocked
	case cached != nil && cached.ID == id:
		if time.Since(cached.Fetched) > min(stsRefresh, cached.MaxAge/2) {
			s.refresh(domain, id)
		}
		return stsVerdict{Policy: cached}, nil
	}
	fresh, err := s.fetch(ctx, domain, id)
	if err != nil {
		s.log.Debug("no MTA-STS policy", "domain", domain, "err", err)
		return stsVerdict{Policy: cached, Err: err}, blocked
	}
	return stsVerdict{Policy: fresh}, nil
}

// record reads the TXT record. A failure of DNS counts as no record: a policy that was fetched
// before stays in force.
func (s *STS) record(ctx context.Context, domain string) (id string, ok bool) {
	answer, err := s.lookup.LookupTXT(ctx, "_mta-sts."+domain)
	if err != nil {
		return "", false
	}
	return parseSTSRecord(answer.Records)
}

// refresh fetches a policy again while the old one serves.
func (s *STS) refresh(domain, id string) {
	if s.ctx.Err() != nil || s.failedLately(stsKey{domain, id}) != nil {
		return
	}
	s.wg.Go(func() { s.fetch(s.ctx, domain, id) }) //nolint:errcheck // remembered as failed
}

func (s *STS) Close() {
	s.cancel()
	s.wg.Wait()
}

// fetch gets a policy and puts it on disk. Callers that want the same policy share a fetch; it
// continues when a caller gives up.
func (s *STS) fetch(ctx context.Context, domain, id string) (*STSPolicy, error) {
	key := stsKey{domain, id}
	if err := s.failedLately(key); err != nil {
		return nil, err
	}
	ch := s.flight.DoChan(domain+" "+id, func() (any, error) {
		limited, cancel := context.WithTimeout(s.ctx, stsFetchTime)
		defer cancel()
		p, err := s.Get(limited, domain)
		if err != nil {
			s.fail(key, err)
			return nil, err
		}
		p.Domain, p.ID, p.Fetched = domain, id, time.Now().Round(0)
		if err := s.store.Put(p); err != nil {
			s.log.Error("an MTA-STS policy cannot be written to disk; it is used until the relay stops", "domain", domain, "err", err)
		}
		return p, nil
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*STSPolicy), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *STS) failedLately(k stsKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.failed[k]; ok && time.Since(f.at) < stsFetchWait {
		return f.err
	}
	return nil
}

func (s *STS) fail(k stsKey, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for old, f := range s.failed {
		if len(s.failed) < maxFailures && time.Since(f.at) < stsFetchWait {
			break
		}
		delete(s.failed, old)
	}
	s.failed[k] = stsFailure{time.Now(), err}
}

// errFetch means that a policy could not be fetched (RFC 8460 §4.3.2: sts-policy-fetch-error).
var errFetch = errors.New("the policy cannot be fetched")

// Get makes the request (RFC 8461 §3.3).
func (s *STS) Get(ctx context.Context, domain string) (*STSPolicy, error) {
	client := s.web.Client(maxPolicySize)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFetch, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFetch, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: the policy host answers %d", errFetch, resp.StatusCode)
	}
	// RFC 8461 §3.2: otherwise a user who can upload files to the host could publish a policy.
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return nil, fmt.Errorf("%w: it is %.80q, not text/plain", errFetch, resp.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicySize+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFetch, err)
	}
	return parseSTSPolicy(body)
}

// STSView is what a domain publishes for MTA-STS.
type STSView struct {
	ID      string    `json:"id,omitempty"`   // of the TXT record; "": there is none
	Mode    string    `json:"mode,omitempty"` // of the policy that counts; "": there is none
	MX      []string  `json:"mx,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Stored  bool      `json:"stored,omitempty"` // the policy was fetched earlier
	Error   string    `json:"error,omitempty"`  // why the policy that the record announces is missing
}

// View looks at what a domain publishes, without keeping what it fetches.
func (s *STS) View(ctx context.Context, domain string) (*STSView, *STSPolicy) {
	v := new(STSView)
	p, blocked := s.store.Get(domain, time.Now())
	if blocked != nil {
		v.Error = relay.Sanitize(blocked.Error())
	}
	v.Stored = p != nil
	id, published := s.record(ctx, domain)
	if published {
		v.ID = id
	}
	if published && (p == nil || p.ID != id) {
		limited, cancel := context.WithTimeout(ctx, stsFetchTime)
		defer cancel()
		fresh, err := s.Get(limited, domain)
		if err != nil {
			v.Error = relay.Sanitize(err.Error())
		} else {
			fresh.Domain, fresh.ID, fresh.Fetched = domain, id, time.Now()
			p, v.Stored = fresh, false
		}
	}
	if p != nil {
		v.Mode, v.MX, v.Expires = p.Mode, p.MX[:min(len(p.MX), 20)], p.Fetched.Add(p.MaxAge).Round(time.Second)
	}
	return v, p
}
