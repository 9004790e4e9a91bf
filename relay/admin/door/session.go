package door

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"sync"
	"time"

	"dawk/relay/admin/operator"
)

// Bounds of sessions.
const (
	idleTime    = time.Hour      // without a request
	sessionTime = 12 * time.Hour // in all
	maxSessions = 1000           // then the one that was idle for longest ends
)

// Session is a person who has logged in.
type Session struct {
	operator.Caller
	Token string // that a form must hold: another site cannot know it
}

// Sessions are in memory, by the hash of their cookie.
type Sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]*session
}

type session struct {
	operator    operator.Operator // as it logged in
	token       string
	began, used time.Time
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.used) > idleTime || now.Sub(s.began) > sessionTime
}

// NewSessions knows nobody.
func NewSessions() *Sessions { return &Sessions{all: map[[sha256.Size]byte]*session{}} }

// cookieName: browsers take __Host- over TLS only, and let no other host set it.
func cookieName(r *http.Request) string {
	if secure(r) {
		return "__Host-dawk"
	}
	return "dawk"
}

// secure says whether the person's browser speaks TLS: with us, or with a proxy on
// this machine.
func secure(r *http.Request) bool {
	return r.TLS != nil || clientOf(r).IsLoopback() && r.Header.Get("X-Forwarded-Proto") == "https"
}

func setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: secure(r), SameSite: http.SameSiteLaxMode})
}

// begin makes a new session, and ends the one that the browser had.
func (s *Sessions) begin(w http.ResponseWriter, r *http.Request, o operator.Operator) {
	s.End(w, r)
	now, key := time.Now(), rand.Text()+rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= maxSessions {
		s.forget(now)
	}
	s.all[sha256.Sum256([]byte(key))] = &session{operator: o, token: rand.Text(), began: now, used: now}
	setCookie(w, r, key, int(sessionTime.Seconds()))
}

// forget ends what is over, and one more.
func (s *Sessions) forget(now time.Time) {
	var oldest *session
	var at [sha256.Size]byte
	for k, v := range s.all {
		if v.over(now) {
			delete(s.all, k)
		} else if oldest == nil || v.used.Before(oldest.used) {
			oldest, at = v, k
		}
	}
	delete(s.all, at)
}

// End ends the session of a request.
func (s *Sessions) End(w http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return
	}
	s.mu.Lock()
	delete(s.all, sha256.Sum256([]byte(c.Value)))
	s.mu.Unlock()
	setCookie(w, r, "", -1)
}

// find is the session of a cookie. used: its person did something, so that it is
// not idle.
func (s *Sessions) find(cookie string, used bool) *session {
	key, now := sha256.Sum256([]byte(cookie)), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.all[key]
	if found == nil {
		return nil
	}
	if found.over(now) {
		delete(s.all, key)
		return nil
	}
	if used {
		found.used = now
	}
	return found
}

// Session is that of a request; nil: none, or it has ended, or the person may not
// log in any more.
func (d *Door) Session(r *http.Request) *Session { return d.session(r, true) }

// Lasts says whether the session of a request goes on, and is no use of it: a page
// that stays open asks this by itself.
func (d *Door) Lasts(r *http.Request) bool { return d.session(r, false) != nil }

func (d *Door) session(r *http.Request, used bool) *Session {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return nil
	}
	s := d.Sessions.find(c.Value, used)
	if s == nil {
		return nil
	}
	caller, err := d.Operators.Current(s.operator)
	if err != nil {
		return nil
	}
	return &Session{Caller: caller, Token: s.token}
}

// Sent says whether a form was made for this session.
func (s *Session) Sent(token string) bool {
	return subtle.ConstantTimeCompare([]byte(s.Token), []byte(token)) == 1
}
