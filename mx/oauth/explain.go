package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"dawk/relay"
)

// Error says why there is no token: the provider's text, and what to do about it. It holds no
// secret.
type Error struct {
	Code      string // "AADSTS7000222", "invalid_grant" …; "" without an answer
	Words     string // what was said or what happened
	Fix       string // cause and remedy in one sentence; "" if nothing is known but the text
	Temporary bool   // it may pass by itself
}

// Error is the words, with the code.
func (e *Error) Error() string {
	s := e.Words
	if e.Code != "" && !strings.Contains(s, e.Code) {
		s = e.Code + ": " + s
	}
	return relay.Sanitize(s)
}

// Remedy is Fix, for relay.Remedied.
func (e *Error) Remedy() string { return e.Fix }

// maxWords bounds what is kept of a provider's description, in octets: after
// the first sentence come trace numbers.
const maxWords = 400

var (
	aadCode   = regexp.MustCompile(`AADSTS\d{5,7}`)
	aadTrace  = regexp.MustCompile(`(?i)\s*(Trace ID|Correlation ID|Timestamp):.*`)
	codeWords = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
)

// explain turns a failed request into an Error.
func (s *Source) explain(r *request, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	host := s.host()
	var answer *oauth2.RetrieveError
	switch {
	case r.tooLong:
		return &Error{Words: fmt.Sprintf("%s answered with more than 64 KiB", host), Fix: "that is not a token endpoint: check token_url, tenant, and proxies on the way"}
	case r.broken != nil:
		return explainSilence(host, s.cfg.Answer, r.broken)
	case r.status >= 300 && r.status < 400:
		return &Error{Words: fmt.Sprintf("%s redirects (%d) to %s", host, r.status, hostOf(r.location)),
			Fix: "secrets are not sent after a redirect: write the address that answers into token_url"}
	case errors.As(err, &answer):
		return s.explainAnswer(r, answer)
	case r.status != 0:
		return &Error{Words: fmt.Sprintf("%s answered %d without a token in it", host, r.status),
			Fix: "that is not a token endpoint, or a proxy answered in its place: check token_url and tenant", Temporary: r.status >= 500}
	}
	return explainSilence(host, s.cfg.Answer, err)
}

// explainAnswer is for what the endpoint said (RFC 6749 §5.2).
func (s *Source) explainAnswer(r *request, a *oauth2.RetrieveError) error {
	words, code := a.ErrorDescription, a.ErrorCode
	if code == "" { // the JWT flow leaves the parsing of the body to us
		code, words = parseProblem(a.Body)
	}
	for _, secret := range r.secrets {
		words = strings.ReplaceAll(words, secret, "…")
	}
	words = aadTrace.ReplaceAllString(strings.ReplaceAll(words, "\r\n", " "), "")
	if len(words) > maxWords {
		words = words[:maxWords]
	}
	if !codeWords.MatchString(code) {
		code = ""
	}
	e := &Error{Code: code, Words: relay.Sanitize(words), Temporary: r.status >= 500 || r.status == 429}
	if aad := aadCode.FindString(words); aad != "" {
		e.Code = aad
	}
	if e.Code == "" {
		e.Words = fmt.Sprintf("%s answered %d without a reason", s.host(), r.status)
	} else if e.Words == "" {
		e.Words = fmt.Sprintf("%s answered %d", s.host(), r.status)
	}
	e.Fix = s.remedy(e, code)
	if skew := time.Since(r.date); !r.date.IsZero() && skew.Abs() > 3*time.Minute {
		e.Fix = fmt.Sprintf("this machine's clock differs from the provider's by %s: set it (NTP)", skew.Abs().Round(time.Second))
	}
	return e
}

// explainSilence explains a request that got no answer.
func explainSilence(host string, limit time.Duration, err error) error {
	e := &Error{Temporary: true}
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var dns *net.DNSError
	switch {
	case errors.As(err, &cert), errors.As(err, &unknown):
		e.Words = fmt.Sprintf("the certificate of %s does not verify: %s", host, last(err))
		e.Fix, e.Temporary = "check token_url and the clock, and delivery.ca_file if a proxy or a private authority signs it", false
	case errors.As(err, &dns):
		e.Words, e.Fix = fmt.Sprintf("the address of %s cannot be looked up: %s", host, dns.Err), "check token_url and dns.servers"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e.Words, e.Fix = fmt.Sprintf("%s did not answer in time (delivery.timeouts: connect, command = %v)", host, limit), "the provider is down, or a firewall swallows https to it; dawk asks again"
	default:
		e.Words, e.Fix = fmt.Sprintf("%s cannot be reached: %s", host, last(err)), "check that this machine may open https connections to it; dawk asks again"
	}
	return e
}

// last is the innermost reason of a chain of wrapped network errors.
func last(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return relay.Sanitize(err.Error())
}

func (s *Source) host() string {
	if h := hostOf(s.cfg.TokenURL); h != "" {
		return h
	}
	return "the token endpoint"
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return relay.Sanitize(raw)
	}
	return relay.Sanitize(u.Host)
}
