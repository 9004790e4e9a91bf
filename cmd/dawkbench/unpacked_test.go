package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A relay may start processes that nobody waits for; what they use is its cost
// all the same.
func TestGroupCountsOrphans(t *testing.T) {
	group, err := newGroup()
	if err != nil {
		t.Skip("no control groups here: ", err)
	}
	defer os.Remove(group)
	cmd := exec.Command("sh", "-c", `echo 0 >"$GROUP/cgroup.procs" && (i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done) &`)
	cmd.Env = append(os.Environ(), "GROUP="+group)
	ended, err := cmd.StdoutPipe() // the orphan holds it
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, ended); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Skip("processes cannot be put into control groups here: ", err)
	}
	if used, err := groupCPU(group); err != nil || used < 0.001 {
		t.Errorf("%v seconds (%v) for 100,000 turns of a loop", used, err)
	}
}

func TestUnpackedRelaysAreFound(t *testing.T) {
	root := t.TempDir()
	if all, err := unpacked(root); err == nil || !strings.Contains(err.Error(), "dpkg -x") {
		t.Errorf("in an empty directory: %v, %v", all, err)
	}
	if err := os.MkdirAll(filepath.Join(root, "usr/sbin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "usr/sbin/smtpd"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	all, err := unpacked(root)
	if err != nil || len(all) != 1 || all[0].name != "opensmtpd" {
		t.Errorf("%v, %v; want opensmtpd alone", all, err)
	}
}

func TestUnpackedRelayIsConfigured(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("its spool belongs to an account of its own: this needs root")
	}
	dir := t.TempDir()
	if err := unpackedRelays[0].configure(dir, 2525, "127.0.0.1:2626"); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"etc/exim4/exim4.conf": "daemon_smtp_ports = 2525\n",
		"etc/passwd":           "\nDebian-exim:x:64900:64900::/nonexistent:/usr/sbin/nologin\n",
		"etc/group":            "\nDebian-exim:x:64900:\n",
	} {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s has no %q: %v\n%s", file, want, err, b)
		}
	}
}
