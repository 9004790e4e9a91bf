package config

import (
	"time"

	"dawk/bounce"
	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/tomlfile"
)

// Config is the configuration file: every key, its default in newConfig and
// in the SetDefaults of repeated sections, its meaning in
// docs/configuration.md. A key tagged `later` belongs to a feature that this
// version does not have; it is refused rather than ignored.
type Config struct {
	Hostname   string `toml:"hostname"`
	DataDir    string `toml:"data_dir"`
	Postmaster string `toml:"postmaster"`

	Listeners []ListenerConfig `toml:"listener"`
	TLS       TLSConfig        `toml:"tls"`
	Users     UsersConfig      `toml:"users"`
	Limits    LimitsConfig     `toml:"limits"`
	Queue     QueueConfig      `toml:"queue"`
	DNS       DNSConfig        `toml:"dns"`
	Delivery  DeliveryConfig   `toml:"delivery"`
	Sources   []SourceConfig   `toml:"source"`
	Routes    []RouteConfig    `toml:"route"`
	DKIM      []DKIMConfig     `toml:"dkim"`
	Providers []ProviderConfig `toml:"provider"`
	Bounce    BounceConfig     `toml:"bounce"`
	History   HistoryConfig    `toml:"history"`
	HTTP      HTTPConfig       `toml:"http"`
	Sendmail  SendmailConfig   `toml:"sendmail"`
	Log       LogConfig        `toml:"log"`

	file, dir string             // where it was read; "" for the built-in defaults
	doc       *tomlfile.Document // nil for the built-in defaults
	secrets   secrets
	languages *bounce.Languages // of notices
}

// ListenerConfig is one [[listener]].
type ListenerConfig struct {
	Address         string          `toml:"address"`
	TLS             string          `toml:"tls"`
	Auth            string          `toml:"auth"`
	TrustedNetworks []relay.Network `toml:"trusted_networks"`
	RequireTLS      bool            `toml:"require_tls"`
	AuthWithoutTLS  bool            `toml:"auth_without_tls"`
	MinTLS          string          `toml:"min_tls"`
	BareNewline     string          `toml:"bare_newline"`
	LongLines       string          `toml:"long_lines"`
	ReceivedClient  string          `toml:"received_client"`
	Profile         string          `toml:"profile"`
	Ciphers         []string        `toml:"ciphers"`
	ClientCA        string          `toml:"client_ca"`
	Proxies         []relay.Network `toml:"proxies"`
	SocketMode      string          `toml:"socket_mode"`
	QuotaConfig                     // of each trusted address without a login
}

// SetDefaults is called for each [[listener]] before its keys.
func (l *ListenerConfig) SetDefaults() {
	*l = ListenerConfig{TLS: "starttls", Auth: "required", MinTLS: "1.2", ReceivedClient: "hidden"}
}

// TLSConfig is [tls].
type TLSConfig struct {
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
}

// UsersConfig is [users].
type UsersConfig struct {
	File string `toml:"file"`
}

// LimitsConfig is [limits].
type LimitsConfig struct {
	MaxMessageSize      relay.Size     `toml:"max_message_size"`
	MaxRecipients       int            `toml:"max_recipients"`
	MaxConnections      int            `toml:"max_connections"`
	MaxConnectionsPerIP int            `toml:"max_connections_per_ip"`
	CommandTimeout      relay.Duration `toml:"command_timeout"`
	DataTimeout         relay.Duration `toml:"data_timeout"`
	AuthFailuresPerIP   int            `toml:"auth_failures_per_ip"`
}

// QueueConfig is [queue].
type QueueConfig struct {
	Retry       []relay.Duration `toml:"retry"`
	MaxAge      relay.Duration   `toml:"max_age"`
	DelayNotice relay.Duration   `toml:"delay_notice"`
	MinFree     relay.Size       `toml:"min_free"` // 0: the lesser of 1 GiB and 10 % of the file system
	MaxSize     relay.Size       `toml:"max_size"`
}

// DNSConfig is [dns].
type DNSConfig struct {
	Servers []string `toml:"servers"` // empty: /etc/resolv.conf
	Trusted *bool    `toml:"trusted"` // nil: only loopback servers
}

// DeliveryConfig is [delivery].
type DeliveryConfig struct {
	Port                   int             `toml:"port"`
	MaxConnections         int             `toml:"max_connections"`
	AllowNetworks          []relay.Network `toml:"allow_networks"`
	TLS                    string          `toml:"tls"`
	DANE                   bool            `toml:"dane"`
	MTASTS                 bool            `toml:"mta_sts"`
	TLSReports             bool            `toml:"tls_reports"`
	ConnectionsPerProvider int             `toml:"connections_per_provider"`
	IP                     string          `toml:"ip"`
	Source                 []string        `toml:"source"` // empty: what the system chooses
	CAFile                 string          `toml:"ca_file"`
	Timeouts               TimeoutsConfig  `toml:"timeouts"`
}

// TimeoutsConfig is [delivery.timeouts].
type TimeoutsConfig struct {
	Connect  relay.Duration `toml:"connect"`
	Greeting relay.Duration `toml:"greeting"`
	Command  relay.Duration `toml:"command"`
	Data     relay.Duration `toml:"data"`
	Block    relay.Duration `toml:"block"`
	FinalDot relay.Duration `toml:"final_dot"`
	Session  relay.Duration `toml:"session"`
}

// RouteConfig is one [[route]].
type RouteConfig struct {
	Name         string   `toml:"name"`
	To           []string `toml:"to"`
	From         []string `toml:"from"`
	Identity     []string `toml:"identity"`
	Type         string   `toml:"type"`
	Via          []string `toml:"via"`
	TLS          string   `toml:"tls"`
	IP           string   `toml:"ip"`     // "": [delivery] ip
	Source       []string `toml:"source"` // empty: [delivery] source
	User         string   `toml:"user"`
	PasswordFile string   `toml:"password_file"`

	Flow               string `toml:"flow"`
	Tenant             string `toml:"tenant"`
	ClientID           string `toml:"client_id"`
	ClientSecretFile   string `toml:"client_secret_file"`
	RefreshTokenFile   string `toml:"refresh_token_file"`
	ServiceAccountFile string `toml:"service_account_file"`
	TokenURL           string `toml:"token_url"`
	Scope              string `toml:"scope"`
	Auth               string `toml:"auth"`
	DKIM               *bool  `toml:"dkim"` // nil: by type

	ClientCertificate string   `toml:"client_certificate"`
	ClientKey         string   `toml:"client_key"`
	SendAs            []string `toml:"send_as"` // left out: nobody knows
	RewriteFrom       string   `toml:"rewrite_from"`
}

// SetDefaults is called for each [[route]] before its keys.
func (r *RouteConfig) SetDefaults() { r.Type = "smtp" }

// DKIMConfig is one [[dkim]].
type DKIMConfig struct {
	Domain   string `toml:"domain"`
	Selector string `toml:"selector"`
	Key      string `toml:"key"`
}

// HTTPConfig is [http].
type HTTPConfig struct {
	Address string `toml:"address"` // "": no HTTP
	TLS     string `toml:"tls"`     // "off", "implicit"
}

// LogConfig is [log].
type LogConfig struct {
	Format string `toml:"format"`
	Level  string `toml:"level"`
}

// newConfig is a Config that holds every default of a configuration file.
func newConfig() *Config {
	const m, h, d = time.Minute, time.Hour, 24 * time.Hour
	dur := func(v ...time.Duration) (list []relay.Duration) {
		for _, each := range v {
			list = append(list, relay.Duration(each))
		}
		return list
	}
	return &Config{
		DataDir: "/var/lib/dawk",
		Users:   UsersConfig{File: "users.toml"},
		Limits: LimitsConfig{MaxMessageSize: 50 << 20, MaxRecipients: 1000,
			MaxConnections: 2000, MaxConnectionsPerIP: 50,
			CommandTimeout: relay.Duration(5 * m), DataTimeout: relay.Duration(3 * m), AuthFailuresPerIP: 20},
		Queue: QueueConfig{Retry: dur(m, 5*m, 15*m, 30*m, h, 2*h),
			MaxAge: relay.Duration(5 * d), DelayNotice: relay.Duration(4 * h)},
		Delivery: DeliveryConfig{Port: 25, MaxConnections: 500, ConnectionsPerProvider: shaping.DefaultConnections, TLS: "opportunistic", DANE: true, MTASTS: true, IP: "both",
			Timeouts: TimeoutsConfig{ // RFC 5321 §4.5.3.2
				Connect: relay.Duration(30 * time.Second), Greeting: relay.Duration(5 * m),
				Command: relay.Duration(5 * m), Data: relay.Duration(2 * m), Block: relay.Duration(3 * m),
				FinalDot: relay.Duration(10 * m), Session: relay.Duration(30 * m)}},
		Bounce:   newBounceConfig(),
		History:  newHistoryConfig(),
		Sendmail: defaultSendmail(),
		HTTP:     HTTPConfig{Address: "127.0.0.1:8025", TLS: "off"},
		Log:      LogConfig{Format: "text", Level: "info"},
	}
}

// localListener serves the programs of this machine and nobody else. It is
// what a configuration without [[listener]] gets.
func localListener() ListenerConfig {
	var l ListenerConfig
	l.SetDefaults()
	l.Address, l.TLS, l.Auth = "127.0.0.1:2525", "off", "off"
	for _, n := range []string{"127.0.0.0/8", "::1"} {
		var network relay.Network
		if err := network.UnmarshalText([]byte(n)); err != nil {
			panic(err)
		}
		l.TrustedNetworks = append(l.TrustedNetworks, network)
	}
	return l
}

// Default is what runs without a configuration file: loopback only, and
// everything in ./dawk-data.
func Default() *Config {
	c := Builtin()
	c.Hostname = MachineName()
	return c
}

// Builtin is defaultConfig without our hostname, which may need DNS.
func Builtin() *Config {
	c := newConfig()
	c.dir = "."
	c.DataDir = "dawk-data"
	c.Listeners = []ListenerConfig{localListener()}
	c.complete()
	return c
}
