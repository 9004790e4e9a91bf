package tlsrpt

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"dawk/relay"
)

// RecordName is where a domain asks for reports.
func RecordName(domain string) string { return "_smtp._tls." + domain }

// Targets are where a domain wants its reports.
type Targets struct {
	Mail  []relay.Path
	HTTPS []string // absolute URLs, on port 443
}

// None says whether it wants none that can be sent.
func (t Targets) None() bool { return len(t.Mail)+len(t.HTTPS) == 0 }

// Bounds of a record, which strangers write.
const (
	maxMailboxes = 10
	maxHosts     = 3 // each of which may take its time
	maxURL       = 2000
)

// ParseRecord gives what TXT records ask for (RFC 8460 §3): nothing when there
// is not exactly one TLSRPT record.
func ParseRecord(records []string) (to Targets) {
	found := ""
	for _, r := range records {
		version, rest, _ := strings.Cut(r, ";")
		if strings.TrimSpace(version) != "v=TLSRPTv1" {
			continue
		}
		if found != "" {
			return to
		}
		found = rest
	}
	for field := range strings.SplitSeq(found, ";") {
		name, value, _ := strings.Cut(field, "=")
		if strings.TrimSpace(name) != "rua" {
			continue
		}
		for uri := range strings.SplitSeq(value, ",") {
			uri = strings.TrimSpace(uri)
			if p, ok := mailbox(uri); ok && !slices.Contains(to.Mail, p) && len(to.Mail) < maxMailboxes {
				to.Mail = append(to.Mail, p)
			}
			if u, ok := webAddress(uri); ok && !slices.Contains(to.HTTPS, u) && len(to.HTTPS) < maxHosts {
				to.HTTPS = append(to.HTTPS, u)
			}
		}
	}
	return to
}

func mailbox(uri string) (relay.Path, bool) {
	scheme, address, ok := strings.Cut(uri, ":")
	if !ok || !strings.EqualFold(scheme, "mailto") { // RFC 3986 §3.1: in capitals, too
		return relay.Path{}, false
	}
	address, _, _ = strings.Cut(address, "?")
	address, err := url.PathUnescape(address)
	if err != nil {
		return relay.Path{}, false
	}
	p, err := relay.ParsePath(address)
	return p, err == nil && p.Domain() != "" && p.ASCII() && len(address) <= 900 // it stands in a line of the report
}

// webAddress reads an https URI. Strangers write it: no other port, no login,
// no address in place of a name.
func webAddress(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || len(uri) > maxURL || u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.Port() != "" && u.Port() != "443" {
		return "", false
	}
	host, err := relay.NormalizeDomain(u.Hostname())
	if _, isAddr := netip.ParseAddr(u.Hostname()); err != nil || isAddr == nil || strings.HasPrefix(host, "[") {
		return "", false
	}
	u.Host, u.Fragment, u.RawFragment = host, "", ""
	return u.String(), true
}
