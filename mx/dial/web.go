package dial

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"dawk/mx/dns"
	"dawk/relay"
)

// Web reaches HTTPS hosts that strangers name: those of MTA-STS policies and
// of TLS reports.
type Web struct {
	Addrs     addrLookup
	Addresses AddressPolicy
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	TLS       *tls.Config
	Ip        string
}

type addrLookup interface {
	LookupAddrs(ctx context.Context, host, ip string) (dns.Answer[netip.Addr], error)
}

// webAddrs is how many addresses of a host are tried.
const webAddrs = 4

// webDialTime is the limit for one address, so a dead one does not use up all the time of a
// request.
const webDialTime = 2500 * time.Millisecond

// Client is for one request: it follows no redirect and keeps no connection.
func (w *Web) Client(maxHeader int64) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: w.dialHost, TLSClientConfig: w.TLS.Clone(), DisableKeepAlives: true,
			MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// dialHost connects to a host whose name strangers control, so each
// address is looked at before it is dialled.
func (w *Web) dialHost(ctx context.Context, network, hostport string) (net.Conn, error) {
	host, p, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return nil, err
	}
	addrs, err := w.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		if i == webAddrs {
			break
		}
		to := netip.AddrPortFrom(a.Unmap(), uint16(port))
		if err = w.Addresses.Check(to); err != nil {
			continue
		}
		// Each address gets its share, so that a dead one does not use up all.
		one, cancel := context.WithTimeout(ctx, webDialTime)
		var nc net.Conn
		nc, err = w.Dial(one, network, to.String())
		cancel()
		if err == nil {
			return nc, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("%s has no address", host)
	}
	return nil, err
}

// lookup is the addresses of a host, which may be an address itself.
func (w *Web) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		return []netip.Addr{a}, nil
	}
	if host == "localhost" { // RFC 6761 §6.3: never asked of DNS
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	if _, err := relay.NormalizeDomain(host); err != nil {
		return nil, err
	}
	answer, err := w.Addrs.LookupAddrs(ctx, host, w.Ip)
	return answer.Records, err
}

const (
	postTime      = 30 * time.Second // a report as a whole
	maxPostAnswer = 64 << 10         // octets
)

// Post sends a compressed TLS report to the https address that a domain publishes for it (RFC 8460
// §3). Only port 443 is used, only addresses to which mail by MX is allowed, and the certificate
// must be valid for the host.
func (w *Web) Post(ctx context.Context, to string, packed []byte) error {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "https" || u.Port() != "" && u.Port() != "443" {
		return fmt.Errorf("%q is not an https address on port 443", relay.Sanitize(to))
	}
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	client := w.Client(maxPostAnswer)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("post a report: %w", err)
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip") // RFC 8460 §6.4
	req.Header.Set("User-Agent", "dawk")
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("post a report: %w", err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxPostAnswer)) //nolint:errcheck // the status has come
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("post a report: the host answers %d", resp.StatusCode)
	}
	return nil
}
