package identity_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/identity"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"
)

var home = netip.MustParseAddr("192.0.2.7")

// write makes a file of users.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func hash(t *testing.T, password string) string {
	t.Helper()
	h, err := identity.HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func open(t *testing.T, content string) *identity.Users {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.toml")
	write(t, path, content)
	u, err := identity.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAuthenticate(t *testing.T) {
	old, err := bcrypt.GenerateFromPassword([]byte("imported from elsewhere"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := open(t, fmt.Sprintf(`
[[user]]
name = "alice@example.org"
password = %q
max_message_size = "1MiB"
max_age = "1d"
[[user]]
name = "printer"
password = %q
networks = ["192.0.2.0/28", "2001:db8::/64"]
`, hash(t, "correct horse"), old))
	for _, c := range []struct {
		name, password, from string
		want                 error
	}{
		{"alice@example.org", "correct horse", "192.0.2.7", nil},
		{"alice@example.org", "correct horse", "192.0.2.7", nil}, // from the cache
		{"Alice@Example.ORG", "correct horse", "192.0.2.7", nil},
		{"alice@example.org", "correct horsf", "192.0.2.7", identity.ErrCredentials},
		{"alice@example.org", "", "192.0.2.7", identity.ErrCredentials},
		{"alice@example.org", strings.Repeat("x", 5000), "192.0.2.7", identity.ErrCredentials},
		{"alice", "correct horse", "192.0.2.7", identity.ErrCredentials},
		{"", "", "192.0.2.7", identity.ErrCredentials},
		{"mallory", "correct horse", "192.0.2.7", identity.ErrCredentials}, // the decoy's own password
		{"mallory", "imported from elsewhere", "192.0.2.7", identity.ErrCredentials},
		{"printer", "imported from elsewhere", "192.0.2.7", nil},
		{"printer", "imported from elsewhere", "::ffff:192.0.2.7", nil},
		{"printer", "imported from elsewhere", "2001:db8::1", nil},
		{"printer", "imported from elsewhere", "192.0.2.77", identity.ErrCredentials},
		{"printer", "imported from elsewhere", "2001:db8:0:1::1", identity.ErrCredentials},
	} {
		u, err := users.Authenticate(context.Background(), c.name, c.password, netip.MustParseAddr(c.from))
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s from %s: %v, want %v", c.name, c.from, err, c.want)
		}
		if (u == nil) != (err != nil) {
			t.Errorf("%s: user %v with error %v", c.name, u, err)
		}
	}
	u := users.Lookup("ALICE@example.org")
	if u == nil || u.MaxMessageSize != 1<<20 || u.MaxAge != 24*time.Hour || u.PasswordKind() != "argon2id" {
		t.Errorf("alice is %+v", u)
	}
}

// A name that does not exist costs a whole argon2id, as one that does: nobody
// learns from the time of an answer who is a user. The 19 MiB that each takes
// tell of it without a clock.
func TestUnknownNamesCostTheSame(t *testing.T) {
	users := open(t, fmt.Sprintf("[[user]]\nname = \"alice\"\npassword = %q\n", hash(t, "correct horse")))
	nobody := open(t, "")
	for _, c := range []struct {
		users          *identity.Users
		name, password string
	}{
		{users, "alice", "wrong horse"}, {users, "mallory", "wrong horse"}, {users, "mallory", "correct horse"},
		{users, "alice", ""}, {users, "mallory", ""},
		{users, "alice", strings.Repeat("x", 5000)}, {users, "mallory", strings.Repeat("x", 5000)},
		{nobody, "mallory", "wrong horse"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.users.Authenticate(t.Context(), c.name, c.password, home)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, identity.ErrCredentials) || took < 19<<20 {
			t.Errorf("%s with %.20q: %v, for %d octets of memory", c.name, c.password, err, took)
		}
	}
}

func TestMaySend(t *testing.T) {
	users := open(t, fmt.Sprintf(`
[[user]]
name = "any"
password = %[1]q
[[user]]
name = "some"
password = %[1]q
senders = ["App@example.org", "@example.com", "@bücher.example"]
`, hash(t, "correct horse")))
	for _, c := range []struct {
		from      string
		any, some bool
	}{
		{"", true, true},
		{"app@example.org", true, true},
		{"APP@EXAMPLE.ORG", true, true},
		{"app2@example.org", true, false},
		{"who@example.com", true, true},
		{"who@sub.example.com", true, false},
		{"who@notexample.com", true, false},
		{"x@xn--bcher-kva.example", true, true},
		{"postmaster", true, false},
	} {
		p, err := relay.ParsePath(c.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := users.Lookup("any").MaySend(p); got != c.any {
			t.Errorf("any: %q: %t", c.from, got)
		}
		if got := users.Lookup("some").MaySend(p); got != c.some {
			t.Errorf("some: %q: %t", c.from, got)
		}
	}
}

func TestMistakesInTheFile(t *testing.T) {
	h := hash(t, "correct horse")
	path := filepath.Join(t.TempDir(), "users.toml")
	write(t, path, fmt.Sprintf(`[[user]]
name = "a"
password = "secret words"
sender = ["@example.org"]
[[user]]
name = "b c"
password = %[1]q
networks = ["192.0.2.0/33"]
senders = []
[[user]]
password = %[1]q
[[user]]
name = "A"
password = %[1]q
per_hour = 0
senders = ["nobody", "@"]
priority = "urgent"
[[user]]
name = "network:x"
password = "$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Ng"
`, h))
	_, err := identity.Open(path, nil)
	want := strings.ReplaceAll(`F:3:1: password: it is not a password hash: set it with `+"`dawk user passwd NAME`"+`, which keeps only the argon2id hash (bcrypt is accepted too)
F:4:1: unknown key "sender" in [user]; did you mean "senders"?
F:6:1: the name "b c" holds spaces or control characters
F:8:13: user.networks: "192.0.2.0/33" is not a network: write it like "192.0.2.0/24" or "2001:db8::/32"
F:9:1: senders is an empty list: leave the key out to allow all
F:10:3: this [[user]] has no name
F:13:1: the user "A" is here twice: also in line 2
F:15:1: per_hour is 0; it must be at least 1: leave the key out for no limit
F:16:12: user.senders: not a valid mailbox: no domain in "nobody": write "user@example.org", or "@example.org" for a whole domain
F:16:22: user.senders: not a valid domain: ""
F:17:1: priority: "urgent" is not a priority: write "high", "normal" or "bulk"
F:19:1: the name "network:x" is dawk's own: choose another
F:20:1: password: its argon2id parameters m=99999999,t=2,p=1 are out of range`, "F", path)
	if err == nil {
		t.Fatal("opened")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(err.Error(), "secret words") {
		t.Error("the message repeats what may be a password")
	}
	if _, err := identity.Open(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "dawk user add") {
		t.Errorf("missing file: %v", err)
	}
}

// The file is looked at once a second; a broken one changes nothing; the
// cache does not outlive the hash it was made from.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		path := filepath.Join(t.TempDir(), "users.toml")
		one := fmt.Sprintf("[[user]]\nname = \"a\"\npassword = %q\n", hash(t, "first password"))
		two := fmt.Sprintf("[[user]]\nname = \"a\"\npassword = %q\n", hash(t, "other password"))
		write(t, path, one)
		users, err := identity.Open(path, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		works := func(password string) bool {
			t.Helper()
			_, err := users.Authenticate(t.Context(), "a", password, home)
			if err != nil && !errors.Is(err, identity.ErrCredentials) {
				t.Fatal(err)
			}
			return err == nil
		}
		if !works("first password") {
			t.Fatal("the first password is refused")
		}
		write(t, path, two) // the same size, and perhaps the same time
		if !works("first password") {
			t.Error("the file was looked at twice within a second")
		}
		time.Sleep(time.Second) // in the bubble: no real time
		if works("first password") || !works("other password") {
			t.Error("the changed file is not in force after a second")
		}
		write(t, path, "[[user]\n")
		time.Sleep(time.Second)
		if !works("other password") || !strings.Contains(log.String(), "users.toml:1:") {
			t.Errorf("a broken file must leave the users and be logged with its place: %s", log.String())
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(time.Second)
			if !works("other password") {
				t.Error("the users are gone with their file")
			}
		}
		if n := strings.Count(log.String(), "cannot be read"); n != 1 {
			t.Errorf("the missing file was logged %d times", n)
		}
		write(t, path, one)
		time.Sleep(time.Second)
		if !works("first password") {
			t.Error("the file came back and is not read")
		}
	})
}

// However many log in at once, only as many passwords are hashed as there
// are processors. Whoever cannot wait any longer hears "temporary"; verified
// credentials need no turn.
func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	users := open(t, fmt.Sprintf("[[user]]\nname = \"a\"\npassword = %q\n", hash(t, "correct horse")))
	if _, err := users.Authenticate(t.Context(), "a", "correct horse", home); err != nil {
		t.Fatal(err)
	}
	turns, release := users.Occupy()
	if turns != identity.NumCPU() {
		t.Errorf("%d passwords may be hashed at once on %d processors", turns, identity.NumCPU())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	errs := make([]error, 50)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = users.Authenticate(ctx, []string{"a", "nobody"}[i%2], fmt.Sprint("wrong", i), home)
		})
	}
	if _, err := users.Authenticate(ctx, "a", "correct horse", home); err != nil {
		t.Errorf("verified credentials had to wait: %v", err)
	}
	cancel()
	wg.Wait()
	for _, err := range errs {
		if !errors.Is(err, identity.ErrTemporary) || errors.Is(err, identity.ErrCredentials) {
			t.Errorf("%v, want ErrTemporary", err)
		}
	}
	release()
	if _, err := users.Authenticate(t.Context(), "a", "wrong", home); !errors.Is(err, identity.ErrCredentials) {
		t.Errorf("with a turn free: %v", err)
	}
}

// FuzzUsers: no file makes Open panic, and what opens can be asked.
func FuzzUsers(f *testing.F) {
	f.Add("[[user]]\nname = \"a\"\npassword = \"$2a$04$abcdefghijklmnopqrstuuVv4c7S8xJ0n0cC5hE3C5yF4sX5H8yQa\"\nnetworks=[\"::1\"]\n")
	f.Add("[[user]]\nname = \"a\"\npassword = \"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Ng\"\nsenders=[\"@a.example\"]\n")
	path := filepath.Join(f.TempDir(), "u") // one for all: a directory for each input costs more than the input
	f.Fuzz(func(t *testing.T, file string) {
		write(t, path, file)
		users, err := identity.Open(path, nil)
		if err != nil {
			return
		}
		for _, u := range users.List() {
			if u.PasswordKind() == "" || users.Lookup(u.Name) != u {
				t.Errorf("%+v", u)
			}
			u.MaySend(relay.Path{})
		}
	})
}

// In a directory of root's with the relay's group, as docs/dawk.service has
// it, the relay can read the file that root makes; elsewhere nobody else can.
func TestNewFileCanBeReadByTheRelay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	hash, err := identity.HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		group int
		mode  os.FileMode // of the directory
		want  os.FileMode // of the file
	}{{65532, 0o750, 0o640}, {65532, 0o700, 0o600}, {0, 0o755, 0o600}} {
		dir := filepath.Join(t.TempDir(), "etc")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 0, c.group), os.Chmod(dir, c.mode)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "users.toml")
		if err := (&identity.Editor{Path: path}).Add("scanner", hash, identity.Policy{}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != c.want {
			t.Errorf("directory of group %d, %o: the file is %v, %v; want %o", c.group, c.mode, info.Mode(), err, c.want)
		}
	}
}
