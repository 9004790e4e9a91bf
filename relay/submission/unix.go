package submission

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"time"

	"dawk/relay/socket"
)

// listenUnix opens a unix socket with the mode given. If a process listens there already, it may be
// systemd, which passes us that socket; otherwise [socket.Listen] decides.
func listenUnix(listen func(network, address string) (net.Listener, error), path, mode string) (net.Listener, error) {
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		return nil, fmt.Errorf("socket_mode: %w", err)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return socket.Listen(path, fs.FileMode(bits), "the socket", "address")
	}
	_ = c.Close()
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
