package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/limits"
)

// Signs of a stolen password: the same text to many recipients, or mail to many recipients never
// written to before. Both tests are off unless set.

// HoldReason is a closed set: a metric label.
type HoldReason string

// The reasons for a hold.
const (
	HoldCopies        HoldReason = "copies"         // the same text to many
	HoldNewRecipients HoldReason = "new_recipients" // many that it never wrote to
)

const (
	maxCopies     = 256    // texts of one user watched at once
	maxRecipients = 10_000 // recipients of one user remembered: 8 octets each
	window        = time.Hour
)

// Text identifies a text: a hash of subject and body.
type Text [sha256.Size]byte

// forgetKnown takes a random sample of accounts, and drops the older half of the recipients of the
// one that remembers the most.
func (l *Ledger) forgetKnown() {
	var most *account
	looked := 0
	for _, a := range l.users {
		if most == nil || len(a.Known) > len(most.Known) {
			most = a
		}
		if looked++; looked >= lookedAtOnce && len(most.Known) > 0 {
			break
		}
	}
	half := (len(most.Known) + 1) / 2
	for _, k := range most.Known[:half] {
		delete(most.known, k)
	}
	most.Known = slices.Clone(most.Known[half:])
	l.known -= half
}

func (a *account) watch(u *User, text Text, to []relay.Path, now time.Time) (reason HoldReason, rule string) {
	if u.HoldCopies > 0 {
		if n := a.count(text, len(to), now); n > u.HoldCopies {
			reason, rule = HoldCopies, fmt.Sprintf("the same text to %d recipients within an hour; hold_copies is %d", n, u.HoldCopies)
		}
	}
	if u.HoldNewRecipients > 0 {
		fresh := 0
		for _, p := range to {
			if a.learn(p) {
				fresh++
			}
		}
		if n := a.New.Add(fresh, window, now); n > u.HoldNewRecipients {
			reason, rule = HoldNewRecipients, fmt.Sprintf("%d recipients within an hour that it never wrote to before; hold_new_recipients is %d", n, u.HoldNewRecipients)
		}
	}
	return reason, rule
}

// count counts copies of a text. When too many texts are watched, those whose hour has passed are
// dropped first, then the rarest.
func (a *account) count(text Text, n int, now time.Time) int {
	key := binary.BigEndian.Uint64(text[:])
	t := a.copies[key]
	if t == nil {
		if a.copies == nil {
			a.copies = map[uint64]*limits.Window{}
		}
		if len(a.copies) >= maxCopies {
			a.drop(now)
		}
		t = &limits.Window{}
		a.copies[key] = t
	}
	return t.Add(n, window, now)
}

func (a *account) drop(now time.Time) {
	rarest, least := uint64(0), -1
	for k, t := range a.copies {
		if t.Over(window, now) {
			delete(a.copies, k)
		} else if least < 0 || t.N < least {
			rarest, least = k, t.N
		}
	}
	if len(a.copies) >= maxCopies {
		delete(a.copies, rarest)
	}
}

// learn says whether p is a new recipient, and remembers it.
func (a *account) learn(p relay.Path) bool {
	sum := sha256.Sum256([]byte(strings.ToLower(p.String())))
	key := binary.BigEndian.Uint64(sum[:]) >> 11 // 53 bits: exact as a JSON number everywhere
	if a.known[key] {
		return false
	}
	if a.known == nil {
		a.known = map[uint64]bool{}
	}
	if len(a.Known) >= maxRecipients {
		delete(a.known, a.Known[0])
		a.Known = slices.Delete(a.Known, 0, 1)
	}
	a.Known, a.known[key] = append(a.Known, key), true
	return true
}
