package submission_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay/identity"
	"dawk/relay/submission"
)

// mutable are users whose file a test changes.
type mutable struct {
	t    *testing.T
	file string
}

// write replaces the file: alice and bob, with the password "secret".
func (m mutable) write(alice, bob string) {
	m.t.Helper()
	user := func(name, more string) string {
		return fmt.Sprintf("[[user]]\nname = %q\npassword = %q\n%s\n", name, secretHash(), more)
	}
	text := ""
	if alice != "gone" {
		text = user("alice", alice)
	}
	check(m.t, os.WriteFile(m.file, []byte(text+user("bob", bob)), 0o600))
	time.Sleep(2 * time.Second) // of the bubble's clock: the file is looked at again
}

// TestOpenSessionsAskForTheirUserAgain at each MAIL: what was taken away is gone
// at once, and a file that cannot be read ends nothing.
func TestOpenSessionsAskForTheirUserAgain(t *testing.T) {
	login := hello + "-> AUTH PLAIN AGFsaWNlAHNlY3JldA==\n<- 235\n"
	mail := "-> MAIL FROM:<a@example.org>\n"
	for _, c := range []struct {
		name   string
		change func(mutable)
		want   string
	}{
		{"nothing changed", func(m mutable) { m.write("", "per_hour = 1") }, "<- 250"},
		{"a quota", func(m mutable) { m.write("per_hour = 2\nburst = 1", "") }, "<- 250\n-> RCPT TO:<b@example.com>\n<- 250\n" + data + "-> .\n<- 250\n" + mail + "<- 452 4.7.28"},
		{"senders", func(m mutable) { m.write("senders = ['@example.net']", "") }, "<- 550 5.7.1"},
		{"it is gone", func(m mutable) { m.write("gone", "") }, "<- 421 4.7.0 your login is not valid any more\n<- EOF"},
		{"it may not come from here", func(m mutable) { m.write("networks = ['192.0.2.0/24']", "") }, "<- 421 4.7.0\n<- EOF"},
		{"another password", func(m mutable) {
			check(m.t, identity.Editor{Path: m.file}.SetPassword("alice", "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"))
			time.Sleep(2 * time.Second)
		}, "<- 421 4.7.0\n<- EOF"},
		{"the file is gone", func(m mutable) { check(m.t, os.Remove(m.file)); time.Sleep(2 * time.Second) }, "<- 250"},
		{"the file is broken", func(m mutable) {
			check(m.t, os.WriteFile(m.file, []byte("[[user"), 0o600))
			time.Sleep(2 * time.Second)
		}, "<- 250"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := mutable{t, filepath.Join(t.TempDir(), "users.toml")}
			synctest.Test(t, func(t *testing.T) {
				m.t = t
				m.write("", "")
				u, err := identity.Open(m.file, nil)
				check(t, err)
				f := start(t, options{pipes: true, users: &users{u}, listener: submission.Listener{TLS: "off", AuthWithoutTLS: true}})
				s := f.play(login + mail + "<- 250\n-> RSET\n<- 250\n")
				c.change(m)
				f.more(s, mail+c.want)
				synctest.Wait()
				f.stop()
			})
		})
	}
}

// TestParallelLoginsAreJudgedAfterTheLock: an AUTH that began before the address
// was blocked does not get in behind it, with the right password neither.
func TestParallelLoginsAreJudgedAfterTheLock(t *testing.T) {
	l := submission.Listener{TLS: "off", AuthWithoutTLS: true}
	all := newUsers(t)
	synctest.Test(t, func(t *testing.T) {
		u := waiting{all, make(chan struct{}), make(chan struct{})}
		f := start(t, options{pipes: true, listener: l, auth: u, config: func(c *submission.Config) { c.AuthFailuresPerIP = 2 }})
		late := f.dialFrom("192.0.2.1")
		f.more(late, hello+"-> AUTH PLAIN AGFsaWNlAHNlY3JldA==")
		<-u.began
		for range 2 {
			f.more(f.dialFrom("192.0.2.1"), hello+"-> AUTH PLAIN AGFsaWNlAHdyb25n\n<- 535\n-> QUIT\n<- 221")
		}
		close(u.judge)
		f.more(late, "<- 421 4.7.0\n<- EOF")
		synctest.Wait()
		f.stop()
	})
}

// waiting judges right passwords when it is told to.
type waiting struct {
	users
	began, judge chan struct{}
}

func (w waiting) Authenticate(ctx context.Context, name, password string, client netip.Addr) (*identity.User, error) {
	if password == "secret" {
		close(w.began)
		<-w.judge
	}
	u, err := w.users.Authenticate(ctx, name, password, client)
	if err != nil && !errors.Is(err, identity.ErrCredentials) {
		return nil, err
	}
	return u, err
}

// TestNoProgramLocksOutTheOthers: whatever one program of this machine does with
// wrong passwords and idle connections, another logs in and sends. A name that is
// guessed at is slow, and no slower than 30 s.
func TestNoProgramLocksOutTheOthers(t *testing.T) {
	l := submission.Listener{TLS: "off"}
	o := options{listener: l, config: func(c *submission.Config) {
		c.AuthFailuresPerIP, c.MaxConnectionsPerIP, c.MaxConnections = 20, 50, 2000
	}}
	bubble(t, o, func(t *testing.T, f *fixture) {
		for range 100 {
			f.more(f.dial(), "<- 220") // and says nothing more
		}
		wrong := "-> AUTH PLAIN AGJvYgB3cm9uZw==\n<- 535\n" // bob
		began := time.Now()
		want := time.Duration(0)
		for i := range 15 {
			f.more(f.dial(), hello+wrong+"-> QUIT\n<- 221")
			want += min(time.Second<<i, 30*time.Second)
		}
		if took := time.Since(began); took != want {
			t.Errorf("15 guesses took %v, want %v", took, want)
		}
		began = time.Now()
		f.more(f.dial(), hello+"-> AUTH PLAIN AGFsaWNlAHNlY3JldA==\n<- 235\n"+envel+data+"-> .\n<- 250\n-> QUIT\n<- 221")
		if took := time.Since(began); took != 0 {
			t.Errorf("another name was delayed by %v", took)
		}
		time.Sleep(identity.BackoffWindow)
		f.more(f.dial(), hello+"-> AUTH PLAIN AGFsaWNlAHdyb25n\n<- 535\n-> AUTH PLAIN AEFMSUNFAHdyb25n\n<- 535\n-> QUIT\n<- 221")
		began = time.Now()
		f.more(f.dial(), hello+"-> AUTH PLAIN AGFsaWNlAHNlY3JldA==\n<- 235\n-> QUIT\n<- 221")
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the right password of a name that was guessed at took %v", took)
		}
	})
}

// TestReserve: strangers leave the last places to clients that are known, and one
// holder of many IPv6 networks takes no more than four addresses may.
func TestReserve(t *testing.T) {
	l := submission.Listener{TLS: "off", AuthWithoutTLS: true, TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
	o := options{listener: l, config: func(c *submission.Config) { c.MaxConnections, c.MaxConnectionsPerIP = 80, 3 }}
	bubble(t, o, func(t *testing.T, f *fixture) {
		taken := 0
		for i := range 256 { // every /64 of a /56
			c := f.dialFrom(fmt.Sprintf("2001:db8:0:%x::1", i))
			if taken < 6 {
				f.more(c, "<- 220")
				taken++
			} else if i < 8 {
				f.more(c, "<- 421 4.7.0\n<- EOF")
			} else {
				c.c.Close()
			}
		}
		for i := range 6 {
			f.more(f.dialFrom(fmt.Sprintf("2001:db8:0:%x::1", 0x100*(i+1))), "<- 220")
		}
		f.more(f.dialFrom("2001:db8:0:ff00::1"), "<- 421 4.7.0\n<- EOF")
		for i := range 70 - 12 {
			f.more(f.dialFrom(fmt.Sprintf("192.0.2.%d", i)), "<- 220")
		}
		f.more(f.dialFrom("192.0.2.200"), "<- 421 4.3.2\n<- EOF")
		f.more(f.dial(), "<- 220")
		f.more(f.dialFrom("198.51.100.1"), "<- 220")
		for i := range 8 {
			f.more(f.dial(), "<- 220")
			_ = i
		}
		f.more(f.dial(), "<- 421 4.3.2\n<- EOF")
	})
}
