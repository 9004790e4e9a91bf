// Package config reads the configuration file: every section with its defaults,
// checks and meaning, and all faults at once with their places. It gives each
// package below its own small Config. It has no goroutines. Begin reading at Load.
package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dawk/bounce"
	"dawk/mx/oauth"
	"dawk/relay"
	"dawk/relay/suppression"
	"dawk/relay/tomlfile"
)

// Config is the configuration file: every key, its default in newConfig and
// in the SetDefaults of repeated sections, its meaning in
// docs/configuration.md. A key tagged `later` belongs to a feature that this
// version does not have; it is refused rather than ignored.
type Config struct {
	// our name in EHLO, Received, Message-ID and bounces. Its address and the PTR of that address should agree
	// Default: the machine's full name
	Hostname string `toml:"hostname"`
	// the queue and the command socket; made with mode 0700 if missing. Belongs to the relay's user alone
	DataDir string `toml:"data_dir"`
	// mailbox that is told of bounces which cannot be delivered themselves. Without it they are logged, counted and
	// dropped
	// Default: none
	Postmaster string `toml:"postmaster"`

	Listeners   []ListenerConfig  `toml:"listener"`
	TLS         TLSConfig         `toml:"tls"`
	Users       UsersConfig       `toml:"users"`
	Limits      LimitsConfig      `toml:"limits"`
	Queue       QueueConfig       `toml:"queue"`
	Cluster     ClusterConfig     `toml:"cluster"`
	DNS         DNSConfig         `toml:"dns"`
	Delivery    DeliveryConfig    `toml:"delivery"`
	Sources     []SourceConfig    `toml:"source"`
	Routes      []RouteConfig     `toml:"route"`
	DKIM        []DKIMConfig      `toml:"dkim"`
	Providers   []ProviderConfig  `toml:"provider"`
	Bounce      BounceConfig      `toml:"bounce"`
	History     HistoryConfig     `toml:"history"`
	Suppression SuppressionConfig `toml:"suppression"`
	Webhooks    []WebhookConfig   `toml:"webhook"`
	Outbox      OutboxConfig      `toml:"outbox"`
	ReturnPath  ReturnPathConfig  `toml:"return_path"`
	HTTP        HTTPConfig        `toml:"http"`
	Admin       AdminConfig       `toml:"admin"`
	Sendmail    SendmailConfig    `toml:"sendmail"`
	Check       CheckConfig       `toml:"check"`
	Log         LogConfig         `toml:"log"`

	read      [sha256.Size]byte  // the hash of the file, as it was read
	empty     bool               // nothing is in the file
	cut       bool               // its last line has no end
	file, dir string             // where it was read; "" for the built-in defaults
	doc       *tomlfile.Document // nil for the built-in defaults
	secrets   secrets
	languages *bounce.Languages // of notices
}

// newConfig is a Config that holds every default of a configuration file.
func newConfig() *Config {
	return &Config{
		DataDir:     "/var/lib/dawk",
		Users:       newUsersConfig(),
		Limits:      newLimitsConfig(),
		Queue:       newQueueConfig(),
		Delivery:    newDeliveryConfig(),
		Bounce:      newBounceConfig(),
		History:     newHistoryConfig(),
		Suppression: SuppressionConfig{After: 2, Expires: relay.Duration(suppression.DefaultExpires), Scope: suppression.ScopeIdentity, Answer: suppression.AnswerBounce},
		Outbox:      newOutboxConfig(),
		ReturnPath:  ReturnPathConfig{Valid: relay.Duration(30 * 24 * time.Hour)},
		Sendmail:    defaultSendmail(),
		HTTP:        newHTTPConfig(),
		Admin:       newAdminConfig(),
		Check:       newCheckConfig(),
		Log:         newLogConfig(),
	}
}

// Builtin is what runs without a configuration file: loopback only, and everything
// in ./dawk-data. It leaves our hostname out, which may need DNS.
func Builtin() *Config {
	c := newConfig()
	c.dir = "."
	c.DataDir = "dawk-data"
	c.Listeners = []ListenerConfig{localListener()}
	c.complete()
	return c
}

// DefaultFile is read when -c names no other and it exists.
const DefaultFile = "/etc/dawk/dawk.toml"

// maxConfigSize bounds what is read as a configuration, in octets.
const maxConfigSize = 1 << 20

// Load reads and checks a configuration file. "" stands for
// DefaultFile if that exists, else for Default.
//
// Its error is a *tomlfile.Error with everything that is wrong, the files that
// the configuration names included, each with line and column; or a plain
// error when the file cannot be read.
func Load(path string) (*Config, error) {
	c, err := Read(path)
	if err != nil {
		return nil, err
	}
	if c.Hostname == "" {
		c.Hostname = MachineName()
	}
	if c.doc == nil {
		return c, nil
	}
	c.check()
	c.checkFiles()
	return c, c.doc.Err()
}

// LoadClient is Load for commands that only look for a running
// relay: it does not open the files that the configuration names, which their
// user may not be allowed to read, and it asks no DNS for our hostname.
func LoadClient(path string) (*Config, error) {
	c, err := Read(path)
	if err != nil || c.doc == nil {
		return c, err
	}
	c.check()
	return c, c.doc.Err()
}

// Read reads the file into a Config; unless the syntax is wrong, faults
// wait in c.doc.
func Read(path string) (*Config, error) {
	if path == "" {
		if _, err := os.Stat(DefaultFile); errors.Is(err, fs.ErrNotExist) {
			return Builtin(), nil
		}
		path = DefaultFile
	}
	data, err := readBounded(path, maxConfigSize)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	return parseConfig(path, data)
}

// parseConfig decodes a file. Relative paths in it count from its directory. After a syntax error
// the Config has what stands above it, if data_dir does; else it is nil.
func parseConfig(path string, data []byte) (*Config, error) {
	c := newConfig()
	doc, err := tomlfile.Parse(path, data, c)
	if err != nil && !doc.Has("data_dir") {
		return nil, err
	}
	c.doc, c.file, c.dir, c.read = doc, path, filepath.Dir(path), sha256.Sum256(data)
	c.empty, c.cut = len(bytes.TrimSpace(data)) == 0, !bytes.HasSuffix(data, []byte("\n"))
	if len(c.Listeners) == 0 && !doc.Has("listener") {
		c.Listeners = []ListenerConfig{localListener()}
	}
	c.complete()
	return c, err
}

// complete puts the hostname into A-labels and makes paths whole.
func (c *Config) complete() {
	if h, err := relay.NormalizeDomain(c.Hostname); err == nil {
		c.Hostname = h // A-labels
	}
	paths := []*string{&c.Queue.DSNFile, &c.Admin.Operators, &c.Admin.Socket, &c.Sendmail.Socket, &c.Sendmail.Drop, &c.Sendmail.Aliases, &c.DataDir, &c.TLS.Certificate, &c.TLS.Key, &c.TLS.ACMEDNSSecretFile, &c.Users.File, &c.Delivery.CAFile, &c.Bounce.Templates}
	for i := range c.Routes {
		r := &c.Routes[i]
		r.complete()
		paths = append(paths, &r.PasswordFile, &r.ClientSecretFile, &r.RefreshTokenFile, &r.ServiceAccountFile, &r.ClientCertificate, &r.ClientKey)
	}
	for i := range c.Listeners {
		paths = append(paths, &c.Listeners[i].ClientCA)
	}
	for i := range c.Webhooks {
		paths = append(paths, &c.Webhooks[i].SecretFile)
	}
	for i := range c.DKIM {
		paths = append(paths, &c.DKIM[i].Key)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) && !strings.HasPrefix(*p, oauth.EnvPrefix) {
			*p = filepath.Join(c.dir, *p)
		}
	}
}

// check finds every value and every combination that cannot be meant. The
// rules that concern one package are that package's Validate; what is added
// here is the place of the key in the file.
func (c *Config) check() {
	c.checkNames()
	c.checkListeners()
	c.checkTLS()
	c.checkLimits()
	c.checkQueue()
	c.checkStore()
	c.checkDNS()
	c.checkDelivery()
	c.checkProviders()
	c.checkSources()
	c.checkRoutes()
	c.checkDKIM()
	c.checkTLSReports()
	c.checkBounce()
	c.checkHistory()
	c.checkSuppression()
	c.checkWebhooks()
	c.checkReturnPath()
	c.checkHTTP()
	c.checkAdmin()
	c.checkSendmail()
	c.checkLog()
	c.checkCheck()
}

func (c *Config) checkNames() {
	name, err := relay.NormalizeDomain(c.Hostname)
	switch {
	case c.Hostname == "" && !c.doc.Has("hostname"): // a client command: see LoadClient
	case err != nil || strings.HasPrefix(name, "["):
		c.doc.Fault("hostname", "hostname %q is not a host name: write it like \"relay.example.org\"", relay.Clip(c.Hostname))
	case strings.Trim(name, "0123456789.") == "":
		c.doc.Fault("hostname", "hostname %q is an address; it must be a name, like \"relay.example.org\"", name)
	}
	if c.Postmaster != "" {
		if _, err := relay.ParsePath(c.Postmaster); err != nil {
			c.doc.Fault("postmaster", "postmaster: %v: write it like \"postmaster@example.org\"", err)
		}
	}
	if c.DataDir == "" {
		c.doc.Fault("data_dir", "data_dir is empty: the queue needs a directory")
	}
}

// PostmasterPath is the zero Path without one; a bare "postmaster" is ours.
func (c *Config) PostmasterPath() relay.Path {
	p, err := relay.ParsePath(c.Postmaster)
	if err != nil || p.IsNull() || p.Domain() != "" {
		return p
	}
	if full, err := p.WithDomain(c.Hostname); err == nil {
		return full
	}
	return p
}

// OwnAddresses are the addresses that the listeners take, as configured: mail
// by MX never goes there. No host means every address, of both families.
func (c *Config) OwnAddresses() []netip.AddrPort {
	var own []netip.AddrPort
	for _, l := range c.Listeners {
		host, port, err := net.SplitHostPort(l.Address)
		n, err2 := strconv.ParseUint(port, 10, 16)
		if err != nil || err2 != nil {
			continue // a unix socket
		}
		hosts := []string{host}
		switch host {
		case "":
			hosts = []string{"0.0.0.0", "::"}
		case "localhost":
			hosts = []string{"127.0.0.1", "::1"}
		}
		for _, h := range hosts {
			if a, err := netip.ParseAddr(h); err == nil {
				own = append(own, netip.AddrPortFrom(a, uint16(n)))
			}
		}
	}
	return own
}

// LedgerFile holds quotas and holds of users.
func (c *Config) LedgerFile() string { return filepath.Join(c.DataDir, "users-ledger.json") }

// File is where the configuration was read; "": the built-in defaults.
func (c *Config) File() string { return c.file }

// Stale says whether the file is no longer what was read.
func (c *Config) Stale() bool {
	if c.file == "" {
		return false
	}
	data, err := readBounded(c.file, maxConfigSize)
	return err != nil || sha256.Sum256(data) != c.read
}

// Dir is the directory that relative paths count from.
func (c *Config) Dir() string { return c.dir }

// Line is the line of a key or section in the file; 0 for one that is not there.
func (c *Config) Line(path string) int {
	if c.doc == nil {
		return 0
	}
	return c.doc.Line(path)
}

// Clean says whether a section has no fault.
func (c *Config) Clean(path string) bool { return c.doc == nil || c.doc.Clean(path) }

// MachineName is the machine's fully qualified name, or the best at hand.
func MachineName() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	if !strings.Contains(name, ".") {
		// The resolver knows the rest of it, from /etc/hosts or DNS.
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if full, err := net.DefaultResolver.LookupCNAME(ctx, name); err == nil && strings.Contains(strings.TrimSuffix(full, "."), ".") {
			name = full
		}
	}
	if name, err = relay.NormalizeDomain(name); err != nil {
		return "localhost"
	}
	return name
}
