package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"dawk/relay"
)

// inherited are the sockets that systemd opened for us (sd_listen_fds(3)): it
// may open ports below 1024 for a process without rights, and keeps them open
// while we restart, so that no client is ever refused.
type inherited struct {
	open []net.Listener // that nobody has asked for yet
	own  []net.Listener // that we have opened
}

const firstInherited = 3 // SD_LISTEN_FDS_START

// inheritSockets takes the sockets over. The variables that speak of them are
// not left to our children.
func inheritSockets() (*inherited, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	i := &inherited{}
	if pid != strconv.Itoa(os.Getpid()) { // meant for a parent of ours
		return i, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1000 {
		return nil, fmt.Errorf("LISTEN_FDS=%q: not a number of sockets", relay.Clip(count))
	}
	for fd := firstInherited; fd < firstInherited+n; fd++ {
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "inherited socket "+strconv.Itoa(fd))
		ln, err := net.FileListener(f)
		_ = f.Close() // ln has its own
		if err != nil {
			i.Close()
			return nil, fmt.Errorf("inherited socket %d does not listen: give dawk stream sockets only (ListenStream=, Accept=no): %w", fd, err)
		}
		i.open = append(i.open, ln)
	}
	return i, nil
}

// listen gives the inherited socket of that address, or opens one. A socket of our
// own may be in its way, that of another address with the same port: no configuration
// has both, so that one is about to close.
func (i *inherited) listen(network, address string) (net.Listener, error) {
	k := slices.IndexFunc(i.open, func(ln net.Listener) bool { return sameAddress(ln.Addr(), network, address) })
	if k < 0 {
		// Go would take 0.0.0.0 for all addresses, those of IPv6 included.
		if ap, err := netip.ParseAddrPort(address); network == "tcp" && err == nil && ap.Addr().Is4() {
			network = "tcp4"
		}
		ln, err := net.Listen(network, address)
		if errors.Is(err, unix.EADDRINUSE) && i.share(address) {
			ln, err = (&net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return reusePort(c) }}).Listen(context.Background(), network, address)
		}
		if err == nil {
			i.own = append(i.own, ln)
		}
		return ln, err
	}
	ln := i.open[k]
	i.open = slices.Delete(i.open, k, k+1)
	i.own = append(i.own, ln)
	return ln, nil
}

// share lets another socket of ours have the port of an address, and says whether
// there is one that has it.
func (i *inherited) share(address string) (shared bool) {
	_, port, _ := net.SplitHostPort(address)
	i.own = slices.DeleteFunc(i.own, func(ln net.Listener) bool {
		t, ok := ln.(*net.TCPListener)
		if !ok {
			return true
		}
		c, err := t.SyscallConn()
		if _, p, _ := net.SplitHostPort(ln.Addr().String()); err == nil && p == port {
			err = reusePort(c)
			shared = shared || err == nil
		}
		return err != nil // it is closed
	})
	return shared
}

func reusePort(c syscall.RawConn) (err error) {
	if failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); failed != nil {
		return failed
	}
	return err
}

// rest is an error if a socket is left that nobody wanted: clients would
// connect to it and wait for ever.
func (i *inherited) rest() error {
	var errs []error
	for _, ln := range i.open {
		errs = append(errs, fmt.Errorf("systemd opened %s for dawk, but no [[listener]] has that address", ln.Addr()))
	}
	return errors.Join(errs...)
}

func (i *inherited) Close() {
	for _, ln := range i.open {
		_ = ln.Close()
	}
}

// sameAddress compares by meaning: "", 0.0.0.0 and [::] are all addresses.
func sameAddress(has net.Addr, network, address string) bool {
	if network == "unix" || has.Network() == "unix" {
		return has.Network() == network && has.String() == address
	}
	t, ok := has.(*net.TCPAddr)
	host, port, err := net.SplitHostPort(address)
	if !ok || err != nil || port != strconv.Itoa(t.Port) {
		return false
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	want, err := netip.ParseAddr(host)
	is := t.AddrPort().Addr().Unmap()
	return host == "" && is.IsUnspecified() || err == nil && (want.Unmap() == is || want.IsUnspecified() && is.IsUnspecified())
}
