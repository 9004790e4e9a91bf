package oauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"dawk/relay"
)

const (
	// lookEvery is how often Run looks whether files have changed.
	lookEvery = time.Second
	// early is how long before its end a token is replaced in the background; less for tokens that
	// live less than 50 minutes.
	early = 5 * time.Minute
	// someLifetime is the lifetime of a token whose answer gave none (RFC 6749 §5.1 leaves it to the
	// server's documentation).
	someLifetime = 30 * time.Minute
)

// Source is the credential of one route. It is safe for use by many goroutines.
type Source struct {
	cfg   Config
	files files
	store *store // nil: the flow keeps nothing

	one    singleflight.Group
	ctx    context.Context // of all requests
	cancel context.CancelFunc

	mu          sync.Mutex
	access      access
	claims      claims // the token that was fetched last
	given       string // the token that was handed out last
	refused     string // the token that was refused last
	again       bool   // what Refused returned for it
	failed      *Error // of the last request; nil: it succeeded, or none was made
	lastRefresh time.Time
	lastUse     time.Time
	news        chan struct{} // a login that failed may succeed now; holds one
}

// access is a token with its lifetime.
type access struct {
	token      string
	got, until time.Time
}

// accessOf is the token of an answer to a request that was made at a time.
func accessOf(tok *oauth2.Token, asked time.Time) access {
	a := access{token: tok.AccessToken, got: asked, until: tok.Expiry}
	if a.until.IsZero() {
		a.until = asked.Add(someLifetime)
	}
	return a
}

// fresh says whether it is valid long enough for another login.
func (a access) fresh(now time.Time) bool {
	return a.token != "" && now.Before(a.until.Add(-min(10*time.Second, a.until.Sub(a.got)/10)))
}

// renewAt is when Run replaces it.
func (a access) renewAt() time.Time {
	return a.until.Add(-min(early, a.until.Sub(a.got)/10))
}

// NewSource checks cfg and makes a Source. It makes no request. Close ends it.
func NewSource(cfg Config) (*Source, error) {
	if err := cfg.Validate().Err(); err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, news: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if cfg.Flow == DeviceCode || cfg.Flow == RefreshToken {
		s.store = newStore(cfg)
	}
	s.files = s.watchedFiles()
	s.files.changed() // the present content is not a change
	return s, nil
}

// Close ends requests under way.
func (s *Source) Close() { s.cancel() }

// tell has Run report that a login that failed may succeed now.
func (s *Source) tell() {
	select {
	case s.news <- struct{}{}:
	default: // a report is waiting already
	}
}

// Token returns the secret to log in with now. Errors are *Error.
func (s *Source) Token(ctx context.Context) (string, error) {
	s.look()
	if s.cfg.Flow == Password {
		return s.password()
	}
	s.mu.Lock()
	if s.access.fresh(time.Now()) {
		defer s.mu.Unlock()
		s.given, s.lastUse = s.access.token, time.Now()
		return s.access.token, nil
	}
	s.mu.Unlock()
	select {
	case r := <-s.one.DoChan("", s.refresh):
		if r.Err != nil {
			return "", r.Err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lastUse = time.Now()
		return r.Val.(string), nil
	case <-ctx.Done():
		return "", &Error{Words: "the attempt was stopped while it waited for a token", Temporary: true}
	}
}

func (s *Source) password() (string, error) {
	line, err := firstLine(s.cfg.SecretFile)
	if err != nil {
		return "", &Error{Words: "password_file: " + err.Error(), Fix: "put the password into the first line of that file"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastUse = time.Now()
	return line, nil
}

// Refused reports that the server refused a token. again: it had been accepted before, so a new one
// may work (it was revoked, or keys were changed); otherwise the login itself is wrong, and asking
// again would not help.
func (s *Source) Refused(token string) (again bool) {
	if s.cfg.Flow == Password {
		now, err := s.password()
		return err == nil && now != token
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case token == s.refused: // on several connections at once
		return s.again
	case s.access.token != token:
		return s.access.token != "" // another token has been fetched by now
	}
	s.access, s.refused, s.again = access{}, token, s.given == token
	return s.again
}

// refresh gets one token. Only one runs at a time.
func (s *Source) refresh() (any, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Connect+s.cfg.Answer)
	defer cancel()
	got, err := s.fetch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Words: relay.Sanitize(err.Error())}
		}
		s.failed = e
		return nil, e
	}
	s.got(got)
	return got.token, nil
}

// got puts a token into use. s.mu is held.
func (s *Source) got(a access) {
	s.access, s.failed, s.lastRefresh, s.claims = a, nil, a.got, readClaims(a.token)
}

// renew refreshes in the background. If a refresh has ended since Run looked, that is enough, and a
// token just fetched for mail stays in use.
func (s *Source) renew() (any, error) {
	s.mu.Lock()
	got, due := s.access.token, s.access.token == "" || !time.Now().Before(s.access.renewAt())
	s.mu.Unlock()
	if !due {
		return got, nil
	}
	return s.refresh()
}

// look notices changed files: the present token was fetched with the old ones.
func (s *Source) look() {
	if !s.files.changed() {
		return
	}
	s.mu.Lock()
	s.access, s.given, s.failed = access{}, "", nil
	s.mu.Unlock()
	s.cfg.Log.Info("a file of the login has changed and is read again", "route", s.cfg.Route)
	s.tell()
}

// Run fetches tokens before they expire, even if there is no mail, and notices changed files within
// a second. It calls changed when a login that failed may succeed now: a file has changed, or
// tokens are back. It ends with ctx.
func (s *Source) Run(ctx context.Context, changed func()) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	next, wait := time.Now(), time.Minute
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.news:
			changed()
		case now := <-tick.C:
			s.look()
			s.mu.Lock()
			have := s.access.token != ""
			due := !have && !now.Before(next) || have && !now.Before(s.access.renewAt()) && !now.Before(next)
			s.mu.Unlock()
			if s.cfg.Flow == Password || !due {
				continue
			}
			_, err, _ := s.one.Do("", s.renew)
			if err == nil {
				if wait > time.Minute { // there was none the last time: mail may be waiting for this one
					s.tell()
				}
				next, wait = now.Add(lookEvery), time.Minute
				continue
			}
			if ctx.Err() == nil {
				s.cfg.Log.Warn("no token for a route; its mail waits", "route", s.cfg.Route, "error", err, "remedy", relay.RemedyOf(err))
			}
			next, wait = now.Add(wait), min(2*wait, 15*time.Minute)
		}
	}
}

// Status is what is known about a login, without any secret.
type Status struct {
	Route       string    `json:"route"`
	User        string    `json:"user"`
	Flow        Flow      `json:"flow"`
	Expiry      time.Time `json:"expiry,omitzero"` // of the present token; zero: there is none
	LastRefresh time.Time `json:"last_refresh,omitzero"`
	LastUse     time.Time `json:"last_use,omitzero"`
	Stored      bool      `json:"stored,omitempty"` // a refresh token is in the data directory
	Error       string    `json:"error,omitempty"`  // of the last request
	Remedy      string    `json:"remedy,omitempty"` // what to do about it
}

// Status returns the state of the login; it makes no request.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Route: s.cfg.Route, User: s.cfg.User, Flow: s.cfg.Flow, LastRefresh: s.lastRefresh, LastUse: s.lastUse}
	if s.access.token != "" {
		st.Expiry = s.access.until
	}
	if s.failed != nil {
		st.Error, st.Remedy = s.failed.Error(), s.failed.Fix
	}
	if s.store != nil {
		kept, err := s.store.load()
		if st.Stored = err == nil && kept.Refresh != ""; st.Stored && st.LastRefresh.IsZero() {
			st.LastRefresh = kept.At
		}
		if err != nil && st.Error == "" {
			st.Error = err.Error()
		}
	}
	return st
}

// String names the source without a secret.
func (s *Source) String() string { return fmt.Sprintf("login of route %q", s.cfg.Route) }
