package datadir_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dawk/queue/boltstore/datadir"
)

// A folder that is closed to the relay's user is named, with the command that opens it.
func TestFolderInTheWay(t *testing.T) {
	dir := t.TempDir()
	for _, open := range []string{dir, filepath.Dir(dir)} { // whatever the umask is
		if err := os.Chmod(open, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0); err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if os.Geteuid() == 0 {
			unix.SetfsuidRetUid(65534) // root may look into every folder
		}
		result <- datadir.PrepareDir(filepath.Join(closed, "queue"), slog.New(slog.DiscardHandler))
	}()
	err := <-result
	if err == nil || !strings.Contains(err.Error(), "permission denied: the folder "+closed+" belongs to ") || !strings.Contains(err.Error(), "chgrp ") {
		t.Errorf("%v", err)
	}
}
