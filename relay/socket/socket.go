// Package socket opens unix sockets that programs of this machine connect to:
// with the right mode from their first moment, in the place of what a dead
// process left there, and never in the place of a living one's. It has no
// goroutines. Begin reading at Listen.
package socket

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

// Listen opens the socket at path with a mode. What a dead process left there is
// replaced; a socket that somebody answers on, or a file that is no socket, is an
// error. On a full disk the socket is made when there is room. Closing the
// listener removes the socket. what is its name in errors, key the setting that
// says where it is.
func Listen(path string, mode fs.FileMode, what, key string) (net.Listener, error) {
	return ListenGroup(path, mode, -1, what, key)
}

// ListenGroup is Listen for a socket that belongs to a group, by its number; -1: to
// ours.
func ListenGroup(path string, mode fs.FileMode, group int, what, key string) (net.Listener, error) {
	rights := rights{mode, group}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of %s, %s, has %d octets, and a unix socket can have %d: choose a shorter %s", what, path, len(path), maxSocketPath, key)
	}
	if err := clear(path, what, key); err != nil {
		return nil, err
	}
	l, err := listenPrivate(path, rights)
	if full(err) {
		return newLate(path, rights), nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", what, path, reason(err))
	}
	return l, nil
}

// clear removes what a dead process left at path.
func clear(path, what, key string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", what, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way: %s of dawk belongs there, and this is not a socket; move it away", path, what)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another process answers on %s: dawk is already running with this %s", path, keyWords(key))
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // only a refusal proves that nobody listens
		return fmt.Errorf("another process may be using %s %s: %w", what, path, reason(err))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the old socket %s: %w", path, err)
	}
	return nil
}

func keyWords(key string) string {
	if key == "data_dir" {
		return "data directory"
	}
	return key
}

// rights are those of a socket.
type rights struct {
	mode  fs.FileMode
	group int // -1: our own
}

func (r rights) give(path string) error {
	if r.group >= 0 { // before the mode: the group would have it otherwise for an instant
		if err := os.Chown(path, -1, r.group); err != nil {
			return err
		}
	}
	return os.Chmod(path, r.mode)
}

// listenPrivate makes the socket in a directory of its own that nobody else
// can enter, and moves it into place once its mode is right: between bind and
// chmod the mode is whatever the umask left.
func listenPrivate(path string, rights rights) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s") // mode 0700
	if err != nil && !full(err) {
		return nil, err
	}
	temp := path // a full disk or a long path leaves no room for the detour: the umask and the directory's own mode must do for an instant
	if err == nil {
		defer os.RemoveAll(dir)
		if inside := filepath.Join(dir, "s"); len(inside) <= maxSocketPath {
			temp = inside
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = rights.give(temp)
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

// Keep leaves the socket where it is when l, which Listen or Adopt has given, is
// closed: another process has it too.
func Keep(l net.Listener) {
	switch l := l.(type) {
	case *listener:
		l.once.Do(func() {})
	case *net.UnixListener:
		l.SetUnlinkOnClose(false)
	}
}

// Adopt is a listener that another process has opened at path.
func Adopt(l *net.UnixListener, path string) net.Listener {
	l.SetUnlinkOnClose(false)
	return &listener{UnixListener: l, path: path}
}

func (l *listener) Close() error {
	l.once.Do(func() { os.Remove(l.path) })
	return l.UnixListener.Close()
}

// late is a listener whose socket found no room: Accept makes it when there is.
type late struct {
	path   string
	rights rights

	mu     sync.Mutex
	l      net.Listener // nil: not yet
	closed chan struct{}
}

func newLate(path string, rights rights) *late {
	return &late{path: path, rights: rights, closed: make(chan struct{})}
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Accept implements net.Listener.
func (l *late) Accept() (net.Conn, error) {
	for {
		inner, err := l.open()
		switch {
		case err == nil:
			return inner.Accept()
		case !full(err):
			return nil, err
		}
		select {
		case <-time.After(time.Second):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

func (l *late) open() (net.Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	if l.l == nil {
		made, err := listenPrivate(l.path, l.rights)
		if err != nil {
			return nil, err
		}
		l.l = made
	}
	return l.l, nil
}

// Close implements net.Listener.
func (l *late) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return net.ErrClosed
	default:
		close(l.closed)
	}
	if l.l != nil {
		return l.l.Close()
	}
	return nil
}

// Addr implements net.Listener.
func (l *late) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// reason is the cause inside a network error, whose outer words only repeat
// the path.
func reason(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
