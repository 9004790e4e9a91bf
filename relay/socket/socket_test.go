package socket_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dawk/relay/socket"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dawk.sock")

	// What a dead process leaves behind: a socket that nobody answers on.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()

	l, err := socket.Listen(path, 0o600, "the command socket", "data_dir")
	if err != nil {
		t.Fatalf("a stale socket must be replaced: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := socket.Listen(path, 0o600, "the command socket", "data_dir"); err == nil || !strings.Contains(err.Error(), "already running") {
		t.Errorf("a live socket must stay: %v", err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first listener must go on: %v", err)
	}
	conn.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file: "is in the way",
		filepath.Join(dir, strings.Repeat("x", 120)): "shorter data_dir",
		filepath.Join(dir, "missing", "sock"):        "no such file or directory",
	} {
		if l, err := socket.Listen(path, 0o600, "the command socket", "data_dir"); err == nil {
			l.Close()
			t.Errorf("%s: accepted", path)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file was touched: %q %v", b, err)
	}
}
