package identity

import "runtime"

// Occupy takes every turn at checking a password, until release is called.
func (u *Users) Occupy() (turns int, release func()) {
	for range cap(u.passwords.slots) {
		u.passwords.slots <- struct{}{}
	}
	return cap(u.passwords.slots), func() {
		for range cap(u.passwords.slots) {
			<-u.passwords.slots
		}
	}
}

// NumCPU is how many turns there ought to be.
func NumCPU() int { return runtime.NumCPU() }

// Tokens is how many tokens the user has.
func (u *User) Tokens() int { return len(u.tokens) }
