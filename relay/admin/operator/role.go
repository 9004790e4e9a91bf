// Package operator knows who may look at a relay and who may change it: people
// with passwords and programs with tokens, in a file that `dawk operator` and
// `dawk token` write, and the role of each. It does not know HTTP or sockets:
// package door asks it who calls, and package admin which role each path needs.
//
// It has no goroutines. Begin reading at [Role] and [Store].
package operator

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"dawk/relay"
)

// Role is what somebody may do. Each includes those before it. The zero value is
// nobody.
type Role uint8

// The roles.
const (
	Nobody  Role = iota
	Read         // look at everything but the content of mail
	Operate      // act on mail, and read its content
	Admin        // change the relay itself
)

var roleNames = [...]string{Nobody: "nobody", Read: "read", Operate: "operate", Admin: "admin"}

func (r Role) String() string { return roleNames[r] }

// MarshalText uses the form of String.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "read", "operate" or "admin".
func (r *Role) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRole(string(b))
	return err
}

// ParseRole reads a role as people write it.
func ParseRole(s string) (Role, error) {
	for r := Read; r <= Admin; r++ {
		if strings.EqualFold(s, r.String()) {
			return r, nil
		}
	}
	return Nobody, fmt.Errorf("there is no role %q: use read, operate or admin", relay.Clip(s))
}

// Caller is who asks the relay for something.
type Caller struct {
	Name string // of an operator; "token:NAME"; "uid:N" for a process of this machine
	Role Role
}

type callerKey struct{}

// CallerOf is who sent the request that ctx belongs to; the zero Caller may
// nothing.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// With is ctx of a request by c.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// As serves every request as one by c.
func As(c Caller, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(With(r.Context(), c)))
	})
}
