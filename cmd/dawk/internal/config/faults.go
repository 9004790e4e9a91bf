package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dawk/relay"
)

// report places a fault that the owner of a section found at the key that it
// names, in the section at.
func (c *Config) report(at string, f relay.Fault) {
	if f.Key != "" {
		at += "." + f.Key
	}
	if c.doc.Clean(at) { // else more than this has been said of it
		c.doc.Fault(at, "%s", f.Error())
	}
}

func (c *Config) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.doc.Fault(path, "%s = %q is unknown; it is one of %s", keyName(path), relay.Clip(value), quoteList(allowed))
	}
}

func (c *Config) atLeast(path string, value, least int) {
	if value < least && c.doc.Clean(path) {
		c.doc.Fault(path, "%s is %d; it must be at least %d", keyName(path), value, least)
	}
}

func (c *Config) positive(path string, d relay.Duration) {
	if d <= 0 && c.doc.Clean(path) {
		name, _, _ := strings.Cut(path, "[")
		c.doc.Fault(path, "%s must be longer than 0", name)
	}
}

// keyName is path as the documents write it: the line says which of several
// sections is meant.
func keyName(path string) string {
	section, key, _ := strings.Cut(path, "[")
	_, key, _ = strings.Cut(key, "]")
	return section + key
}

func quoteList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}

// claim reports an address that an earlier key has taken. 0.0.0.0 and [::]
// take their port on every address.
func (c *Config) claim(taken map[string]string, at, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	a, _ := netip.ParseAddr(host)
	for other, where := range taken {
		h, p, _ := net.SplitHostPort(other)
		b, _ := netip.ParseAddr(h)
		wild := !a.IsValid() || !b.IsValid() || (a.IsUnspecified() || b.IsUnspecified()) && (a.Is4() == b.Is4() || a.Is6() && a.IsUnspecified() || b.Is6() && b.IsUnspecified())
		if p == port && (a == b || wild) {
			c.doc.Fault(at, "%s is taken already by %s in line %d: give one of them another address or port", address, keyOf(where), c.doc.Line(where))
			return
		}
	}
	taken[net.JoinHostPort(host, port)] = at
}

func keyOf(path string) string {
	if strings.HasPrefix(path, "listener") {
		return "the listener"
	}
	return path
}
