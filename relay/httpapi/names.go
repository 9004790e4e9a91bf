package httpapi

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"dawk/relay"
)

// OnlyNames refuses requests for hosts that are not this one. They come from a browser on this
// machine: a web page has pointed its own name here, and could read what needs no token (DNS
// rebinding). That is impossible with an IP address. The first one is logged, with what to do about
// it.
func OnlyNames(names []string, log *slog.Logger, next http.Handler) http.Handler {
	refused := Refusal(http.StatusForbidden, "the request is for another host than this one: use localhost or the IP address")
	var once sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.TrimSuffix(host, ".")
		_, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil && host != "" && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, host) }) {
			once.Do(func() {
				log.Warn("HTTP requests for another host name are refused; if the name is this relay's, list it in [http] names", "name", relay.Sanitize(host))
			})
			refused.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Refusal answers every request with an error. The sentence is for whoever sent it; what an
// administrator can do about it belongs in the log.
func Refusal(code int, sentence string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fail(w, code, sentence) })
}
