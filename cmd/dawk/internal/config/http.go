package config

import (
	"net"
	"net/netip"
	"strconv"

	"dawk/relay"
)

// HTTPConfig is [http].
type HTTPConfig struct {
	// `/metrics`, `/healthz` and `/readyz`, without a login, and `/v1/messages` with a token; `""` turns it off
	Address string `toml:"address"`
	// `"implicit"`: TLS, with the certificate of `[tls]`. Mail is taken below `/v1/` ([api.md](api.md)) only with
	// it, or on a loopback address
	TLS string `toml:"tls"`
	// host names that requests in the clear on a loopback address may be for, besides `localhost`, `hostname` and
	// IP addresses: those of a proxy in front that keeps the `Host` of its clients. Others get 403: a web page
	// could let its own name point to this machine
	Names []string `toml:"names"`
}

func newHTTPConfig() HTTPConfig { return HTTPConfig{Address: "127.0.0.1:8025", TLS: "off"} }

func (c *Config) checkHTTP() {
	c.oneOf("http.tls", c.HTTP.TLS, "off", "implicit")
	if c.HTTP.Address == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.HTTP.Address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err == nil && host != "" && host != "localhost" {
		_, err = netip.ParseAddr(host)
	}
	if err != nil {
		c.doc.Fault("http.address", "http.address %q is not an address: write it like \"127.0.0.1:8025\"", relay.Clip(c.HTTP.Address))
	}
}
