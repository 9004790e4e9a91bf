package operator

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"dawk/relay/identity"
)

// ErrUnreadable: the file of operators cannot be read, or has mistakes. Nobody gets
// in meanwhile.
var ErrUnreadable = errors.New("the file of operators cannot be read")

// Store answers who somebody is. It reads the file each time: it is small, and a
// person who was removed is out at once. It is safe for concurrent use.
type Store struct {
	path      string
	passwords *identity.Passwords
}

// Open gives the operators of the file at path, which need not exist yet.
func Open(path string) *Store {
	return &Store{path: path, passwords: identity.NewPasswords()}
}

func (s *Store) read() (*File, error) {
	f, err := ReadFile(s.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return f, nil
}

// Login checks a name and a password. It takes as long for a name that does not
// exist as for one that does. Errors are identity.ErrCredentials,
// identity.ErrTemporary and ErrUnreadable.
func (s *Store) Login(ctx context.Context, name, password string) (Operator, error) {
	f, err := s.read()
	if err != nil {
		return Operator{}, err
	}
	var o Operator
	if i := f.operator(name); i >= 0 {
		o = f.Operators[i]
	}
	ok, err := s.passwords.Match(ctx, name, o.Password, password)
	if err == nil && !ok {
		err = identity.ErrCredentials
	}
	return o, err
}

// Current is a person who has logged in before, as the file has it now.
// identity.ErrCredentials: it is gone, or has another password.
func (s *Store) Current(before Operator) (Caller, error) {
	f, err := s.read()
	if err != nil {
		return Caller{}, err
	}
	i := f.operator(before.Name)
	if i < 0 || f.Operators[i].Password != before.Password {
		return Caller{}, identity.ErrCredentials
	}
	return Caller{Name: f.Operators[i].Name, Role: f.Operators[i].Role}, nil
}

// Token is who shows a token. identity.ErrCredentials: nobody, or its time is over.
func (s *Store) Token(token string, now time.Time) (Caller, error) {
	f, err := s.read()
	if err != nil {
		return Caller{}, err
	}
	hash := identity.HashToken(token)
	for _, t := range f.Tokens {
		if subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) == 1 && (t.Expires.IsZero() || now.Before(t.Expires)) {
			return Caller{Name: "token:" + t.Name, Role: t.Role}, nil
		}
	}
	return Caller{}, identity.ErrCredentials
}
