package dns

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// serverCheck is how often resolv.conf is looked at.
const serverCheck = 5 * time.Second

// servers are the DNS servers to ask: those of the configuration, or those of
// resolv.conf, which changes under a relay that runs for months.
type servers struct {
	file string // "" with servers from the configuration
	log  *slog.Logger

	mu      sync.Mutex
	list    []string // "host:port"
	trusted bool     // all on loopback
	changed time.Time
	looked  time.Time
}

func newServers(fixed []string, file string, log *slog.Logger) (*servers, error) {
	s := &servers{log: log}
	if len(fixed) > 0 {
		return s, s.set(fixed)
	}
	s.file = file
	list, err := s.system()
	if err != nil {
		return nil, fmt.Errorf("dns.servers is not set, and %w", err)
	}
	s.looked = time.Now()
	if fi, err := os.Stat(file); err == nil {
		s.changed = fi.ModTime()
	}
	return s, s.set(list)
}

// system are the servers of the file. A line without a valid address is skipped and logged: the
// resolver of the system ignores it, too.
func (s *servers) system() (good []string, err error) {
	list, err := systemServers(s.file)
	for _, each := range list {
		if _, bad := serverAddr(each); bad != nil {
			s.log.Warn("a name server is skipped: write its IP address alone", "file", s.file, "nameserver", fmt.Sprintf("%.80q", each))
			continue
		}
		good = append(good, each)
	}
	if err == nil && len(good) == 0 {
		good = []string{fallbackDNS}
	}
	return good, err
}

func (s *servers) set(list []string) error {
	var addrs []string
	trusted := true
	for _, each := range list {
		addr, err := serverAddr(each)
		if err != nil {
			return err
		}
		addrs = append(addrs, addr)
		a, err := netip.ParseAddrPort(addr)
		trusted = trusted && err == nil && a.Addr().IsLoopback()
	}
	s.list, s.trusted = addrs, trusted
	return nil
}

// get is the current list. If resolv.conf cannot be read, the old list stays.
func (s *servers) get() (list []string, trusted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.file != "" && now.Sub(s.looked) >= serverCheck {
		s.looked = now
		if fi, err := os.Stat(s.file); err == nil && !fi.ModTime().Equal(s.changed) {
			if fresh, err := s.system(); err == nil {
				s.changed = fi.ModTime()
				s.set(fresh) //nolint:errcheck // looked at
			}
		}
	}
	return slices.Clone(s.list), s.trusted
}

func serverAddr(s string) (string, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return net.JoinHostPort(a.String(), "53"), nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || port == "" {
		return "", fmt.Errorf("dns.servers: %q: write an IP address, or host:port", s)
	}
	return s, nil
}
