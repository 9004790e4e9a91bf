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
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"dawk/relay"
	"dawk/relay/socket"
)

// inherited are the sockets that were open before this program: systemd opened
// them (sd_listen_fds(3)), since it may open ports below 1024 for a process without
// rights, or the program before this one in the same process handed them over. They
// stay open while we restart, so that no client is ever refused.
type inherited struct {
	open []heir         // that nobody has asked for yet
	own  []net.Listener // that we have opened
	ours bool           // they are of the program before this one
}

// heir is an inherited socket. Its name is the address that the configuration had
// for it; "": nobody knows.
type heir struct {
	net.Listener
	name string
}

const (
	firstInherited = 3 // SD_LISTEN_FDS_START
	// handedOver names the sockets of the program before this one: a line of number,
	// space and address for each.
	handedOver = "DAWK_SOCKETS"
)

// inheritSockets takes the sockets over. The variables that speak of them are
// not left to our children.
func inheritSockets() (*inherited, error) {
	pid, count, ours := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv(handedOver)
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", handedOver} {
		_ = os.Unsetenv(name)
	}
	i := &inherited{ours: ours != ""}
	for line := range strings.Lines(ours) {
		number, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		fd, err := strconv.Atoi(number)
		if err == nil {
			err = i.take(fd, name)
		}
		if err != nil {
			i.Close()
			return nil, fmt.Errorf("the socket of %s that was handed over: %w", relay.Clip(name), err)
		}
	}
	if pid != strconv.Itoa(os.Getpid()) { // meant for a parent of ours
		return i, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1000 {
		return nil, fmt.Errorf("LISTEN_FDS=%q: not a number of sockets", relay.Clip(count))
	}
	for fd := firstInherited; fd < firstInherited+n; fd++ {
		if err := i.take(fd, ""); err != nil {
			i.Close()
			return nil, fmt.Errorf("inherited socket %d does not listen: give dawk stream sockets only (ListenStream=, Accept=no): %w", fd, err)
		}
	}
	return i, nil
}

func (i *inherited) take(fd int, name string) error {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "inherited socket "+strconv.Itoa(fd))
	ln, err := net.FileListener(f)
	_ = f.Close() // ln has its own
	if err != nil {
		return err
	}
	i.open = append(i.open, heir{ln, name})
	return nil
}

// listen gives the inherited socket of that address, or opens one. A socket of our
// own may be in its way, that of another address with the same port: no configuration
// has both, so that one is about to close.
func (i *inherited) listen(network, address string) (net.Listener, error) {
	k := slices.IndexFunc(i.open, func(h heir) bool {
		return h.name == address || h.name == "" && sameAddress(h.Addr(), network, address)
	})
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
	ln := i.open[k].Listener
	if u, ok := ln.(*net.UnixListener); ok && i.ours {
		ln = socket.Adopt(u, address)
	}
	i.open = slices.Delete(i.open, k, k+1)
	i.own = append(i.own, ln)
	return ln, nil
}

// has gives the socket that was handed over under a name; nil: none was.
func (i *inherited) has(name string) net.Listener {
	if !slices.ContainsFunc(i.open, func(h heir) bool { return h.name == name }) {
		return nil
	}
	ln, _ := i.listen("unix", name)
	return ln
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
	if i.ours { // the configuration has changed since
		i.Close()
		return nil
	}
	for _, ln := range i.open {
		errs = append(errs, fmt.Errorf("systemd opened %s for dawk, but no [[listener]] has that address", ln.Addr()))
	}
	return errors.Join(errs...)
}

func (i *inherited) Close() {
	for _, ln := range i.open {
		_ = ln.Close()
	}
	i.open = nil
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
