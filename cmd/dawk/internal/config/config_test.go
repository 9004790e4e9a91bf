package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// load writes files into a fresh directory and loads its dawk.toml; messages
// come back without the directory.
func load(t *testing.T, config string, files ...string) (*Config, string) {
	t.Helper()
	dir := t.TempDir()
	files = append(files, "dawk.toml", config)
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "dawk.toml"))
	if err != nil {
		return nil, strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
	}
	return c, ""
}

func TestConfigurationOfTheReadmeLoads(t *testing.T) {
	c, msg := load(t, `
hostname   = "relay.example.org"
postmaster = "postmaster@example.org"
data_dir = "data"

[[listener]]
address = "0.0.0.0:587"
tls     = "starttls"

[[listener]]
address = "0.0.0.0:465"
tls     = "implicit"

[[listener]]
address          = "192.0.2.10:25"
auth             = "optional"
trusted_networks = ["192.0.2.64/28"]

[users]
file = "users.toml"

[queue]
max_age = "3d"
retry = ["90s"]

[[route]]
to   = ["*"]
via  = ["smtp.example.net:587"]
tls  = "verified"
user = "office@example.net"
password_file = "secret"
`, "users.toml", "", "secret", "correct horse\n")
	if msg != "" {
		t.Fatal(msg)
	}
	s := c.SubmissionConfig(nil)
	if len(s.Listeners) != 3 || s.Listeners[0].Auth != "required" || s.Listeners[2].TLS != "starttls" ||
		s.Listeners[2].TrustedNetworks[0].String() != "192.0.2.64/28" || s.MaxMessageSize != 50<<20 {
		t.Errorf("listeners: %+v", s)
	}
	m, err := c.MXConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := m.Routes[0]
	if r.Password != "correct horse" || r.Name != "office@example.net" || r.Via[0].String() != "smtp.example.net:587" {
		t.Errorf("route: %+v", r)
	}
	if err := m.Validate().Err(); err != nil {
		t.Error(err)
	}
	d := c.DeliveryConfig(nil)
	if d.MaxAge != 72*time.Hour || len(d.Retry) != 1 || d.Retry[0] != 90*time.Second || d.DelayNotice != 4*time.Hour {
		t.Errorf("delivery: %+v", d)
	}
	if o := c.QueueOptions(nil); o.Dir != filepath.Join(filepath.Dir(c.file), "data") || o.MinFree != 0 {
		t.Errorf("queue: %+v", o)
	}
}

func TestDefaultsAreSafe(t *testing.T) {
	none := Builtin()
	none.Hostname = MachineName()
	for name, c := range map[string]*Config{"no file": none, "empty file": func() *Config {
		c, msg := load(t, "")
		if msg != "" {
			t.Fatal(msg)
		}
		return c
	}()} {
		s := c.SubmissionConfig(nil)
		if len(s.Listeners) != 1 || s.Listeners[0].Address != "127.0.0.1:2525" || s.Listeners[0].Auth != "off" {
			t.Fatalf("%s: %+v", name, s.Listeners)
		}
		for _, p := range s.Listeners[0].TrustedNetworks {
			if !p.Addr().IsLoopback() || p.Bits() < 8 {
				t.Errorf("%s: trusts %s", name, p)
			}
		}
		if err := s.Validate().Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		m, err := c.MXConfig(nil)
		if err == nil {
			err = m.Validate().Err()
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := c.DeliveryConfig(nil); !sound(c) {
			t.Errorf("%s: %+v", name, d)
		}
		if c.HTTP.Address != "127.0.0.1:8025" || c.Hostname == "" {
			t.Errorf("%s: http %q, hostname %q", name, c.HTTP.Address, c.Hostname)
		}
	}
}

// Each case is one mistake and the one sentence that it gets.
// A delay notice that nobody wrote does not make a short lifetime impossible.
func TestDelayNoticeOfAShortLifetime(t *testing.T) {
	for queue, want := range map[string]time.Duration{
		`max_age = "15m"`: 0, `max_age = "4h"`: 0, `max_age = "5h"`: 4 * time.Hour, "": 4 * time.Hour,
		"max_age = \"15m\"\ndelay_notice = \"5m\"": 5 * time.Minute,
		"max_age = \"15m\"\ndelay_notice = \"0\"":  0,
	} {
		c, msg := load(t, "hostname = \"relay.example.org\"\n[queue]\n"+queue)
		if msg != "" {
			t.Errorf("%s: %s", queue, msg)
			continue
		}
		if got := c.DeliveryConfig(nil).DelayNotice; got != want {
			t.Errorf("%s: the delay notice is at %v, want %v", queue, got, want)
		}
	}
}

func TestImpossibleConfigurations(t *testing.T) {
	const listener = "[[listener]]\naddress = \"0.0.0.0:587\"\ntls = \"off\"\n"
	const trusted = listener + "auth = \"off\"\ntrusted_networks = [\"192.0.2.0/24\"]\n"
	for _, c := range []struct{ name, config, want string }{
		{"open relay to IPv4", listener + `auth = "off"` + "\n" + `trusted_networks = ["10.0.0.0/8", "0.0.0.0/0"]`,
			`dawk.toml:5:35: trusted_networks: 0.0.0.0/0 would make an open relay: shorter than /8`},
		{"open relay to IPv6", listener + `trusted_networks = ["2000::/3"]`,
			`dawk.toml:4:21: trusted_networks: 2000::/3 would make an open relay: shorter than /32`},
		{"open relay to a public net", listener + `trusted_networks = ["20.0.0.0/12"]`,
			`dawk.toml:4:21: trusted_networks: 20.0.0.0/12 would make an open relay: a public network shorter than /16`},
		{"open relay through v4-mapped", listener + `trusted_networks = ["::ffff:0:0/96"]`,
			`dawk.toml:4:21: listener.trusted_networks: "::ffff:0:0/96" is an IPv4 network in IPv6 form: write it as IPv4`},
		{"no login and no network", listener + `auth = "off"`,
			`dawk.toml:4:1: auth = "off" needs trusted_networks: without either nobody could send, or anybody`},
		{"login in the clear", listener,
			`dawk.toml:3:1: with tls = "off" only this machine may log in: set tls = "starttls", or auth_without_tls = true if passwords may cross the network in the clear`},
		{"no TLS required", trusted + "require_tls = true", `dawk.toml:6:1: require_tls is set, but tls = "off" offers none: no mail could ever come in`},
		{"wrong word", trusted + `bare_newline = "ignore"`, `dawk.toml:6:1: bare_newline = "ignore" is not one of ["reject" "normalize"]`},
		{"min_tls without TLS", trusted + `min_tls = "1.2"`, `dawk.toml:6:1: min_tls has no effect with tls = "off"`},
		{"no address", "[[listener]]\nauth = \"required\"", `dawk.toml:1:3: this [[listener]] has no address: write one like address = "0.0.0.0:587"`},
		{"host name as address", "[[listener]]\naddress = \"relay.example.org:25\"\nauth=\"off\"\ntrusted_networks=[\"192.0.2.0/24\"]",
			`dawk.toml:2:1: "relay.example.org" is not an IP address`},
		{"same address twice", trusted + trusted, `dawk.toml:7:1: 0.0.0.0:587 is taken already by the listener in line 2: give one of them another address or port`},
		{"same port as a wildcard", trusted + strings.Replace(trusted, "0.0.0.0", "192.0.2.1", 1), `dawk.toml:7:1: 192.0.2.1:587 is taken already by the listener in line 2: give one of them another address or port`},
		{"http on a listener", trusted + "[http]\naddress = \"127.0.0.1:587\"", `dawk.toml:7:1: 127.0.0.1:587 is taken already by the listener in line 2: give one of them another address or port`},
		{"no listener", "listener = []", `dawk.toml:1:1: the list of listeners is empty: nobody could send anything`},
		{"users missing", "[[listener]]\naddress = \"0.0.0.0:587\"\nauth = \"optional\"",
			"dawk.toml:3:1: users log in here, but the file of users users.toml does not exist: make it with `dawk user add NAME`"},
		{"users missing, named", "[users]\nfile = \"u\"\n[[listener]]\naddress = \"0.0.0.0:587\"",
			"dawk.toml:2:1: users log in here, but the file of users u does not exist: make it with `dawk user add NAME`"},
		{"certificate without key", "[tls]\ncertificate = \"x\"", `dawk.toml:2:1: tls.certificate needs tls.key: the file with its private key`},
		{"hostname", `hostname = "relay example"`, `dawk.toml:1:1: hostname "relay example" is not a host name: write it like "relay.example.org"`},
		{"hostname is an address", `hostname = "192.0.2.1"`, `dawk.toml:1:1: hostname "192.0.2.1" is an address; it must be a name, like "relay.example.org"`},
		{"postmaster", `postmaster = "nobody"`, `dawk.toml:1:1: postmaster: not a valid mailbox: no domain in "nobody": write it like "postmaster@example.org"`},
		{"empty retry", "[queue]\nretry = []", `dawk.toml:2:1: queue.retry is empty: give at least one wait, as in retry = ["5m"]`},
		{"zero retry", "[queue]\nretry = [\"1m\", \"0\"]", `dawk.toml:2:16: queue.retry must be longer than 0`},
		{"negative", "[limits]\ndata_timeout = \"-3m\"", `dawk.toml:2:1: limits.data_timeout: the duration "-3m" is negative`},
		{"late delay notice", "[queue]\nmax_age = \"3h\"\ndelay_notice = \"4h\"", `dawk.toml:3:1: queue.delay_notice (4h) is not shorter than queue.max_age (3h), so no notice would ever go out: shorten it, or write "0" for none`},
		{"tiny queue", "[queue]\nmax_size = \"24MiB\"", `dawk.toml:2:1: queue.max_size (24MiB) leaves no room for mail beside what the file keeps for itself: give at least 64MiB, or "0" for no limit`},
		{"tiny messages", "[limits]\nmax_message_size = \"1KiB\"", `dawk.toml:2:1: limits.max_message_size is 1KiB; less than 64KiB breaks ordinary mail (RFC 5321 §4.5.3.1.7)`},
		{"DNS server", "[dns]\nservers = [\"127.0.0.1\", \"ns.example.org\"]", `dawk.toml:2:25: dns.servers: "ns.example.org" is not the address of a server: write it like "127.0.0.1:53"`},
		{"level", "[delivery]\ntls = \"maybe\"", `dawk.toml:2:1: delivery.tls = "maybe" is unknown; it is one of "off", "opportunistic", "required", "verified"`},
		{"connections by provider", "[delivery]\nconnections_per_provider = 0", `dawk.toml:2:1: delivery.connections_per_provider is 0; it must be at least 1`},
		{"provider without a name", "[[provider]]\nrate = \"100/m\"", `dawk.toml:1:3: this [[provider]] has no name: write that of a shipped rule, such as name = "google", or one of your own with its mx = [...]`},
		{"provider nobody knows", "[[provider]]\nname = \"example\"\nrate = \"100/m\"", `dawk.toml:1:3: provider "example": no rule of this name comes with dawk: write whose hosts it is about, as in mx = ["*.example.net"]`},
		{"provider rate", "[[provider]]\nname = \"google\"\nrate = \"100 a minute\"", `dawk.toml:3:1: rate = "100 a minute" is not a number in a time: write it like "100/m", "1000/h" or "20/10m", or "0" for no limit`},
		{"provider recipient rate", "[[provider]]\nname = \"google\"\nrecipient_rate = \"\"", `dawk.toml:3:1: recipient_rate = "" is not a number in a time: write it like "100/m", "1000/h" or "20/10m", or "0" for no limit`},
		{"provider connections", "[[provider]]\nname = \"google\"\nconnections = 0", `dawk.toml:3:1: provider.connections is 0; it must be at least 1`},
		{"provider hosts", "[[provider]]\nname = \"example\"\nmx = [\"mx.example.net\", \"*\"]", `dawk.toml:3:25: mx "*" is not a host: write "mx.example.net", or "*.example.net" for all hosts below that`},
		{"provider twice", "[[provider]]\nname = \"google\"\nconnections = 5\n[[provider]]\nname = \"google\"\nrate = \"1/s\"", `dawk.toml:4:3: provider "google" is in line 1 already: write all that concerns it there`},
		{"route limits by MX", "[[route]]\nto = [\"example.com\"]\ntls = \"required\"\nrate = \"5/m\"", `dawk.toml:4:1: rate needs via: the limits of MX hosts are in [[provider]]`},
		{"route connections", "[[route]]\nto = [\"*\"]\nvia = [\"smart.example.net\"]\nconnections = 0", `dawk.toml:4:1: route.connections is 0; it must be at least 1`},
		{"route rate", "[[route]]\nto = [\"*\"]\nvia = [\"smart.example.net\"]\nrate = \"often\"", `dawk.toml:4:1: rate = "often" is not a number in a time: write it like "100/m", "1000/h" or "20/10m", or "0" for no limit`},
		{"provider of a via host", "[[provider]]\nname = \"smart\"\nmx = [\"smart.example.net\"]\nconnections = 1\n[[route]]\nto = [\"*\"]\nvia = [\"Smart.example.net:587\"]", `dawk.toml:3:1: provider "smart": mx "smart.example.net" is a host of route "*", and [[provider]] is for hosts found by MX: write its limits into that [[route]], as in connections = 5`},
		{"provider of another's hosts", "[[provider]]\nname = \"example\"\nmx = [\"*.google.com\"]", `dawk.toml:3:1: provider "google": mx "*.google.com" belongs to provider "example" already; give the whole list of one of them`},
		{"DKIM without a key", "[[dkim]]\ndomain = \"example.org\"\nselector = \"a\"", `dawk.toml:1:3: this [[dkim]] has no key: write one like key = "dkim/2026a.pem"; ` + "`dawk dkim new` makes a key and all three lines"},
		{"DKIM key missing", "[[dkim]]\ndomain = \"example.org\"\nselector = \"a\"\nkey = \"none\"", `dawk.toml:4:1: key: none: no such file or directory`},
		{"DKIM selector", "[[dkim]]\ndomain = \"example.org\"\nselector = \"a_b\"\nkey = \"none\"",
			"dawk.toml:3:1: selector \"a_b\" is not a label of DNS: letters, digits and hyphens, like \"2026a\"\ndawk.toml:4:1: key: none: no such file or directory"},
		{"TLS reports unsigned", "hostname = \"relay.example.org\"\n[delivery]\ntls_reports = true",
			"dawk.toml:3:1: delivery.tls_reports needs a [[dkim]] section for relay.example.org: reports come from there, and unsigned ones are dropped (RFC 8460)"},
		{"TLS reports of nothing", "hostname = \"relay.example.org\"\n[delivery]\ntls_reports = true\ndane = false\nmta_sts = false\n[[dkim]]\ndomain = \"relay.example.org\"\nselector = \"a\"\nkey = \"none\"",
			"dawk.toml:3:1: delivery.tls_reports has nothing to report without delivery.dane and delivery.mta_sts\ndawk.toml:9:1: key: none: no such file or directory"},
		{"DKIM twice", strings.Repeat("[[dkim]]\ndomain = \"example.org\"\nselector = \"a\"\nkey = \"secret\"\n", 2),
			"dawk.toml:4:1: key: secret: it holds no private key for DKIM: a PEM file with an RSA or Ed25519 key is needed, as `dawk dkim new` makes it\n" +
				"dawk.toml:7:1: the selector a of example.org is taken already in line 1: one record publishes one key\n" +
				"dawk.toml:8:1: key: secret: it holds no private key for DKIM: a PEM file with an RSA or Ed25519 key is needed, as `dawk dkim new` makes it"},
		{"password in the clear", "[[route]]\nto = [\"*\"]\nvia = [\"smtp.example.net\"]\nuser = \"u\"\npassword_file = \"secret\"",
			`dawk.toml:4:1: a password would go to smtp.example.net over tls = "opportunistic", to whoever answers: set tls = "verified"`},
		{"password without user", "[[route]]\nto = [\"*\"]\nvia = [\"smtp.example.net\"]\npassword_file = \"secret\"",
			`dawk.toml:4:1: password_file needs user: the name to log in with`},
		{"password file missing", "[[route]]\nto = [\"*\"]\nvia = [\"127.0.0.1\"]\nuser = \"u\"\npassword_file = \"none\"",
			`dawk.toml:5:1: password_file: none: no such file or directory`},
		{"bad pattern", "[[route]]\nto = [\"example.org\", \"ex ample\"]\nvia = [\"smtp.example.net\"]",
			`dawk.toml:2:22: to: pattern "ex ample": not a valid domain: "ex ample" (write example.com, *.example.com, user@example.com or *)`},
		{"bad hop", "[[route]]\nto = [\"*\"]\nvia = [\"smtp.example.net:x\"]", `dawk.toml:3:8: via "smtp.example.net:x": "x" is not a port`},
		{"route without to", "[[route]]\nvia = [\"smtp.example.net\"]", `dawk.toml:1:3: this [[route]] has no "to": write to = ["*"] for all mail, or the domains that it serves`},
		{"send_as without a mailbox", "[[route]]\nto = [\"*\"]\nvia = [\"127.0.0.1\"]\nsend_as = []",
			`dawk.toml:4:1: send_as needs user to be the mailbox that sends, as in user = "scanner@example.org"`},
		{"unknown rewrite_from", "[[route]]\nto = [\"*\"]\nvia = [\"127.0.0.1\"]\nrewrite_from = \"sometimes\"",
			`dawk.toml:4:1: route.rewrite_from = "sometimes" is unknown; it is one of "never", "denied", "always"`},
		{"half a certificate", "[[route]]\nto = [\"*\"]\nvia = [\"127.0.0.1\"]\nclient_key = \"k\"",
			`dawk.toml:4:1: client_certificate and client_key belong together: write both`},
		{"notices by a route that is none", "[[route]]\nto = [\"*\"]\nvia = [\"127.0.0.1\"]\n[bounce]\nnotice_route = \"hub\"",
			`dawk.toml:5:1: bounce.notice_route = "hub" is not a route with via; it is "*", "mx"`},
		{"routes of one name", "[[route]]\nto = [\"*\"]\nvia = [\"a.example\"]\n[[route]]\nto = [\"*\"]\nvia = [\"b.example\"]",
			`dawk.toml:4:3: this route is called "*", like the one in line 1: give one of them a name = "…" of its own`},
		{"CA file", "[delivery]\nca_file = \"secret\"", `dawk.toml:2:1: delivery.ca_file: secret holds no certificate in PEM form`},
		{"log", "[log]\nformat = \"xml\"", `dawk.toml:2:1: log.format = "xml" is unknown; it is one of "text", "json"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := []string{"secret", "x\n"}
			if !strings.HasPrefix(c.name, "users missing") {
				files = append(files, "users.toml", "")
			}
			_, msg := load(t, c.config, files...)
			if diff := cmp.Diff(c.want, msg); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAccumulatesAndKeepsSyntaxErrorsAlone(t *testing.T) {
	_, msg := load(t, "hostnam = \"x\"\n[limits]\nmax_recipients = \"many\"\n[queue]\nretry = [\"soon\"]\nmax_age = \"0\"\n[listn]\n")
	want := `dawk.toml:1:1: unknown key "hostnam"; did you mean "hostname"?
dawk.toml:3:1: limits.max_recipients: expected a whole number; found text in quotation marks
dawk.toml:5:10: queue.retry: "soon" is not a duration: write it like "90s", "5m", "1h30m" or "5d"
dawk.toml:6:1: queue.max_age must be longer than 0
dawk.toml:7:2: unknown section "listn"; did you mean "listener"?`
	if diff := cmp.Diff(want, msg); diff != "" {
		t.Error(diff)
	}
	if _, msg := load(t, "hostnam = \"x\"\nhostname = relay\n"); msg != "dawk.toml:2:12: this value is not understood: text needs quotes, as in key = \"text\"" {
		t.Error(msg)
	}
}

// What the documents show as dawk.toml loads, but for files that are not here.
func TestExamplesInDocumentsLoad(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```")
	pages, err := filepath.Glob("../../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(pages, "../../../../README.md") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range blocks.FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], "[[user]]") {
				continue // users.toml
			}
			c, err := parseConfig(file, []byte(m[1]))
			if err != nil {
				t.Errorf("%v\n%s", err, m[1])
				continue
			}
			c.check()
			if err := c.doc.Err(); err != nil {
				t.Errorf("%v\n%s", err, m[1])
			}
		}
	}
}

// A configuration that loads is one that every package accepts: whatever is
// wrong is found with its place, before anything starts.
func FuzzConfig(f *testing.F) {
	f.Add("[[listener]]\naddress = \"127.0.0.1:25\"\nauth = \"off\"\ntrusted_networks = [\"192.0.2.0/24\"]\n[[route]]\nto=[\"*\"]\nvia=[\"smtps://a.example\"]\n")
	f.Add("hostname = \"a.example\"\n[queue]\nretry = [\"1m\"]\nmin_free = 0\n[dns]\nservers = [\"::1\"]\n[delivery.timeouts]\nblock = \"1d\"\n")
	f.Fuzz(func(t *testing.T, file string) {
		c, err := parseConfig("dawk.toml", []byte("hostname = \"relay.example.org\"\n"+file))
		if err != nil {
			return
		}
		c.check()
		if c.doc.Err() != nil {
			return
		}
		s := c.SubmissionConfig(nil)
		for _, l := range s.Listeners {
			if err := l.Validate().Err(); err != nil {
				t.Errorf("loads, but: %v", err)
			}
		}
		m, err := c.MXConfig(nil)
		if err == nil {
			err = m.Validate().Err()
		}
		if err != nil {
			t.Errorf("loads, but: %v", err)
		}
		if d := c.DeliveryConfig(nil); !sound(c) {
			t.Errorf("loads, but: %+v", d)
		}
	})
}

// sound says whether what nobody judges after us can be worked with.
func sound(c *Config) bool {
	d := c.DeliveryConfig(nil)
	return len(d.Retry) > 0 && slices.Min(d.Retry) > 0 && d.MaxAge > 0 && d.DelayNotice >= 0 && d.Schedule.Attempts > 0 &&
		d.Notices.Limit >= 0 && d.Notices.Span >= 0 && c.Delivery.Port > 0 && c.Delivery.Port < 1<<16 && slices.Contains([]string{"4", "6", "both"}, c.Delivery.IP)
}

// The recipe for an office is whole: the printers' corner is one for devices, bound to
// our senders, and [http] is set.
func TestSampleOfAnOffice(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/office.md")
	if err != nil {
		t.Fatal(err)
	}
	_, sample, _ := strings.Cut(string(page), "# /etc/dawk/dawk.toml\n")
	sample, _, _ = strings.Cut(sample, "```")
	c, err := parseConfig("dawk.toml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	corner := c.Listeners[len(c.Listeners)-1]
	if corner.Profile != "device" || len(corner.Senders) == 0 || c.HTTP.Address == "" {
		t.Errorf("%+v, [http] %q", corner, c.HTTP.Address)
	}
}
