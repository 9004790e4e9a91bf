package boltstore_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
)

func TestMain(m *testing.M) {
	if point := os.Getenv("DAWK_QUEUE_CHILD"); point != "" {
		child(point)
		return
	}
	flag.Parse()
	checks := cmp.Or(os.Getenv("RAPID_CHECKS"), "12") // of the model test; -rapid.checks=1000 for a long run
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "rapid.checks" {
			checks = f.Value.String()
		}
	})
	flag.Set("rapid.checks", checks)
	goleak.VerifyTestMain(m)
}

// small are options that make small messages big, the journal short, and leave
// the disk alone.
func small(dir string) boltstore.Options {
	return boltstore.Options{Dir: dir, InlineLimit: 1000, MinFree: 1, Journal: 64 << 10}
}

func copyDir(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // unlinked meanwhile
		}
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		in, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.Create(target)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
}

func TestConformanceMemory(t *testing.T) {
	queuetest.Run(t, func() queuetest.Harness {
		m := queuetest.NewMemory()
		return queuetest.Harness{Open: func() (queue.Store, error) { return m, nil }, Crash: func() error { return nil }}
	})
}

// boltHarness crashes by copying the directory between two commits and going
// on with the copy; the abandoned queue can commit nothing more.
type boltHarness struct {
	base string
	dir  string
	n    int
	open *boltstore.Store
	gate *gate
}

// gate is held during a commit and during a checkpoint.
type gate struct {
	mu   sync.Mutex
	shut bool
}

var errCrashed = errors.New("the process is gone")

func (g *gate) hook(point string) error {
	switch point {
	case "commit", "checkpoint":
		g.mu.Lock()
		if g.shut {
			g.mu.Unlock()
			return errCrashed
		}
	case "committed", "checkpointed":
		g.mu.Unlock()
	}
	return nil
}

func (h *boltHarness) Open() (queue.Store, error) {
	h.gate = &gate{}
	opt := small(h.dir)
	opt.Hook = h.gate.hook
	var err error
	h.open, err = boltstore.Open(opt)
	return h.open, err
}

func (h *boltHarness) Crash() error {
	h.gate.mu.Lock()
	h.gate.shut = true
	h.n++
	next := filepath.Join(h.base, "crash", string(rune('a'+h.n%26)), filepath.Base(h.dir)+"x")
	err := copyDir(h.dir, next)
	h.gate.mu.Unlock()
	h.open.Close()
	os.RemoveAll(h.dir)
	h.dir = next
	return err
}

func (h *boltHarness) Check(queue.Store) error {
	r, err := h.open.Verify(context.Background(), nil)
	if err == nil && len(r.Problems) > 0 {
		err = errors.New(strings.Join(r.Problems, "\n"))
	}
	return err
}

// memoryDir is a directory whose syncs cost nothing, where there is one: the
// model test is about the rules, and makes thousands of commits. It needs room
// for all tests at once; a container often has 64 MiB there.
func memoryDir(t testing.TB) string {
	const shared = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(shared, &st); err != nil || st.Bavail*uint64(st.Bsize) < 1<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shared, "dawk-queue-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestConformanceBolt(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func() queuetest.Harness {
		base, err := os.MkdirTemp(memoryDir(t), "")
		if err != nil {
			t.Fatal(err)
		}
		h := &boltHarness{base: base, dir: filepath.Join(base, "d")}
		return queuetest.Harness{Open: h.Open, Crash: h.Crash, Check: h.Check}
	})
}

// What the rest of dawk uses.
var (
	_ queue.Store = (*boltstore.Store)(nil)
	_ queue.Files = (*boltstore.Store)(nil)
)
