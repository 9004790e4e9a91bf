package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"dawk/relay/durable"
)

// holds fails t unless dir holds nothing but path with this content and mode.
func holds(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || string(data) != content {
		t.Errorf("%q, %v; want %q", data, err, content)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != mode {
		t.Errorf("mode %v, %v; want %v", st.Mode(), err, mode)
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("the directory holds %v, %v", all, err)
	}
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"one", "another"} {
		if err := durable.Write(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		holds(t, path, content, 0o644)
	}
	if err := durable.Write(filepath.Join(path, "below"), nil, 0o600); err == nil {
		t.Error("a file was written below a file")
	}
}

func TestReplaceKeepsTheMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.Replace(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "one", 0o600)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(path, []byte("two")); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "two", 0o640)
}

func TestNewNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.New(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := durable.New(path, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second file: %v", err)
	}
	holds(t, path, "one", 0o600)
}

func TestWhatIsNotCommittedIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := durable.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("half of the ne"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "old", 0o600)

	if _, err := durable.Create(path); err != nil { // its process was killed
		t.Fatal(err)
	}
	durable.Sweep(path)
	holds(t, path, "old", 0o600)
}

func TestAFileStaysOpenAfterCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := durable.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.CommitAs(path + ".other"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("appended"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, path+".other", "appended", 0o600)
}

// What root makes belongs to the owner of the directory, and what root replaces
// to its owner.
func TestTheOwnerOfTheDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	dir := t.TempDir()
	for _, c := range []struct {
		uid, gid int
		dir      fs.FileMode
		mode     fs.FileMode
	}{{1234, 1234, 0o700, 0o600}, {0, 1234, 0o750, 0o640}, {0, 1234, 0o700, 0o600}, {0, 0, 0o755, 0o600}} {
		if err := errors.Join(os.Chown(dir, c.uid, c.gid), os.Chmod(dir, c.dir)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "file")
		if err := durable.New(path, nil); err != nil {
			t.Fatal(err)
		}
		holds(t, path, "", c.mode)
		if uid, gid := owner(t, path); uid != c.uid || gid != c.gid {
			t.Errorf("%+v: it belongs to %d:%d", c, uid, gid)
		}
		if err := durable.Write(path, nil, c.mode); err != nil {
			t.Fatal(err)
		}
		if uid, gid := owner(t, path); uid != c.uid || gid != c.gid {
			t.Errorf("%+v: written, it belongs to %d:%d", c, uid, gid)
		}
		if err := errors.Join(os.Chown(path, 4321, 4321), durable.Replace(path, nil)); err != nil {
			t.Fatal(err)
		}
		if uid, gid := owner(t, path); uid != 4321 || gid != 4321 {
			t.Errorf("replaced, it belongs to %d:%d", uid, gid)
		}
		os.Remove(path)
	}
}

func owner(t *testing.T, path string) (uid, gid int) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	return int(sys.Uid), int(sys.Gid)
}

func TestWriteUnsynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"one", "two"} {
		if err := durable.WriteUnsynced(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		holds(t, path, content, 0o600)
	}
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a", "file"), filepath.Join(dir, "b", "file")
	for _, path := range []string{from, to} {
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.Write(from, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	holds(t, to, "one", 0o600)
	if err := durable.Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
	if err := durable.SyncDir(filepath.Join(dir, "none")); err == nil || errors.Is(err, durable.ErrUnsynced) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := durable.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"f", "f/g"} {
		if err := durable.MkdirAll(filepath.Join(dir, in), 0o700); err == nil {
			t.Errorf("%s: a file counts as a directory", in)
		}
	}
}
