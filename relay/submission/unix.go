package submission

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// listenUnix opens a unix socket with the mode given. What a dead process left
// at its path is replaced; what anybody answers on is not.
func listenUnix(listen func(network, address string) (net.Listener, error), path, mode string) (net.Listener, error) {
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		return nil, fmt.Errorf("socket_mode: %w", err)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, errors.New("something that is no socket is in the way")
		}
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			_ = c.Close()
		}
		if errors.Is(err, syscall.ECONNREFUSED) { // only a refusal proves that nobody listens
			_ = os.Remove(path)
		}
	}
	ln, err := listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, fs.FileMode(bits)); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}
