package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// maxSocketPath is what fits into sockaddr_un with its final NUL, in octets.
const maxSocketPath = 107

// Listen opens the socket at path with mode 0600. What a dead process left
// there is replaced; a socket that somebody answers on, or a file that is no
// socket, is an error. Closing the listener removes the socket.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of the command socket, %s, has %d octets, and a unix socket can have %d: choose a shorter data_dir", path, len(path), maxSocketPath)
	}
	if err := clear(path); err != nil {
		return nil, err
	}
	l, err := listenPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("open the command socket %s: %w", path, reason(err))
	}
	return l, nil
}

// clear removes what a dead process left at path.
func clear(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the command socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way: dawk's command socket belongs there, and this is no socket; move it away", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another process answers on %s: dawk is already running with this data directory", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // only a refusal proves that nobody listens
		return fmt.Errorf("another process may be using the command socket %s: %w", path, reason(err))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the old command socket: %w", err)
	}
	return nil
}

// listenPrivate makes the socket in a directory of its own that nobody else
// can enter, and moves it into place once its mode is 0600: between bind and
// chmod the mode is whatever the umask left.
func listenPrivate(path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	temp := filepath.Join(dir, "s")
	if len(temp) > maxSocketPath {
		temp = path // no room for the detour: the data directory's own mode must do for an instant
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(temp, 0o600)
	if err == nil && temp != path {
		err = os.Rename(temp, path)
	}
	if err != nil {
		l.Close()
		os.Remove(temp)
		return nil, err
	}
	return &listener{UnixListener: l, path: path}, nil
}

// listener removes its socket once, when it is closed.
type listener struct {
	*net.UnixListener
	path string
	once sync.Once
}

func (l *listener) Close() error {
	l.once.Do(func() { os.Remove(l.path) })
	return l.UnixListener.Close()
}

// reason is the cause inside a network error, whose outer words only repeat
// the path.
func reason(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
