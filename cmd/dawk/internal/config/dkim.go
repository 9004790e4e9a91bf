package config

import (
	"fmt"
	"strings"

	"dawk/mx"
	"dawk/relay"
	"dawk/relay/dkim"
)

// DKIMConfig is one [[dkim]].
type DKIMConfig struct {
	// the domain in From, exactly: subdomains have sections of their own
	// Default: required
	Domain string `toml:"domain"`
	// names the key in DNS: SELECTOR`._domainkey.`DOMAIN
	// Default: required
	Selector string `toml:"selector"`
	// PEM file of the private key, RSA or Ed25519 (PKCS #8, or PKCS #1 for RSA); readable by the relay's user alone
	// Default: required
	Key string `toml:"key"`
	// whose mail is signed: names of users, `*` for any characters, `"local:www-data"` for a user of this machine;
	// `"network:192.0.2.0/24"` for clients without a login whose address lies there. What the relay writes itself is
	// always signed
	// Default: everybody whose `senders` allow the From
	Identities []string `toml:"identities"`
}

func (k *DKIMConfig) key() dkim.Key {
	return dkim.Key{Domain: k.Domain, Selector: k.Selector, File: k.Key, Identities: k.Identities}
}

// checkDKIM looks at names; the key files are looked at with all others.
func (c *Config) checkDKIM() {
	taken := map[string]int{} // record name → index
	for i := range c.DKIM {
		at, k := fmt.Sprintf("dkim[%d]", i), &c.DKIM[i]
		for _, missing := range []struct{ key, value, example string }{
			{"domain", k.Domain, "example.org"}, {"selector", k.Selector, "2026a"}, {"key", k.Key, "dkim/2026a.pem"},
		} {
			if missing.value == "" && c.doc.Lacks(at, missing.key) {
				c.doc.Fault(at, "this [[dkim]] has no %s: write one like %[1]s = %q; `dawk dkim new` makes a key and all three lines", missing.key, missing.example)
			}
		}
		c.checkIdentities(at+".identities", k.Identities)
		norm, sound := c.checkDKIMName(at, k)
		if !sound {
			continue
		}
		if first, ok := taken[norm.RecordName()]; ok {
			c.doc.Fault(at+".selector", "the selector %s of %s is taken already in line %d: one record publishes one key", norm.Selector, norm.Domain, c.doc.Line(fmt.Sprintf("dkim[%d]", first)))
			continue
		}
		taken[norm.RecordName()] = i
	}
}

// checkIdentities looks at a list of who submitted a message.
func (c *Config) checkIdentities(key string, list []string) {
	for i, s := range list {
		if err := relay.CheckIdentityPattern(s); err != nil {
			c.doc.Fault(fmt.Sprintf("%s[%d]", key, i), "%v", err)
		}
	}
	if len(list) == 0 {
		c.emptyMeansAll(key)
	}
}

// emptyMeansAll refuses a list that is written and empty: nobody who writes one
// means everybody.
func (c *Config) emptyMeansAll(key string) {
	if c.doc.Has(key) && c.doc.Clean(key) {
		c.doc.Fault(key, "%s is an empty list: leave the key out to allow all", key[strings.LastIndexByte(key, '.')+1:])
	}
}

// checkDKIMName looks at domain and selector, each by itself.
func (c *Config) checkDKIMName(at string, k *DKIMConfig) (norm dkim.Key, sound bool) {
	sound = k.Domain != "" && k.Selector != ""
	for key, one := range map[string]dkim.Key{"domain": {Domain: k.Domain, Selector: "a"}, "selector": {Domain: "a", Selector: k.Selector}} {
		value := map[string]string{"domain": k.Domain, "selector": k.Selector}[key]
		if _, err := one.Normalize(); err != nil && value != "" {
			sound = false
			c.doc.Fault(at+"."+key, "%v", err)
		}
	}
	norm, err := k.key().Normalize()
	return norm, sound && err == nil
}

// checkTLSReports: receivers of reports drop those without a signature (RFC
// 8460 §5.3).
func (c *Config) checkTLSReports() {
	if !c.Delivery.TLSReports {
		return
	}
	if !c.Delivery.DANE && !c.Delivery.MTASTS {
		c.doc.Fault("delivery.tls_reports", "delivery.tls_reports has nothing to report without delivery.dane and delivery.mta_sts")
	}
	for i := range c.DKIM {
		if k, err := c.DKIM[i].key().Normalize(); err == nil && k.Domain == c.Hostname {
			return
		}
	}
	if c.Hostname != "" { // a client command: see LoadClient
		c.doc.Fault("delivery.tls_reports", "delivery.tls_reports needs a [[dkim]] section for %s: reports come from there, and unsigned ones are dropped (RFC 8460)", c.Hostname)
	}
}

func (c *Config) checkDKIMFiles() {
	for i := range c.DKIM {
		at := fmt.Sprintf("dkim[%d]", i)
		if c.DKIM[i].Key == "" {
			continue // told already
		}
		if _, err := dkim.LoadKey(c.DKIM[i].Key); err != nil {
			c.doc.Fault(at+".key", "key: %v", err)
		}
	}
}

// DKIMKeys are the keys of a checked configuration.
func (c *Config) DKIMKeys() []dkim.Key {
	keys := make([]dkim.Key, len(c.DKIM))
	for i := range c.DKIM {
		keys[i] = c.DKIM[i].key()
	}
	return keys
}

// Unsigned says whether a destination takes its mail unsigned: Microsoft 365
// and Gmail change what passes through and sign it themselves, so that our
// signature would arrive broken.
func (c *Config) Unsigned(destination string) bool {
	name, ok := strings.CutPrefix(destination, mx.RoutePrefix)
	if !ok {
		return false
	}
	for i := range c.Routes {
		if r := &c.Routes[i]; r.RouteName() == name {
			if r.DKIM != nil {
				return !*r.DKIM
			}
			return r.Type == "microsoft365" || r.Type == "gmail"
		}
	}
	return false
}
