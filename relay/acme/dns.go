package acme

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/libdns/cloudflare"
	"github.com/libdns/libdns"
	"github.com/libdns/rfc2136"
	"golang.org/x/net/publicsuffix"

	"dawk/relay"
)

// Provider changes records of a zone. It is what the providers of libdns have.
type Provider interface {
	libdns.RecordAppender
	libdns.RecordDeleter
}

// Providers are the names of those that NewProvider knows.
var Providers = []string{"cloudflare", "rfc2136"}

// NewProvider is the provider of that name with its credentials: a token, or a JSON
// object with the provider's own keys. The error never holds them.
func NewProvider(name, secret string) (Provider, error) {
	object := strings.HasPrefix(secret, "{")
	var p Provider
	switch {
	case name == "cloudflare" && !object:
		return &cloudflare.Provider{APIToken: secret}, nil
	case name == "cloudflare":
		p = &cloudflare.Provider{}
	case name == "rfc2136" && !object:
		return nil, fmt.Errorf(`rfc2136 needs a JSON object: {"server": "192.0.2.53:53", "key_name": "…", "key_alg": "hmac-sha256", "key": "…"}`)
	case name == "rfc2136":
		p = &rfc2136.Provider{}
	default:
		return nil, fmt.Errorf("the DNS provider %q is unknown; it is one of %s", relay.Clip(name), strings.Join(Providers, ", "))
	}
	if json.Unmarshal([]byte(secret), p) != nil {
		return nil, fmt.Errorf("the credentials for %s are no JSON object with its keys", name)
	}
	return p, nil
}

// settleTime is how long a record has to reach the servers of a zone before the
// authority looks.
const settleTime = 20 * time.Second

// publish puts the proof of name into its zone until close.
func (p *prover) publish(ctx context.Context, name, text string) error {
	name = "_acme-challenge." + strings.TrimPrefix(name, "*.")
	zone, err := zoneOf(ctx, p.resolver, name)
	if err != nil {
		return fmt.Errorf("zone of %s: %w", name, err)
	}
	record := libdns.TXT{Name: libdns.RelativeName(name, zone), TTL: time.Minute, Text: text}
	made, err := p.dns.AppendRecords(ctx, zone+".", []libdns.Record{record})
	if err != nil {
		return fmt.Errorf("add a TXT record to %s: %w", zone, err)
	}
	p.published = true
	p.closers = append(p.closers, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, _ = p.dns.DeleteRecords(ctx, zone+".", made) // a record too many does no harm
	})
	return nil
}

// zoneOf is the nearest domain above name that has name servers of its own, at most the
// one below the public suffix. That one it is, too, where DNS does not answer.
func zoneOf(ctx context.Context, resolver *net.Resolver, name string) (string, error) {
	top, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return "", err
	}
	for zone := name; zone != top; {
		_, zone, _ = strings.Cut(zone, ".")
		if servers, err := resolver.LookupNS(ctx, zone+"."); err == nil && len(servers) > 0 {
			return zone, nil
		}
	}
	return top, nil
}

// settle waits until what was published has reached the servers of the zone.
func (p *prover) settle(ctx context.Context) error {
	if !p.published {
		return nil
	}
	select {
	case <-time.After(settleTime):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
