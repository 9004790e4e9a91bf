package identity_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
	"dawk/relay/identity"
)

func limited(p identity.Policy) *identity.User { return &identity.User{Name: "App", Policy: p} }

// taken is how many messages of one recipient go through at once.
func taken(l *identity.Ledger, u *identity.User) (n int) {
	for l.Take(u, 1, 1) == nil {
		n++
	}
	return n
}

func TestQuotasFillEvenlyAndSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "users.json")
		u := limited(identity.Policy{PerHour: 60, Burst: 10, PerDay: 75})
		l, err := identity.OpenLedger(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := taken(l, u); n != 10 {
			t.Fatalf("%d at once, burst is 10", n)
		}
		time.Sleep(5 * time.Minute)
		if err := l.Save(); err != nil {
			t.Fatal(err)
		}
		if l, err = identity.OpenLedger(file, nil); err != nil {
			t.Fatal(err)
		}
		if n := taken(l, u); n != 5 {
			t.Fatalf("%d after 5 minutes and a restart, at 60 an hour", n)
		}
		time.Sleep(time.Hour)
		if n := taken(l, u); n != 10 {
			t.Fatalf("%d after an idle hour, burst is 10", n)
		}
		for range 10 { // 25 of 75 are used, less what has come back
			time.Sleep(10 * time.Minute)
			taken(l, u)
		}
		var q *identity.QuotaError
		if err := l.Take(u, 1, 1); !errors.As(err, &q) || q.Per != "day" || q.Wait <= 0 || q.Wait > 30*time.Minute {
			t.Errorf("the day's quota: %v, %+v", err, q)
		}
	})
}

func TestQuotaOfRecipientsIsTakenWholeOrNotAtAll(t *testing.T) {
	l, u := identity.NewLedger(), limited(identity.Policy{PerHour: 100, RecipientsPerHour: 10})
	if err := l.Check(u, 1, 10); err != nil {
		t.Fatal(err)
	}
	if err := l.Take(u, 1, 11); err == nil {
		t.Fatal("11 recipients of 10")
	}
	if err := l.Take(u, 1, 10); err != nil {
		t.Fatalf("the refused one took something: %v", err)
	}
	l.GiveBack(u, 1, 10)
	if err := l.Take(u, 1, 10); err != nil {
		t.Fatalf("after giving back: %v", err)
	}
	if err := l.Take(limited(identity.Policy{}), 1000, 1000); err != nil {
		t.Fatalf("no quota: %v", err)
	}
}

func someone(i int) []relay.Path {
	p, err := relay.ParsePath(fmt.Sprintf("r%d@example.com", i))
	if err != nil {
		panic(err)
	}
	return []relay.Path{p}
}

func TestAnomaliesHoldUntilReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "users.json")
		l, err := identity.OpenLedger(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		watch := func(u *identity.User, text byte, to int) (*identity.Hold, bool) {
			t.Helper()
			h, fresh, err := l.Watch(u, identity.Text{text}, someone(to))
			if err != nil {
				t.Fatal(err)
			}
			return h, fresh
		}
		copies := limited(identity.Policy{HoldCopies: 3})
		for i := range 3 {
			if h, _ := watch(copies, 1, i); h != nil {
				t.Fatalf("held at copy %d", i+1)
			}
		}
		for i := range 600 { // other texts, more than are watched at once
			if h, _ := watch(copies, byte(i%200)+2, i); h != nil && i < 200 {
				t.Fatalf("held for different texts: %+v", h)
			} else if h != nil {
				break
			}
		}
		if _, err := l.Release("app"); err != nil && !errors.Is(err, identity.ErrUnknown) {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		for i := range 3 {
			watch(copies, 1, i)
		}
		h, fresh := watch(copies, 1, 9)
		if h == nil || !fresh || h.Reason != identity.HoldCopies {
			t.Fatalf("the fourth copy: %+v", h)
		}
		// The hold is on disk already, and holds without a limit in the file.
		if l, err = identity.OpenLedger(file, nil); err != nil {
			t.Fatal(err)
		}
		if h, fresh := watch(limited(identity.Policy{}), 77, 1); h == nil || fresh {
			t.Fatalf("after a restart: %+v fresh=%v", h, fresh)
		}
		if held := l.Holds(); len(held) != 1 || held[0].Name != "App" {
			t.Fatalf("holds: %+v", held)
		}
		if _, err := l.Release("APP"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Release("app"); !errors.Is(err, identity.ErrUnknown) {
			t.Fatalf("released twice: %v", err)
		}
		if again, err := identity.OpenLedger(file, nil); err != nil || len(again.Holds()) != 0 { // nor does a restart bring it back
			t.Fatalf("after the release, on disk: %v", err)
		}
		if h, _ := watch(copies, 1, 9); h != nil {
			t.Fatalf("after the release: %+v", h)
		}

		fresh2 := &identity.User{Name: "b", Policy: identity.Policy{HoldNewRecipients: 2}}
		for _, to := range []int{1, 2, 1, 2, 1} { // old acquaintances do not count
			if h, _ := watch(fresh2, 1, to); h != nil {
				t.Fatalf("held at recipient %d", to)
			}
		}
		time.Sleep(time.Hour)
		for _, to := range []int{1, 2, 3, 4} {
			if h, _ := watch(fresh2, 1, to); h != nil {
				t.Fatalf("an hour later, held at recipient %d", to)
			}
		}
		if h, _ := watch(fresh2, 1, 5); h == nil || h.Reason != identity.HoldNewRecipients {
			t.Fatalf("the third new one: %+v", h)
		}
	})
}

func TestDamagedLedgerIsMovedAside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenLedger(file, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file + ".damaged"); err != nil {
		t.Error(err)
	}
}

// The ledger stays small, however many addresses a trusted network has and
// however many strangers each writes to; whom it holds it never forgets.
func TestLedgerIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.json")
	l, err := identity.OpenLedger(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	held := limited(identity.Policy{HoldCopies: 1})
	for range 2 {
		if _, _, err := l.Watch(held, identity.Text{}, someone(1)); err != nil {
			t.Fatal(err)
		}
	}
	busy := &identity.User{Name: "busy", Policy: identity.Policy{PerHour: 100}}
	if err := l.Take(busy, 100, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		if err := l.Take(identity.ForClient(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), identity.Policy{PerHour: 5}), 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.Holds()) != 1 || l.Check(busy, 1, 1) == nil {
		t.Error("whoever has used the most was forgotten first")
	}
	strangers := make([]relay.Path, 10_000)
	for i := range strangers {
		strangers[i] = someone(i)[0]
	}
	for i := range 110 { // more than a million of them
		u := identity.ForClient(netip.AddrFrom4([4]byte{10, 255, 0, byte(i)}), identity.Policy{HoldNewRecipients: 100_000})
		if _, _, err := l.Watch(u, identity.Text{}, strangers); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() > 40<<20 {
		t.Fatalf("%d octets, %v", info.Size(), err)
	}
	// What a crash leaves half-written goes; what is read back still holds.
	half, err := durable.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	left := half.Name()
	if l, err = identity.OpenLedger(file, nil); err != nil || len(l.Holds()) != 1 {
		t.Errorf("%v, %v", l.Holds(), err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a file is left: %v", err)
	}
}

// A client without a login is known by its address, an IPv6 one by its /64.
func TestForClient(t *testing.T) {
	for address, want := range map[string]string{"192.0.2.7": "network:192.0.2.7", "::ffff:192.0.2.7": "network:192.0.2.7",
		"2001:db8:1:2:3::4": "network:2001:db8:1:2::/64"} {
		u := identity.ForClient(netip.MustParseAddr(address), identity.Policy{})
		if u.Name != want || u.Called() != "your address" {
			t.Errorf("%s: %s, %s", address, u.Name, u.Called())
		}
		if identity.CheckName(u.Name) == nil {
			t.Errorf("a user may be called %s as well", u.Name)
		}
	}
}
