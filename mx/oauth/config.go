package oauth

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"dawk/relay"
	"dawk/relay/replies"
)

// Flow is how a token is obtained.
type Flow string

// The flows. Password fetches no token: the secret is the first line of a file.
const (
	Password          Flow = "password"
	ClientCredentials Flow = "client_credentials" // RFC 6749 §4.4
	DeviceCode        Flow = "device_code"        // RFC 8628
	RefreshToken      Flow = "refresh_token"      // RFC 6749 §6
	ServiceAccount    Flow = "service_account"    // RFC 7523 §2.1, as Google does it
)

// Config is one route's login. Files are named by absolute paths.
type Config struct {
	Route    string           // its name, for messages
	User     string           // the mailbox; the subject of a service account
	Provider replies.Provider // the provider whose answers are explained
	Flow     Flow

	TokenURL  string // "": the service account's own
	DeviceURL string // of DeviceCode
	ClientID  string
	Scope     string // several are separated by spaces

	SecretFile         string // client secret, or the password of Password
	RefreshTokenFile   string
	ServiceAccountFile string

	// Dir holds refresh tokens and the key that they are encrypted with. It is
	// made when the first is stored.
	Dir     string
	RootCAs *x509.CertPool // nil: the system's
	Connect time.Duration  // to the token endpoint
	Answer  time.Duration  // its whole answer
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	Log     *slog.Logger
}

// Validate reports every fault of c.
func (c Config) Validate() (faults relay.Faults) {
	need := func(key, value, what string) {
		if value == "" {
			faults.Add(key, "flow = %q needs %s: %s", c.Flow, key, what)
		}
	}
	endpoint := func() { need("token_url", c.TokenURL, "the URL of the token endpoint") }
	switch c.Flow {
	case Password:
		return nil
	case ClientCredentials:
		endpoint()
		need("client_id", c.ClientID, "the application's ID")
		need("client_secret_file", c.SecretFile, "a file whose first line is the application's secret")
	case DeviceCode:
		endpoint()
		need("client_id", c.ClientID, "the application's ID")
		if c.DeviceURL == "" {
			faults.Add("flow", "flow = %q is for type = \"microsoft365\"", c.Flow)
		}
	case RefreshToken:
		endpoint()
		need("client_id", c.ClientID, "the application's ID")
		need("refresh_token_file", c.RefreshTokenFile, "a file whose first line is the refresh token")
	case ServiceAccount:
		need("service_account_file", c.ServiceAccountFile, "the JSON key that Google gave out")
	default:
		faults.Add("flow", "flow = %q is unknown: it is one of client_credentials, device_code, refresh_token, service_account", c.Flow)
		return faults
	}
	for _, u := range []string{c.TokenURL, c.DeviceURL} {
		if u == "" {
			continue
		}
		if err := CheckURL(u); err != nil {
			faults.Add("token_url", "token_url: %v", err)
		}
	}
	return faults
}

// CheckURL says whether secrets may be sent there: https, or http to this
// machine itself.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is not a URL such as https://login.example.com/token", s)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q is not https: the secret would go over the network in the clear", s)
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}
