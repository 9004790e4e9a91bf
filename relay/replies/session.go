package replies

import (
	"slices"
	"strings"

	"dawk/relay"
)

// The words by which servers tell apart what they say with 530: that TLS is to
// be started first (RFC 3207 §4), or that a login is needed (RFC 4954 §6).
const speaksOfTLS = "starttls"

var speaksOfLogin = []string{"authenticat", "smtp auth", "auth command", "log in", "login"}

// WantsTLS says whether r may be for want of TLS: by its code or status (RFC 3207
// §4, RFC 5248), or because it names STARTTLS.
func WantsTLS(r relay.Reply) bool { return tlsByCode(r) || mentions(r, speaksOfTLS) }

// WantsTLSNotLogin is WantsTLS for a reply that may be about a login as well. A
// smart host's word on our account must be left to what holds its route.
func WantsTLSNotLogin(r relay.Reply) bool {
	login := r.Code == 530 && mentions(r, speaksOfLogin...) && !mentions(r, speaksOfTLS)
	return tlsByCode(r) && !login
}

func tlsByCode(r relay.Reply) bool {
	needed := r.Status.Subject == 7 && (r.Status.Detail == 10 || r.Status.Detail == 11)
	return r.Code == 530 || r.Code == 523 || r.Code == 538 || needed
}

func mentions(r relay.Reply, words ...string) bool {
	text := strings.ToLower(r.Text)
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) })
}
