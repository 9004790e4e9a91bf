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

// Disk mounts an empty file system of its own for a test: "tmpfs", or "ext4", "xfs" or
// "btrfs" in a file of TMPDIR. Size is in MiB; xfs needs 300, btrfs 110. The test is skipped
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

// Quota lets the files of a btrfs that Disk mounted take no more than they have, until the
// function that it returns lifts that. It is the quota that binds root too, and that
// kernels have which are built without the others.
func Quota(t testing.TB, dir string) (lift func()) {
	t.Helper()
	run := func(args ...string) []byte {
		t.Helper()
		out, err := exec.Command("btrfs", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("btrfs %s: %v: %s", args, err, out)
		}
		return out
	}
	var st syscall.Statfs_t
	run("filesystem", "sync", dir)
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	run("quota", "enable", dir)
	run("quota", "rescan", "-w", dir)
	used := (int64(st.Blocks) - int64(st.Bfree)) * st.Bsize
	run("qgroup", "limit", strconv.FormatInt(used, 10), "0/5", dir) // 0/5 is all that is not in a subvolume
	return func() { run("qgroup", "limit", "none", "0/5", dir) }
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
