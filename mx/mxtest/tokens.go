//lint:file-ignore ST1005 the errors here are the providers' own words, as they write them

package mxtest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Tokens is an OAuth2 token endpoint: client credentials, refresh tokens,
// device codes and service accounts, in the words of Microsoft or Google. Its
// fields may be changed between requests, under Change.
type Tokens struct {
	Google   bool              // speaks as Google does; else as Microsoft
	Clients  map[string]string // client IDs with their secrets; "" for public ones
	Lifetime time.Duration     // of access tokens; 0: an hour
	Padding  int               // octets that make tokens longer
	Claims   string            // JSON of what tokens say of themselves; "": they say nothing
	Rotate   bool              // each refresh brings another refresh token
	// Strict ends a rotated refresh token at once. Without it the old one is
	// good until the new one is used, as at Microsoft.
	Strict  bool
	Refresh map[string]bool // refresh tokens that are good
	Account *rsa.PublicKey  // of the service account; see ServiceAccount

	srv     *http.Server
	url     string
	stop    context.CancelFunc
	stopped context.Context

	mu       sync.Mutex
	script   []Answer
	access   map[string]time.Time // tokens with their ends
	pending  map[string]string    // rotated refresh token: the one it replaces
	approved bool
	requests []url.Values
	changed  chan struct{}
}

// Answer is said in place of the usual.
type Answer struct {
	Status   int
	Body     string
	Location string        // of a redirect
	Delay    time.Duration // before it
	Hang     bool          // no answer at all
	Skew     time.Duration // of the Date header
	Times    int           // how often; below 1: till ClearScript
}

// Problem is Microsoft's or anybody's answer to a bad request.
func Problem(code, description string) Answer {
	b, _ := json.Marshal(map[string]string{"error": code, "error_description": description}) //nolint:errchkjson // strings
	return Answer{Status: http.StatusBadRequest, Body: string(b)}
}

// NewTokens starts an endpoint on loopback; with a certificate it speaks https.
func NewTokens(certificate *tls.Certificate) (*Tokens, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("token endpoint: %w", err)
	}
	t := &Tokens{Clients: map[string]string{}, Refresh: map[string]bool{}, access: map[string]time.Time{},
		pending: map[string]string{}, changed: make(chan struct{})}
	t.stopped, t.stop = context.WithCancel(context.Background())
	t.url = "http://" + l.Addr().String()
	if certificate != nil {
		t.url = "https://" + l.Addr().String()
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*certificate}})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", t.token)
	mux.HandleFunc("POST /devicecode", t.device)
	t.srv = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go t.srv.Serve(l) //nolint:errcheck // until Close
	return t, nil
}

// URL is the token URL; DeviceURL that of device codes.
func (t *Tokens) URL() string { return t.url + "/token" }

// DeviceURL is where device codes are asked for.
func (t *Tokens) DeviceURL() string { return t.url + "/devicecode" }

// Close ends it, and every request that hangs.
func (t *Tokens) Close() error {
	t.stop()
	return t.srv.Close()
}

// Change runs f while no request does.
func (t *Tokens) Change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}

// Script makes the next requests be answered so.
func (t *Tokens) Script(a Answer) { t.Change(func() { t.script = append(t.script, a) }) }

// ClearScript ends all scripts.
func (t *Tokens) ClearScript() { t.Change(func() { t.script = nil }) }

// Approve is the person who enters the device code.
func (t *Tokens) Approve() { t.Change(func() { t.approved = true }) }

// Revoke ends all access tokens.
func (t *Tokens) Revoke() { t.Change(func() { clear(t.access) }) }

// Good says whether an access token is good now.
func (t *Tokens) Good(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.access[token])
}

// Requests are the forms received so far.
func (t *Tokens) Requests() []url.Values {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.requests)
}

// Wait waits until n requests came.
func (t *Tokens) Wait(ctx context.Context, n int) error {
	for {
		t.mu.Lock()
		have, changed := len(t.requests), t.changed
		t.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d token requests, have %d: %w", n, have, context.Cause(ctx))
		}
	}
}

func (t *Tokens) note(r *http.Request) (Answer, bool) {
	r.ParseForm() //nolint:errcheck // an empty form is refused
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests = append(t.requests, r.PostForm)
	close(t.changed)
	t.changed = make(chan struct{})
	if len(t.script) == 0 {
		return Answer{}, false
	}
	a := t.script[0]
	if a.Times == 1 {
		t.script = t.script[1:]
	} else if a.Times > 1 {
		t.script[0].Times--
	}
	return a, true
}

// scripted answers as the script says.
func (t *Tokens) scripted(w http.ResponseWriter, r *http.Request, a Answer) (done bool) {
	wait := a.Delay
	if a.Hang {
		wait = time.Hour
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-t.stopped.Done():
			panic(http.ErrAbortHandler) // to return would be to answer 200
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	if a.Skew != 0 {
		w.Header().Set("Date", time.Now().Add(a.Skew).UTC().Format(http.TimeFormat))
	}
	if a.Status == 0 {
		return false
	}
	if a.Location != "" {
		w.Header().Set("Location", a.Location)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Status)
	w.Write([]byte(a.Body)) //nolint:errcheck // the client may have left
	return true
}

func (t *Tokens) token(w http.ResponseWriter, r *http.Request) {
	if a, ok := t.note(r); ok && t.scripted(w, r, a) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := r.PostForm
	secret, known := t.Clients[f.Get("client_id")]
	grant := f.Get("grant_type")
	switch {
	case grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if err := t.checkAssertion(f.Get("assertion")); err != nil {
			t.refuse(w, "invalid_grant", err.Error())
			return
		}
	case !known:
		t.refuse(w, t.say("unauthorized_client", "invalid_client"), t.say("AADSTS700016: Application with identifier was not found in the directory. Trace ID: 1 Correlation ID: 2", "The OAuth client was not found."))
		return
	case f.Get("client_secret") != secret:
		t.refuse(w, "invalid_client", t.say("AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID. Trace ID: 1", "Unauthorized"))
		return
	case grant == "refresh_token":
		t.refresh(w, f.Get("refresh_token"))
		return
	case grant == "urn:ietf:params:oauth:grant-type:device_code":
		if !t.approved {
			t.refuse(w, "authorization_pending", "AADSTS70016: pending")
			return
		}
		fresh := "refresh-" + rand.Text()
		t.Refresh[fresh] = true
		t.grant(w, fresh)
		return
	case grant != "client_credentials":
		t.refuse(w, "unsupported_grant_type", "no such grant type")
		return
	case !t.Google && !strings.HasSuffix(f.Get("scope"), "/.default"):
		t.refuse(w, "invalid_scope", "AADSTS1002012: The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed")
		return
	}
	t.grant(w, "")
}

func (t *Tokens) say(microsoft, google string) string {
	if t.Google {
		return google
	}
	return microsoft
}

func (t *Tokens) refresh(w http.ResponseWriter, token string) {
	if !t.Refresh[token] {
		t.refuse(w, "invalid_grant", t.say("AADSTS700082: The refresh token has expired due to inactivity. Trace ID: 1", "Token has been expired or revoked."))
		return
	}
	if old, rotated := t.pending[token]; rotated { // the new one is used: the old one ends
		delete(t.Refresh, old)
		delete(t.pending, token)
	}
	fresh := ""
	if t.Rotate {
		fresh = "refresh-" + rand.Text()
		t.Refresh[fresh] = true
		t.pending[fresh] = token
		if t.Strict {
			delete(t.Refresh, token)
		}
	}
	t.grant(w, fresh)
}

func (t *Tokens) grant(w http.ResponseWriter, refresh string) {
	life := t.Lifetime
	if life == 0 {
		life = time.Hour
	}
	token := "access-" + rand.Text() + strings.Repeat("x", t.Padding)
	if t.Claims != "" {
		token = base64.RawURLEncoding.EncodeToString([]byte(token)) + "." + base64.RawURLEncoding.EncodeToString([]byte(t.Claims)) + ".signature"
	}
	t.access[token] = time.Now().Add(life)
	answer := map[string]any{"token_type": "Bearer", "access_token": token, "expires_in": max(1, int(life/time.Second))}
	if refresh != "" {
		answer["refresh_token"] = refresh
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the client may have left
}

func (t *Tokens) refuse(w http.ResponseWriter, code, words string) {
	a := Problem(code, words)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Status)
	w.Write([]byte(a.Body)) //nolint:errcheck // the client may have left
}

func (t *Tokens) device(w http.ResponseWriter, r *http.Request) {
	if a, ok := t.note(r); ok && t.scripted(w, r, a) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	//nolint:errcheck // the client may have left
	json.NewEncoder(w).Encode(map[string]any{"device_code": "device-" + rand.Text(), "user_code": "ABCD-EFGH",
		"verification_uri": "https://login.example.test/device", "expires_in": 900, "interval": 1})
}

// checkAssertion verifies a signed assertion (RFC 7523 §3).
func (t *Tokens) checkAssertion(jwt string) error {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 || t.Account == nil {
		return fmt.Errorf("Invalid grant: account not found")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || rsa.VerifyPKCS1v15(t.Account, crypto.SHA256, sum[:], signature) != nil {
		return fmt.Errorf("Invalid JWT Signature.")
	}
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var c struct {
		Aud, Sub, Scope string
		Iat, Exp        int64
	}
	switch now := time.Now().Unix(); {
	case json.Unmarshal(body, &c) != nil || c.Sub == "" || c.Aud != t.URL() || c.Scope != "https://mail.google.com/":
		return fmt.Errorf("Invalid JWT: claims")
	case c.Iat > now+300 || c.Exp < now || c.Exp > c.Iat+3700:
		return fmt.Errorf("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.")
	}
	return nil
}

// ServiceAccount makes a key file as Google gives it out, and lets it in.
func (t *Tokens) ServiceAccount() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("service account: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("service account: %w", err)
	}
	t.Change(func() { t.Account = &key.PublicKey })
	return json.Marshal(map[string]string{"type": "service_account", "client_email": "relay@project.iam.example.test",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "private_key_id": "1", "token_uri": t.URL()})
}
