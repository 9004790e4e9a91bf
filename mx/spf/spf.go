// Package spf says what the SPF record of a domain says of an address (RFC 7208).
// The library that evaluates records asks our resolver. It is without state;
// begin reading at Check.
package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"blitiri.com.ar/go/spf"

	"dawk/mx/dns"
	"dawk/relay"
)

// Result is what a record says (RFC 7208 §2.6).
type Result = spf.Result

const (
	None      = spf.None
	Pass      = spf.Pass
	PermError = spf.PermError
	TempError = spf.TempError
)

// Check is what the record of domain says of mail from addr by a host that calls
// itself helo. The sender is the one that RFC 7208 §4.3 names where no mail gives
// another. Of an error, Words says what is wrong.
func Check(ctx context.Context, r Resolver, helo, domain string, addr netip.Addr) (Result, error) {
	return spf.CheckHostWithSender(addr.AsSlice(), helo, "postmaster@"+domain, spf.WithContext(ctx), spf.WithResolver(resolver{r}))
}

// Words is an error of the library in our words, where its own are for
// programmers.
func Words(err error) string {
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		return d.Err
	}
	for _, f := range []struct {
		err   error
		words string
	}{
		{spf.ErrNoResult, "a domain that it names has none"},
		{spf.ErrMultipleRecords, "there is more than one"},
		{spf.ErrLookupLimitReached, "it needs more than 10 lookups"},
		{spf.ErrVoidLookupLimitReached, "more than 2 of its lookups find nothing"},
		{spf.ErrUnknownField, "it holds an unknown term"},
		{spf.ErrInvalidIP, "ip4 or ip6 without an address"},
		{spf.ErrInvalidMask, "a network of a wrong size"},
	} {
		if errors.Is(err, f.err) {
			return f.words
		}
	}
	return relay.Sanitize(err.Error())
}

// Resolver is what of the resolver SPF needs.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) (dns.Answer[string], error)
	LookupAddrs(ctx context.Context, host, ip string) (dns.Answer[netip.Addr], error)
	LookupMX(ctx context.Context, domain string) (dns.Answer[dns.MX], error)
	LookupPTR(ctx context.Context, addr netip.Addr) (dns.Answer[string], error)
}

// resolver is our resolver as the library asks it.
type resolver struct{ r Resolver }

func (d resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := d.r.LookupTXT(ctx, name)
	return a.Records, dnsError(err)
}

func (d resolver) LookupMX(ctx context.Context, name string) (all []*net.MX, _ error) {
	a, err := d.r.LookupMX(ctx, name)
	for _, m := range a.Records {
		all = append(all, &net.MX{Host: m.Host})
	}
	return all, dnsError(err)
}

func (d resolver) LookupIPAddr(ctx context.Context, host string) (all []net.IPAddr, _ error) {
	a, err := d.r.LookupAddrs(ctx, host, "both")
	for _, addr := range a.Records {
		all = append(all, net.IPAddr{IP: addr.Unmap().AsSlice()})
	}
	return all, dnsError(err)
}

func (d resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	a, err := d.r.LookupPTR(ctx, ip)
	return a.Records, dnsError(err)
}

// dnsError tells the library what it asks of an error: whether there is no
// record, or whether there may be one later.
func dnsError(err error) error {
	if err == nil {
		return nil
	}
	return &net.DNSError{Err: err.Error(), IsTemporary: dns.Temporary(err), IsNotFound: !dns.Temporary(err)}
}
