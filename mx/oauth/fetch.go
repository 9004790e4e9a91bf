package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/jwt"
)

// maxAnswer bounds the answer of a token endpoint, in octets.
const maxAnswer = 64 << 10

// fetch makes one token request by the flow.
func (s *Source) fetch(ctx context.Context) (access, error) {
	r := s.newRequest()
	ctx = r.in(ctx)
	got := time.Now()
	var tok *oauth2.Token
	var err error
	switch s.cfg.Flow {
	case ClientCredentials:
		tok, err = s.byClient(ctx, r)
	case ServiceAccount:
		tok, err = s.byServiceAccount(ctx, r)
	default:
		tok, err = s.byRefreshToken(ctx, r)
	}
	if err != nil {
		return access{}, s.explain(r, err)
	}
	a := accessOf(tok, got)
	if strings.ContainsFunc(a.token, func(c rune) bool { return c <= 0x20 || c >= 0x7f }) {
		return access{}, &Error{Words: "the token endpoint answered with a token that holds spaces or control characters", Fix: "check token_url"}
	}
	return a, nil
}

func (s *Source) byClient(ctx context.Context, r *request) (*oauth2.Token, error) {
	secret, err := firstLine(s.cfg.SecretFile)
	if err != nil {
		return nil, &Error{Words: "client_secret_file: " + err.Error(), Fix: "put the secret's value into the first line of that file"}
	}
	r.hide(secret)
	c := clientcredentials.Config{ClientID: s.cfg.ClientID, ClientSecret: secret, TokenURL: s.cfg.TokenURL,
		Scopes: strings.Fields(s.cfg.Scope), AuthStyle: oauth2.AuthStyleInParams}
	return c.Token(ctx)
}

// serviceAccount is the part of Google's key file that is used.
type serviceAccount struct {
	Type     string `json:"type"`
	Email    string `json:"client_email"`
	Key      string `json:"private_key"`
	KeyID    string `json:"private_key_id"`
	TokenURL string `json:"token_uri"`
}

func (s *Source) byServiceAccount(ctx context.Context, r *request) (*oauth2.Token, error) {
	data, err := readFile(s.cfg.ServiceAccountFile)
	if err != nil {
		return nil, &Error{Words: "service_account_file: " + err.Error(), Fix: "name the JSON key that Google gave out"}
	}
	var a serviceAccount
	if json.Unmarshal(data, &a) != nil || a.Type != "service_account" || a.Email == "" || a.Key == "" {
		return nil, &Error{Words: "service_account_file: " + s.cfg.ServiceAccountFile + " is not the JSON key of a service account",
			Fix: "make a key of type JSON in the Google console (IAM, Service accounts, Keys) and name that file"}
	}
	if s.cfg.TokenURL != "" {
		a.TokenURL = s.cfg.TokenURL
	}
	if err := CheckURL(a.TokenURL); err != nil {
		return nil, &Error{Words: "service_account_file: token_uri " + err.Error(), Fix: "use the file as Google gave it out"}
	}
	r.hide(a.Key)
	c := jwt.Config{Email: a.Email, PrivateKey: []byte(a.Key), PrivateKeyID: a.KeyID, Subject: s.cfg.User,
		Scopes: strings.Fields(s.cfg.Scope), TokenURL: a.TokenURL}
	return c.TokenSource(ctx).Token()
}

// byRefreshToken uses the stored token, or the one in the file if that is newer, and stores the
// token with which the provider replaces it.
func (s *Source) byRefreshToken(ctx context.Context, r *request) (*oauth2.Token, error) {
	k, err := s.refreshToken()
	if err != nil {
		return nil, err
	}
	r.hide(k.Refresh)
	c, err := s.config(r)
	if err != nil {
		return nil, err
	}
	tok, err := c.TokenSource(ctx, &oauth2.Token{RefreshToken: k.Refresh}).Token()
	if err != nil {
		return nil, err
	}
	// A rotated token is written at once, and the one in use from time to time, so that `oauth status`
	// can show its last use.
	if tok.RefreshToken == "" || tok.RefreshToken == k.Refresh && time.Since(k.At) < 24*time.Hour {
		return tok, nil
	}
	if now, err := s.refreshToken(); err == nil && now.Refresh != k.Refresh {
		return tok, nil // somebody has logged in meanwhile: theirs is newer
	}
	k.Refresh, k.At = tok.RefreshToken, time.Now().UTC()
	if err := s.keep(k); err != nil {
		return nil, &Error{Words: err.Error(), Fix: "make room in the data directory, or correct its permissions; until then no mail is sent with a token that a restart would lose", Temporary: true}
	}
	return tok, nil
}

func (s *Source) keep(k kept) error {
	return s.files.ours(s.store.path, func() error { return s.store.save(k) })
}

// refreshToken is the one to use next.
func (s *Source) refreshToken() (kept, error) {
	k, err := s.store.load()
	if err != nil && s.cfg.RefreshTokenFile == "" {
		return kept{}, &Error{Words: err.Error()}
	}
	if s.cfg.RefreshTokenFile != "" {
		line, ferr := firstLine(s.cfg.RefreshTokenFile)
		if ferr != nil {
			return kept{}, &Error{Words: "refresh_token_file: " + ferr.Error(), Fix: "put the refresh token into the first line of that file"}
		}
		sum := sha256.Sum256([]byte(line))
		if seed := hex.EncodeToString(sum[:]); k.Refresh == "" || k.Seed != seed {
			k = kept{Refresh: line, Seed: seed}
		}
	}
	if k.Refresh == "" {
		return kept{}, &Error{Words: "nobody has logged in yet", Fix: "run dawk oauth login " + s.cfg.Route}
	}
	return k, nil
}

// config is for the flows with a refresh token. Public clients have no secret.
func (s *Source) config(r *request) (*oauth2.Config, error) {
	secret := ""
	if s.cfg.SecretFile != "" {
		var err error
		if secret, err = firstLine(s.cfg.SecretFile); err != nil {
			return nil, &Error{Words: "client_secret_file: " + err.Error(), Fix: "put the secret into the first line of that file"}
		}
		r.hide(secret)
	}
	return &oauth2.Config{ClientID: s.cfg.ClientID, ClientSecret: secret, Scopes: strings.Fields(s.cfg.Scope),
		Endpoint: oauth2.Endpoint{TokenURL: s.cfg.TokenURL, DeviceAuthURL: s.cfg.DeviceURL, AuthStyle: oauth2.AuthStyleInParams}}, nil
}

// request watches one exchange with the token endpoint.
type request struct {
	base     *http.Transport
	limit    time.Duration // of one exchange; a login of a person is several
	secrets  []string      // never shown
	status   int
	location string    // the target of a redirect
	date     time.Time // the server's clock; zero: unknown
	tooLong  bool
	broken   error // what ended the answer before its end
}

func (s *Source) newRequest() *request {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Connect)
		defer cancel()
		return s.cfg.Dial(ctx, network, addr)
	}
	return &request{limit: s.cfg.Connect + s.cfg.Answer, base: &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSHandshakeTimeout: s.cfg.Connect,
		TLSClientConfig: &tls.Config{RootCAs: s.cfg.RootCAs, MinVersion: tls.VersionTLS12}}}
}

// in makes the flows of x/oauth2 use r.
func (r *request) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: r, Timeout: r.limit, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a secret is sent only to the configured address
	}})
}

func (r *request) hide(secret string) { r.secrets = append(r.secrets, secret) }

// RoundTrip implements http.RoundTripper.
func (r *request) RoundTrip(q *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := r.base.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	r.status, r.location = resp.StatusCode, resp.Header.Get("Location")
	r.date, _ = http.ParseTime(resp.Header.Get("Date")) // zero if it cannot be read
	resp.Body = &bounded{ReadCloser: resp.Body, r: r, left: maxAnswer, began: began}
	return resp, nil
}

var errTooLong = errors.New("the answer is longer than 64 KiB")

// bounded is an answer that ends with an error beyond its bound.
type bounded struct {
	io.ReadCloser
	r     *request
	left  int
	began time.Time // of the request
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		b.r.tooLong = true
		return 0, errTooLong
	}
	if err != nil && err != io.EOF {
		b.r.broken = err
		if time.Since(b.began) >= b.r.limit*9/10 { // its time was up: net/http says only that it was cancelled
			b.r.broken = context.DeadlineExceeded
		}
	}
	return n, err
}
