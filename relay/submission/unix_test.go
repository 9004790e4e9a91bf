package submission

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// A new socket is made where nobody can connect before its mode is right, and not
// in its place with whatever mode the umask leaves. One that somebody answers on
// is systemd's to give, or an error.
func TestUnixSocketIsMadeInPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	inPlace := func(network, address string) (net.Listener, error) {
		return nil, errors.New("made in place: " + network + " " + address)
	}
	l, err := listenUnix(inPlace, path, "0600")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if other, err := listenUnix(inPlace, path, "0600"); err == nil {
		other.Close()
		t.Error("two listen on one path")
	}
	given := func(string, string) (net.Listener, error) { return l, nil }
	if same, err := listenUnix(given, path, "0660"); err != nil || same != l {
		t.Errorf("systemd's socket: %v, %v", same, err)
	}
	l.Close()
}
