package oauth_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dawk/mx/mxtest"
	"dawk/mx/oauth"
	"dawk/relay"
	"dawk/relay/replies"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func endpoint(t *testing.T) *mxtest.Tokens {
	t.Helper()
	e, err := mxtest.NewTokens(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	e.Clients["app"] = "the-secret"
	return e
}

func source(t *testing.T, cfg oauth.Config) *oauth.Source {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	s, err := oauth.NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// byClient is a client credentials login with its secret in a file.
func byClient(t *testing.T, e *mxtest.Tokens) (oauth.Config, string) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "the-secret\r\n")
	return oauth.Config{Route: "office", User: "scanner@example.org", Provider: replies.ProviderMicrosoft, Flow: oauth.ClientCredentials,
		TokenURL: e.URL(), ClientID: "app", Scope: "https://outlook.office365.com/.default", SecretFile: secret,
		Dir: filepath.Join(t.TempDir(), "oauth"), Connect: time.Minute, Answer: time.Minute}, secret
}

func byRefresh(t *testing.T, e *mxtest.Tokens) (oauth.Config, string) {
	cfg, _ := byClient(t, e)
	file := filepath.Join(t.TempDir(), "refresh")
	write(t, file, "first\n")
	e.Refresh["first"] = true
	cfg.Flow, cfg.RefreshTokenFile = oauth.RefreshToken, file
	return cfg, file
}

func token(t *testing.T, s *oauth.Source) string {
	t.Helper()
	got, err := s.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestOneRequestHoweverManyWait(t *testing.T) {
	e := endpoint(t)
	e.Script(mxtest.Answer{Delay: 100 * time.Millisecond, Times: 1})
	cfg, _ := byClient(t, e)
	s := source(t, cfg)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := s.Token(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	token(t, s)
	if n := len(e.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	e := endpoint(t)
	cfg, _ := byClient(t, e)
	s := source(t, cfg)
	first := token(t, s)
	if s.Refused(first) {
		t.Error("a token that was refused at its first use is worth another login")
	}
	second := token(t, s)
	if second == first {
		t.Error("a refused token was given out again")
	}
	token(t, s) // it served before, so far as we know
	if !s.Refused(second) {
		t.Error("a token that served before and is refused now is not worth another login")
	}
	if !s.Refused(second) {
		t.Error("of two connections that it was refused on, the second gives up")
	}
	if token(t, s) == second || len(e.Requests()) != 3 {
		t.Errorf("%d requests", len(e.Requests()))
	}
}

func TestChangedSecretIsReadAgain(t *testing.T) {
	e := endpoint(t)
	cfg, file := byClient(t, e)
	write(t, file, "wrong")
	s := source(t, cfg)
	if _, err := s.Token(t.Context()); err == nil {
		t.Fatal("a wrong secret brought a token")
	}
	write(t, file, "the-secret")
	token(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	s.Run(ctx, cancel) // it ends when it has told of the change
}

func TestRotatedTokenOutlivesTheProcess(t *testing.T) {
	e := endpoint(t)
	e.Rotate, e.Strict = true, true
	cfg, file := byRefresh(t, e)
	for range 3 { // each a relay of its own
		s := source(t, cfg)
		token(t, s)
		if !s.Status().Stored {
			t.Error("nothing is stored")
		}
		s.Close()
	}
	all, err := filepath.Glob(filepath.Join(cfg.Dir, "*"))
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, f := range all {
		data, err := os.ReadFile(f)
		if err != nil || bytes.Contains(data, []byte("refresh-")) {
			t.Errorf("%s: %v; a token in the clear: %q", f, err, data)
		}
		if st, _ := os.Stat(f); st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", f, st.Mode())
		}
	}

	// Another content of the file wins, and another login cannot open it.
	e.Change(func() { e.Refresh["second"] = true })
	write(t, file, "second\n")
	token(t, source(t, cfg))
	if got := e.Requests()[3].Get("refresh_token"); got != "second" {
		t.Errorf("refreshed with %q", got)
	}
}

func TestDamagedStoreIsSaid(t *testing.T) {
	e := endpoint(t)
	e.Rotate = true
	cfg, _ := byRefresh(t, e)
	token(t, source(t, cfg))
	files, _ := filepath.Glob(filepath.Join(cfg.Dir, "*.token"))
	write(t, files[0], strings.Repeat("x", 100))
	cfg.RefreshTokenFile, cfg.Flow, cfg.DeviceURL = "", oauth.DeviceCode, e.DeviceURL()
	_, err := source(t, cfg).Token(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not fit the key beside it: log in again") {
		t.Error(err)
	}
}

func TestTroubleIsOneSentence(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer mxtest.Answer
		want   string
	}{
		{"expired secret", mxtest.Problem("invalid_client", "AADSTS7000222: The provided client secret keys for app 'x' are expired. Trace ID: 1 Correlation ID: 2"), "has expired: make a new one in Entra"},
		{"echoed secret", mxtest.Problem("invalid_client", "bad secret the-secret here"), "bad secret … here → client_id or the secret is wrong"},
		{"unknown", mxtest.Problem("whatever", "AADSTS99999: Huh"), "AADSTS99999: Huh → check token_url"},
		{"control characters", mxtest.Problem("x\r\ny", "a\r\nb\x1b[31m"), "400 without a reason"},
		{"outage", mxtest.Answer{Status: http.StatusServiceUnavailable}, "answered 503 without a reason → the provider is in trouble; dawk asks again"},
		{"garbage", mxtest.Answer{Status: http.StatusOK, Body: "<html>"}, "answered 200 without a token in it"},
		{"no token", mxtest.Answer{Status: http.StatusOK, Body: "{}"}, "answered 200 without a token in it"},
		{"bad token", mxtest.Answer{Status: http.StatusOK, Body: `{"access_token":"a\r\nMAIL FROM:<x>","expires_in":3600}`}, "holds spaces or control characters"},
		{"huge", mxtest.Answer{Status: http.StatusOK, Body: strings.Repeat("x", 65<<10)}, "more than 64 KiB"},
		{"redirect", mxtest.Answer{Status: http.StatusTemporaryRedirect, Location: "https://evil.example.test/x"}, "redirects (307) to evil.example.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := endpoint(t)
			e.Script(c.answer)
			cfg, _ := byClient(t, e)
			_, err := source(t, cfg).Token(t.Context())
			var told *oauth.Error
			if !errors.As(err, &told) || !strings.Contains(relay.Advised(err.Error(), relay.RemedyOf(err)), c.want) {
				t.Fatalf("%v", err)
			}
			if s := err.Error(); strings.ContainsAny(s, "\r\n\x1b") || strings.Contains(s, "the-secret") || strings.Contains(s, "Trace ID") {
				t.Errorf("%q", s)
			}
			if n := len(e.Requests()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestEndpointThatIsGoneOrSilent(t *testing.T) {
	e := endpoint(t)
	cfg, _ := byClient(t, e)
	e.Script(mxtest.Answer{Hang: true})
	cfg.Connect, cfg.Answer = 50*time.Millisecond, 50*time.Millisecond
	if _, err := source(t, cfg).Token(t.Context()); err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Error(err)
	}
	e.Close()
	cfg.Connect, cfg.Answer = 5*time.Second, 5*time.Second
	if _, err := source(t, cfg).Token(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Error(err)
	}
}

func TestWaitingEndsWithTheAttempt(t *testing.T) {
	e := endpoint(t)
	e.Script(mxtest.Answer{Hang: true})
	cfg, _ := byClient(t, e)
	s := source(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { e.Wait(ctx, 1); cancel() }() //nolint:errcheck // cancelled below
	if _, err := s.Token(ctx); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Error(err)
	}
}

func TestRunRenewsWithoutMail(t *testing.T) {
	e := endpoint(t)
	e.Lifetime = time.Second
	cfg, _ := byClient(t, e)
	s := source(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	done := make(chan struct{})
	go func() { s.Run(ctx, func() {}); close(done) }()
	if err := e.Wait(ctx, 3); err != nil {
		t.Error(err)
	}
	cancel()
	<-done
}

func TestLoginDoesNotWaitForEver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // connections are made, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg, _ := byClient(t, endpoint(t))
	cfg.Flow, cfg.SecretFile, cfg.Connect, cfg.Answer = oauth.DeviceCode, "", 50*time.Millisecond, 50*time.Millisecond
	cfg.TokenURL, cfg.DeviceURL = "http://"+l.Addr().String()+"/token", "http://"+l.Addr().String()+"/devicecode"
	err = source(t, cfg).Login(t.Context(), func(oauth.Prompt) { t.Error("it shows a code that nobody gave") })
	if err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Error(err)
	}
}

// An endpoint that trickles its answer is one that did not answer in time, and not
// one that answered without a token.
func TestTrickledAnswerIsATimeout(t *testing.T) {
	stop := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"`)
		for r.Context().Err() == nil {
			select {
			case <-time.After(time.Millisecond):
				io.WriteString(w, "x")
				http.NewResponseController(w).Flush() //nolint:errcheck // who asked may have gone
			case <-stop:
				return
			}
		}
	}))
	defer slow.Close()
	defer close(stop)
	cfg, _ := byClient(t, endpoint(t))
	cfg.TokenURL, cfg.Connect, cfg.Answer = slow.URL, 50*time.Millisecond, 50*time.Millisecond
	_, err := source(t, cfg).Token(t.Context())
	var e *oauth.Error
	if !errors.As(err, &e) || !e.Temporary || !strings.Contains(err.Error(), "did not answer in time") {
		t.Error(err)
	}
}

// An outage of the token endpoint that holds a route ends its hold, too, and
// not only the next try of whatever waits, which may be hours away.
func TestRunTellsThatTokensAreBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := endpoint(t) // for its configuration
		cfg, _ := byClient(t, e)
		e.Close()
		var up atomic.Bool
		cfg.TokenURL = "http://127.0.0.1:1/token"
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
			if !up.Load() {
				return nil, errors.New("no route to host")
			}
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				if q, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
					io.Copy(io.Discard, q.Body) //nolint:errcheck // whatever it is
					const body = `{"access_token":"good","token_type":"Bearer","expires_in":3600}`
					fmt.Fprintf(theirs, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
				}
			}()
			return ours, nil
		}
		s := source(t, cfg)
		var told atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx, func() { told.Add(1) }); close(done) }()
		time.Sleep(time.Hour) // the bubble's clock
		if _, err := s.Token(t.Context()); err == nil || told.Load() != 0 {
			t.Errorf("%v, told %d times", err, told.Load())
		}
		up.Store(true)
		time.Sleep(16 * time.Minute)
		if told.Load() != 1 {
			t.Errorf("told %d times that tokens are back", told.Load())
		}
		time.Sleep(3 * time.Hour) // renewals are no news
		if told.Load() != 1 {
			t.Errorf("told %d times", told.Load())
		}
		cancel()
		<-done
	})
}

func TestConfigurationFaults(t *testing.T) {
	good := oauth.Config{Flow: oauth.ClientCredentials, TokenURL: "https://login.example.test/token", ClientID: "a", SecretFile: "s"}
	for _, c := range []struct {
		change func(*oauth.Config)
		want   string
	}{
		{func(c *oauth.Config) {}, ""},
		{func(c *oauth.Config) { c.TokenURL = "http://127.0.0.1:1/token" }, ""},
		{func(c *oauth.Config) { c.TokenURL = "http://login.example.test/token" }, "is not https"},
		{func(c *oauth.Config) { c.TokenURL = "https://u:p@login.example.test/token" }, "is not a URL"},
		{func(c *oauth.Config) { c.SecretFile = "" }, "needs client_secret_file"},
		{func(c *oauth.Config) { c.Flow = "magic" }, "is unknown"},
		{func(c *oauth.Config) { c.Flow = oauth.RefreshToken }, "needs refresh_token_file"},
		{func(c *oauth.Config) { c.Flow = oauth.DeviceCode }, `is for type = "microsoft365"`},
	} {
		cfg := good
		c.change(&cfg)
		if err := cfg.Validate().Err(); fmt.Sprint(err) == "<nil>" != (c.want == "") || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}
