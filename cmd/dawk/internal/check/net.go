package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/mx"
	"dawk/mx/dns"
	"dawk/relay"
)

// Domains with MX hosts that answer from everywhere, to find out whether
// port 25 is open outward.
var wellKnownDomains = []string{"gmail.com", "outlook.com", "yahoo.com"}

// dns asks each server by itself something that only the world can answer.
func (c *checker) dns(ctx context.Context) []Finding {
	cfg := c.cfg.ResolverConfig()
	all := dns.Config{Servers: cfg.Servers}
	r, err := dns.NewResolver(all)
	if err != nil {
		return []Finding{bad("dns", "set [dns] servers", "no DNS servers: %v", err)}
	}
	servers := r.Servers()
	found := make([]Finding, 0, len(servers))
	answers := 0
	for _, server := range servers {
		one, err := dns.NewResolver(dns.Config{Servers: []string{server}, Rounds: 1})
		if err == nil {
			_, err = one.LookupMX(ctx, wellKnownDomains[0])
		}
		if dns.Temporary(err) { // "no such name" is an answer, too
			found = append(found, warn("dns", "correct [dns] servers, or /etc/resolv.conf", "server %s gives no answer: %v", server, err))
			continue
		}
		answers++
		found = append(found, good("dns", "server %s answers", server))
	}
	if answers == 0 {
		for i := range found {
			found[i].Level = LevelError
		}
	}
	return found
}

// byMX says whether any mail goes to the receivers' MX hosts.
func (c *checker) byMX() bool {
	for _, r := range c.cfg.Routes {
		if slices.Contains(r.To, "*") && len(r.From) == 0 && len(r.Identity) == 0 && len(r.Via) > 0 {
			return false
		}
	}
	return true
}

// noticesByMX says whether bounces and notices go to MX hosts first, as far as is
// known without asking smart hosts.
func (c *checker) noticesByMX() bool {
	to := c.cfg.PostmasterPath()
	if to.IsNull() {
		to, _ = relay.ParsePath("postmaster@example.com") // stands for every sender
	}
	cfg, err := c.cfg.MXConfig(slog.New(slog.DiscardHandler))
	if err != nil {
		return false // told by route
	}
	if cfg.Resolver, err = dns.NewResolver(c.cfg.ResolverConfig()); err != nil {
		return false // told by dns
	}
	t, err := mx.NewTransport(cfg)
	if err != nil {
		return false // told by route
	}
	defer t.Close()
	route, _, _ := t.NoticeWay(to)
	return route == ""
}

// name looks whether our hostname, its addresses and their names agree
// (RFC 1912 §2.1): receivers of direct mail insist on it.
func (c *checker) name(ctx context.Context) []Finding {
	host := c.cfg.Hostname
	if !strings.Contains(host, ".") {
		return []Finding{warn("hostname", `set hostname = "relay.example.org" to this machine's full name in DNS`, "%q is not a full name; receivers refuse mail from such a host", host)}
	}
	r, err := dns.NewResolver(c.cfg.ResolverConfig())
	if err != nil {
		return nil // told by dns
	}
	addrs, err := r.LookupAddrs(ctx, host, "both")
	switch {
	case dns.Temporary(err):
		return []Finding{warn("hostname", "try again when DNS answers", "the address of %s could not be tested: %v", host, err)}
	case err != nil:
		return []Finding{c.nameTrouble("add an A or AAAA record for it, or correct hostname", "%s has no address in DNS", host)}
	}
	var all []Finding
	for _, a := range addrs.Records {
		if why := unroutable(a); why != "" {
			all = append(all, c.nameTrouble("the record should hold the address that receivers see", "%s has the address %s, which is %s", host, a, why))
			continue
		}
		ptr, err := r.LookupPTR(ctx, a)
		switch {
		case dns.Temporary(err):
			all = append(all, warn("hostname", "try again when DNS answers", "the name of %s could not be tested: %v", a, err))
		case err != nil:
			all = append(all, c.nameTrouble("ask whoever gives you the address to set its PTR record to "+host, "%s (of %s) has no name (PTR)", a, host))
		case !slices.ContainsFunc(ptr.Records, func(n string) bool { return sameName(n, host) }):
			all = append(all, c.nameTrouble("ask whoever gives you the address to set its PTR record to "+host, "%s (of %s) is called %s (PTR)", a, host, names(ptr.Records)))
		default:
			all = append(all, good("hostname", "%s is %s, and %[2]s is %[1]s", host, a))
		}
	}
	return all
}

// nameTrouble matters to receivers of direct mail; a smart host has a name of
// its own. It is a warning in both cases: behind NAT we cannot know what
// receivers see.
func (c *checker) nameTrouble(advice, format string, args ...any) Finding {
	f := warn("hostname", advice, format, args...)
	if c.byMX() {
		f.Message += "; many receivers refuse mail from such a host"
	}
	return f
}

// sameName compares names of DNS, with or without the dot at the end.
func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

func unroutable(a netip.Addr) string {
	switch a = a.Unmap(); {
	case a.IsLoopback():
		return "this machine itself"
	case a.IsPrivate():
		return "private"
	case a.IsLinkLocalUnicast():
		return "link-local"
	}
	return ""
}

// port25 tries to reach well-known MX hosts: providers of machines and of
// access close the port more often than not.
func (c *checker) port25(ctx context.Context) []Finding {
	port := strconv.Itoa(c.cfg.Delivery.Port)
	check := "port " + port
	notices := false // only they need it
	if !c.byMX() {
		if notices = c.noticesByMX(); !notices {
			return []Finding{good(check, "not needed: all mail goes by routes")}
		}
	}
	r, err := dns.NewResolver(c.cfg.ResolverConfig())
	if err != nil {
		return nil // told by dns
	}
	var last error
	for _, domain := range wellKnownDomains {
		host, addr, err := c.anyMX(ctx, r, domain)
		if err != nil {
			if last == nil {
				last = err
			}
			continue
		}
		err = greeted(ctx, net.JoinHostPort(addr.String(), port))
		if err == nil {
			return []Finding{good(check, "open outward: %s greets", host)}
		}
		last = &unreachable{host, err}
	}
	var closed *unreachable
	if errors.As(last, &closed) && notices {
		return []Finding{warn(check, "set [bounce] notice_route to a route whose smart host takes mail without a sender, or ask your provider to open port 25 outward",
			"closed outward: %v; all other mail goes by routes, but bounces and notices go by MX", last)}
	}
	if errors.As(last, &closed) {
		return []Finding{bad(check, "ask your provider to open port 25 outward, or send through a smart host ([[route]] to = [\"*\"], via = …)", "closed outward: %v", last)}
	}
	return []Finding{warn(check, "see the lines about dns; `dawk check` needs to look up an MX host", "could not be tested: %v", last)}
}

type unreachable struct {
	host string
	err  error
}

func (u *unreachable) Error() string { return fmt.Sprintf("%s does not answer: %v", u.host, u.err) }

func (c *checker) anyMX(ctx context.Context, r *dns.Resolver, domain string) (string, netip.Addr, error) {
	hosts, err := r.LookupMX(ctx, domain)
	if err != nil {
		return "", netip.Addr{}, err
	}
	for _, h := range hosts.Records {
		var addrs dns.Answer[netip.Addr]
		if addrs, err = r.LookupAddrs(ctx, h.Host, c.cfg.Delivery.IP); err == nil {
			for _, a := range addrs.Records {
				if a.Is4() { // many machines have IPv6 addresses that lead nowhere
					return h.Host, a, nil
				}
			}
			return h.Host, addrs.Records[0], nil
		}
	}
	return "", netip.Addr{}, err
}

const greetTime = 5 * time.Second

// greeted connects and waits for the first octets: some providers take the
// connection and then say nothing.
func greeted(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Timeout() {
			return fmt.Errorf("nothing came back within %v", greetTime)
		}
		return err
	}
	defer nc.Close()
	if end, ok := ctx.Deadline(); ok {
		nc.SetDeadline(end)
	}
	buf := make([]byte, 4)
	if _, err := nc.Read(buf); err != nil {
		return fmt.Errorf("it took the connection and then said nothing: %w", err)
	}
	fmt.Fprint(nc, "QUIT\r\n")
	return nil
}
