package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx/mxtest"
	"dawk/queue/queuetest"
	"dawk/relay"
)

// pemPair writes a certificate and its key.
func pemPair(t *testing.T, dir string, cert tls.Certificate) (crt, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, c := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	crt, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	writeFile(t, crt, string(chain))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return crt, key
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func lines(findings []Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s: %s", f.Level, f.Message))
	}
	return out
}

func TestCheckCertificate(t *testing.T) {
	ca, err := mxtest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		valid time.Duration
		host  string
		want  []string // parts, in order
		level string
	}{
		{"private authority", 60 * 24 * time.Hour, "relay.test", []string{"is not trusted by this machine: its authority is unknown"}, LevelWarning},
		{"soon over", 24 * time.Hour, "relay.test", []string{"expires on", "not trusted"}, LevelWarning},
		{"another name", 60 * 24 * time.Hour, "other.test", []string{"is for other.test, not for our hostname relay.test", "not trusted"}, LevelWarning},
		{"over", -time.Minute, "relay.test", []string{"has expired on", "not trusted"}, LevelError},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair, err := ca.Certificate(c.valid, c.host)
			if err != nil {
				t.Fatal(err)
			}
			cfg := defaults()
			cfg.Hostname = "relay.test"
			cfg.Listeners[0].TLS = "starttls"
			cfg.TLS.Certificate, cfg.TLS.Key = pemPair(t, t.TempDir(), pair)
			got := (&checker{cfg: cfg}).tls(context.Background())
			if len(got) != len(c.want) || got[0].Level != c.level {
				t.Fatalf("%q", lines(got))
			}
			for i, want := range c.want {
				if !strings.Contains(got[i].Message, want) || got[i].Advice == "" {
					t.Errorf("%+v, want %q and advice", got[i], want)
				}
			}
			if err := os.Chmod(cfg.TLS.Key, 0o644); err != nil {
				t.Fatal(err)
			}
			got = (&checker{cfg: cfg}).tls(context.Background())
			if last := got[len(got)-1].Message; !strings.Contains(last, "can read the private key") {
				t.Errorf("a key for all to read: %q", lines(got))
			}
		})
	}
	one, _ := ca.Certificate(time.Hour, "a.test")
	two, _ := ca.Certificate(time.Hour, "a.test")
	cfg := defaults()
	cfg.Listeners[0].TLS = "implicit"
	cfg.TLS.Certificate, _ = pemPair(t, t.TempDir(), one)
	_, cfg.TLS.Key = pemPair(t, t.TempDir(), two)
	got := (&checker{cfg: cfg}).tls(context.Background())
	if len(got) != 1 || got[0].Level != LevelError || !strings.Contains(got[0].Message, "private key does not match") {
		t.Errorf("certificate and key of two pairs: %q", lines(got))
	}
	cfg.TLS.Certificate, cfg.TLS.Key, cfg.TLS.ACME = "", "", "letsencrypt"
	if got := (&checker{cfg: cfg}).tls(context.Background()); len(got) != 1 || got[0].Level != levelOK {
		t.Errorf("an authority gives the certificate: %q", lines(got))
	}
}

// The smart host's login is tried as a delivery would.
func TestCheckRoutes(t *testing.T) {
	ca, err := mxtest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate(time.Hour, "smart.test")
	if err != nil {
		t.Fatal(err)
	}
	host, err := mxtest.NewServer(mxtest.Config{Certificate: &cert, Users: map[string]string{"office": "correct horse"}})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	zone, err := mxtest.NewDNS("smart.test. A 127.0.0.1\nwrong.test. A 127.0.0.1\n")
	if err != nil {
		t.Fatal(err)
	}
	defer zone.Close()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "ca.pem"), string(ca.PEM()))
	writeFile(t, filepath.Join(dir, "good"), "correct horse\n")
	writeFile(t, filepath.Join(dir, "bad"), "wrong horse\n")
	path := filepath.Join(dir, "dawk.toml")
	writeFile(t, path, fmt.Sprintf(`
hostname = "relay.test"
dns.servers = [%q]
[delivery]
ca_file = "ca.pem"
tls = "verified"
[[route]]
name = "right"
to = ["a.test"]
via = ["smart.test:%[2]d"]
user = "office"
password_file = "good"
[[route]]
name = "password"
to = ["b.test"]
via = ["smart.test:%[2]d"]
user = "office"
password_file = "bad"
[[route]]
name = "name"
to = ["c.test"]
via = ["wrong.test:%[2]d"]
`, zone.Addr(), host.Port()))
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	got := (&checker{cfg: cfg}).routes(context.Background())
	want := []string{
		"ok: route right: smart.test [127.0.0.1]:" + fmt.Sprint(host.Port()) + " lets office in (TLS1.3)",
		"error: route password: ",
		"error: route name: ",
	}
	ok := len(got) == len(want)
	for i := range want {
		ok = ok && strings.HasPrefix(lines(got)[i], want[i])
	}
	if !ok {
		t.Errorf("%q", lines(got))
	}
	for _, f := range got {
		if strings.Contains(f.Message, "horse") {
			t.Errorf("a password was told: %s", f.Message)
		}
	}
	if slices.Contains(host.Commands(), "MAIL") || len(host.Messages()) > 0 {
		t.Errorf("the check sent mail: %q", host.Commands())
	}
}

func TestCheckTrust(t *testing.T) {
	own := gateways()
	if len(own) == 0 {
		t.Skip("this machine has no default route")
	}
	cfg := defaults()
	if got := (&checker{cfg: cfg}).trust(context.Background()); len(got) > 0 {
		t.Errorf("the local listener: %q", lines(got))
	}
	var n relay.Network
	if err := n.UnmarshalText([]byte(own[0].String() + "/24")); err != nil {
		t.Fatal(err)
	}
	cfg.Listeners[0].Address, cfg.Listeners[0].TrustedNetworks = "0.0.0.0:25", []relay.Network{n}
	cfg.Listeners[0].PerHour = 30
	got := (&checker{cfg: cfg}).trust(context.Background())
	if len(got) != 1 || got[0].Level != LevelWarning || !strings.Contains(got[0].Message, own[0].String()) {
		t.Errorf("%q", lines(got))
	}
}

// A trusted network that may send all night is worth a word, not a warning.
func TestCheckLimitsOfTrustedNetworks(t *testing.T) {
	cfg := defaults()
	var n relay.Network
	if err := n.UnmarshalText([]byte("192.0.2.64/28")); err != nil {
		t.Fatal(err)
	}
	l := &cfg.Listeners[0]
	l.Address, l.TrustedNetworks = "0.0.0.0:25", []relay.Network{n}
	got := (&checker{cfg: cfg}).trust(context.Background())
	if len(got) != 1 || got[0].Level != levelOK || !strings.Contains(got[0].Advice, "per_hour") {
		t.Errorf("%q", lines(got))
	}
	l.HoldCopies = 100
	if got := (&checker{cfg: cfg}).trust(context.Background()); len(got) != 0 {
		t.Errorf("with limits: %q", lines(got))
	}
}

// A file system on which there is room for mail now, but too little for a queue that
// is full once, is warned of.
func TestCheckSmallDisk(t *testing.T) {
	c := &checker{cfg: defaults()}
	c.cfg.Queue.MinFree, c.cfg.Limits.MaxMessageSize = 4<<20, 4<<20
	for _, d := range []struct {
		mib  int64
		want string
	}{{30, "has 30 MiB; below 32 MiB it is soon full"}, {40, "new mail needs 8 MiB"}} {
		got := strings.Join(lines(c.space(queuetest.Disk(t, "tmpfs", d.mib))), "\n")
		if !strings.Contains(got, d.want) {
			t.Errorf("%d MiB: %s", d.mib, got)
		}
	}
}

func TestNamesOfACertificate(t *testing.T) {
	for want, c := range map[string]*x509.Certificate{
		"a.test, b.test, 192.0.2.1":                 {DNSNames: []string{"a.test", "b.test"}, IPAddresses: []net.IP{net.ParseIP("192.0.2.1")}},
		"no DNS name (its common name is old.test)": {Subject: pkix.Name{CommonName: "old.test"}},
		"no name at all":                            {},
	} {
		if got := namesOf(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// defaults is a configuration without a file, on a machine with a name.
func defaults() *config.Config {
	c := config.Builtin()
	c.Hostname = config.MachineName()
	return c
}
