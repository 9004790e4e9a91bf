package identity

import "runtime"

// Occupy takes every turn at checking a password, until release is called.
func (u *Users) Occupy() (turns int, release func()) {
	for range cap(u.slots) {
		u.slots <- struct{}{}
	}
	return cap(u.slots), func() {
		for range cap(u.slots) {
			<-u.slots
		}
	}
}

// NumCPU is how many turns there ought to be.
func NumCPU() int { return runtime.NumCPU() }
