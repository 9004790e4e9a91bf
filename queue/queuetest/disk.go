package queuetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Disk mounts an empty file system of its own for a test: "tmpfs", or "ext4" or
// "xfs" in a file of TMPDIR. Size is in MiB; xfs needs 300. The test is skipped
// where nothing may be mounted, or the program that makes such a file system is
// missing.
func Disk(t testing.TB, kind string, size int64) (dir string) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := mount(base, dir, kind, size<<20); err != nil {
		t.Skipf("no %s of %d MiB can be mounted here: %v", kind, size, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func mount(base, dir, kind string, size int64) error {
	if kind == "tmpfs" {
		return syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+strconv.FormatInt(size, 10))
	}
	image := filepath.Join(base, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, size); err != nil {
		return err
	}
	for _, c := range [][]string{{"mkfs." + kind, "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c[0], err, out)
		}
	}
	return nil
}

// Fill writes a file until its file system has no free block, and returns its
// size in octets.
func Fill(path string) (int64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var size int64
	for _, piece := range []int{1 << 20, 4096, 1} {
		for buf := make([]byte, piece); ; {
			n, err := f.Write(buf)
			size += int64(n)
			if errors.Is(err, syscall.ENOSPC) {
				break
			}
			if err != nil {
				return size, err
			}
		}
	}
	// What is only in memory yet takes its blocks now.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return size, err
	}
	return size, nil
}
