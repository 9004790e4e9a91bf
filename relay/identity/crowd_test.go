package identity_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"dawk/relay/identity"
)

// 200 clients log in at the same time with real argon2id hashes, a quarter of them
// wrongly: each gets its answer, and memory does not grow with their number,
// since only as many hashes are computed at once as there are processors (19
// MiB each).
func TestTwoHundredLoginsAtOnce(t *testing.T) {
	const clients = 200
	file := filepath.Join(t.TempDir(), "users.toml")
	hash, err := identity.HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, fmt.Sprintf("[[user]]\nname = \"u\"\npassword = %q\n", hash))
	u, err := identity.Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	runtime.GC()
	before := inUse()
	var wg sync.WaitGroup
	var right, wrong atomic.Int64
	var mu sync.Mutex
	var most uint64
	for i := range clients {
		wg.Go(func() {
			password := "correct horse"
			if i%4 == 3 {
				password = "a wrong one"
			}
			switch _, err := u.Authenticate(t.Context(), "u", password, home); {
			case err == nil:
				right.Add(1)
			case errors.Is(err, identity.ErrCredentials):
				wrong.Add(1)
			default:
				t.Error(err)
			}
			now := inUse()
			mu.Lock()
			most = max(most, now)
			mu.Unlock()
		})
	}
	wg.Wait()
	t.Logf("%d MiB before, %d MiB at most", before>>20, most>>20)
	if right.Load() != clients*3/4 || wrong.Load() != clients/4 {
		t.Errorf("%d right and %d wrong", right.Load(), wrong.Load())
	}
	// Four times what is computed at once: the collector lags behind.
	if limit := before + uint64(runtime.NumCPU()*4*19+16)<<20; most > limit {
		t.Errorf("%d MiB, at most %d", most>>20, limit>>20)
	}
}
