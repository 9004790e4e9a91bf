package pages_test

import (
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/admin/door"
	"dawk/relay/admin/operator"
	"dawk/relay/admin/pages"
	"dawk/relay/identity"
)

// The pages themselves are clicked through in a browser: .ci/browser. Here is what
// no browser does.

// world has the pages for alice, and an API that notes what it is asked.
type world struct {
	http.Handler
	asked  []string
	api    string // what the API answers
	body   string // what it has for a message
	cookie *http.Cookie
	token  string
}

func newWorld(t *testing.T, role operator.Role) *world {
	t.Helper()
	e := operator.Editor{Path: filepath.Join(t.TempDir(), "operators.toml")}
	hash, err := identity.HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Add(operator.Operator{Name: "alice", Role: role, Password: hash}); err != nil {
		t.Fatal(err)
	}
	w := &world{api: "{}"}
	api := http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.asked = append(w.asked, operator.CallerOf(r.Context()).Name+" "+r.Method+" "+r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/content") {
			io.WriteString(out, w.body)
			return
		}
		io.WriteString(out, w.api)
	})
	w.Handler = pages.New(&door.Door{Operators: operator.Open(e.Path), Sessions: door.NewSessions(), Backoff: identity.NewBackoff(0),
		Observer: relay.Observers{}, Log: slog.New(slog.DiscardHandler)}, api, "relay.test")
	r := w.ask("POST", "/login?to=", url.Values{"name": {"alice"}, "password": {"correct horse"}, "to": {"//evil.example/"}}, nil)
	if r.Code != 303 || r.Header().Get("Location") != "/" {
		t.Fatalf("login: %d to %q", r.Code, r.Header().Get("Location"))
	}
	w.cookie = r.Result().Cookies()[0]
	page := w.ask("GET", "/queue", nil, nil).Body.String()
	w.token = regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(page)[1]
	w.asked = nil
	return w
}

func (w *world) ask(method, path string, form url.Values, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.RemoteAddr = "127.0.0.1:9"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	if w.cookie != nil {
		r.AddCookie(w.cookie)
	}
	out := httptest.NewRecorder()
	w.ServeHTTP(out, r)
	return out
}

func TestForeignForms(t *testing.T) {
	w := newWorld(t, operator.Operate)
	form := func(token string) url.Values {
		return url.Values{"verb": {"retry"}, "id": {"1RK3ZC8Q9D4-7ABC"}, "token": {token}}
	}
	for name, header := range map[string]map[string]string{
		"another site":             {"Sec-Fetch-Site": "cross-site"},
		"another host of the site": {"Sec-Fetch-Site": "same-site"},
		"an old browser":           {"Origin": "https://evil.example"},
	} {
		if r := w.ask("POST", "/queue/act", form(w.token), header); r.Code != 403 {
			t.Errorf("%s: %d", name, r.Code)
		}
	}
	for _, token := range []string{"", "x"} {
		if r := w.ask("POST", "/queue/act", form(token), nil); r.Code != 403 {
			t.Errorf("token %q: %d", token, r.Code)
		}
	}
	if len(w.asked) > 0 {
		t.Errorf("%q", w.asked)
	}
	if r := w.ask("POST", "/queue/act", form(w.token), nil); r.Code != 303 || len(w.asked) != 1 || w.asked[0] != "alice POST /v1/queue/act" {
		t.Errorf("our own: %d %q", r.Code, w.asked)
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t, operator.Read)
	for _, path := range []string{"/queue", "/login", "/style.css", "/live.js", "/nothing"} {
		h := w.ask("GET", path, nil, nil).Header()
		if h.Get("Cache-Control") != "no-store" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none';") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
	}
	w.cookie = nil
	if r := w.ask("GET", "/message/x?a=b", nil, nil); r.Code != 303 || r.Header().Get("Location") != "/login?to=%2Fmessage%2Fx%3Fa%3Db" {
		t.Errorf("%d to %q", r.Code, r.Header().Get("Location"))
	}
}

// A login leads to pages of ours alone, whatever a link to it says.
func TestLoginLeadsNowhereElse(t *testing.T) {
	w := newWorld(t, operator.Read)
	w.cookie = nil
	for to, want := range map[string]string{
		"/queue?filter=to%3D%40example.com": "/queue?filter=to%3D%40example.com", "/message/x": "/message/x",
		"": "/", "https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/", "/\t/evil.example": "/", "/\n/evil.example": "/",
	} {
		r := w.ask("POST", "/login", url.Values{"name": {"alice"}, "password": {"correct horse"}, "to": {to}}, nil)
		if got := r.Header().Get("Location"); got != want {
			t.Errorf("%q: %q, want %q", to, got, want)
		}
	}
}

// Whoever has acted is back at the same filter, whatever it says.
func TestBackAtTheFilter(t *testing.T) {
	w := newWorld(t, operator.Operate)
	w.api = `{"items": [{"message": {"id": "1RK3ZC8Q9D4-7ABC", "from": "a@b.test", "recipients": []}, "deliveries": []}]}`
	const filter = "from=a+b@example.org to=50%@example.com reason=a&b"
	page := w.ask("GET", "/queue?"+url.Values{"filter": {filter}}.Encode(), nil, nil).Body.String()
	back := html.UnescapeString(regexp.MustCompile(`name="back" value="([^"]+)"`).FindStringSubmatch(page)[1])
	r := w.ask("POST", "/queue/act", url.Values{"verb": {"retry"}, "id": {"1RK3ZC8Q9D4-7ABC"}, "token": {w.token}, "back": {back}}, nil)
	at, err := url.Parse(r.Header().Get("Location"))
	if err != nil || at.Path != "/queue" || at.Query().Get("filter") != filter {
		t.Errorf("%s, %v", r.Header().Get("Location"), err)
	}
}

// What servers said is escaped, like all that comes from outside.
func TestTranscriptOnThePage(t *testing.T) {
	w := newWorld(t, operator.Read)
	w.api = `{"id":"1RK3ZC8Q9D4-7ABC","state":"finished","transcripts":[{"attempt":3,"omitted":2,"lines":[` +
		`{"after_ms":1500,"by":"client","text":"RCPT TO:<b@b.test>"},{"after_ms":2000,"by":"server","text":"550 <script>alert(1)</script>"}]}]}`
	page := w.ask("GET", "/message/1RK3ZC8Q9D4-7ABC", nil, nil).Body.String()
	for _, want := range []string{"What was said in attempt 3", "  1.500s &gt; RCPT TO:&lt;b@b.test&gt;\n", "  2.000s &lt; 550 &lt;script&gt;alert(1)&lt;/script&gt;\n", "said before is not kept"} {
		if !strings.Contains(page, want) {
			t.Errorf("lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "<script>alert") {
		t.Error(page)
	}
}

// The page tells the whole timeline that the command tells, and says so where the end is unknown.
func TestTimelineOnThePage(t *testing.T) {
	w := newWorld(t, operator.Read)
	for answer, wants := range map[string][]string{
		`"events":[{"recipient":"a@b.test","action":"bounced","reply":{"code":550,"text":"550 no such user"}},{"action":"released"}]`: {
			"a@b.test <strong>bounced</strong>", "no such user", ": <strong>released</strong>", "How it ended is not remembered"},
		`"ended":[{"recipient":"a@b.test","action":"delivered"}],"notices":[{"id":"","kind":"failed"}]`: {
			"delivered", "a notice (failed) is part of a later list"},
	} {
		w.api = `{"id":"1RK3ZC8Q9D4-7ABC","state":"finished",` + answer + `}`
		page := w.ask("GET", "/message/1RK3ZC8Q9D4-7ABC", nil, nil).Body.String()
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("lacks %q:\n%s", want, page)
			}
		}
		if strings.Contains(page, "not remembered") != strings.Contains(answer, "events") {
			t.Error(page)
		}
	}
}
