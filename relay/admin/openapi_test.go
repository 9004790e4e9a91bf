package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/admin/api"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/operator"
	"dawk/relay/admin/past"
	"dawk/relay/admin/suppressed"
	"dawk/relay/admin/traffic"
	"dawk/relay/admin/webhooks"
	"dawk/relay/history"
	"dawk/relay/suppression"
	"dawk/relay/webhook"
)

// document is what the test reads of OpenAPI.
type document struct {
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	Summary     string        `json:"summary"`
	OperationID string        `json:"operationId"`
	Role        operator.Role `json:"x-role"`
	Parameters  []struct {
		Name, In, Description string
		Example               any
	} `json:"parameters"`
	Body *struct {
		Content map[string]struct {
			Example json.RawMessage `json:"example"`
			Schema  schema          `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	} `json:"responses"`
}

type schema map[string]any

// everything is a relay that offers all.
func everything(t *testing.T) (admin.Config, *store) {
	s := newStore()
	id, err := relay.ParseQueueID("1RK3ZC8Q9D4-7ABC")
	if err != nil {
		t.Fatal(err)
	}
	i := s.put(t, 1, time.Hour, "a@one.test")
	i.Message.ID = id
	i.Deliveries[0].Attempts = 1
	s.content[id] = "Subject: x\r\n\r\nbody\r\n"
	s.loads = []relay.ProviderLoad{{Name: "route:office", State: relay.LoadDown, Since: time.Now(), Queued: 3}}
	acts, err := audit.Open(filepath.Join(t.TempDir(), "audit"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	back, err := kept.Open(filepath.Join(t.TempDir(), "acts"), "relay.example.org")
	if err != nil {
		t.Fatal(err)
	}
	more := append(suppressedPaths(t, acts), webhookPaths(t, acts)...)
	report := func(context.Context) (admin.Report, error) { return admin.Report{Messages: 1}, nil }
	return admin.Config{Queue: s, Dispatcher: s, History: past.NewHistory(3, nil), Version: "1",
		Audit: acts, Kept: back, More: more,
		Began: time.Now(), Traffic: &admin.Traffic{}, Rates: &traffic.RateCounter{}, Routes: func() []string { return []string{"office"} },
		ConfigState: func() admin.ConfigState { return admin.ConfigState{State: admin.ConfigChanged} },
		Ends:        func() []admin.Ending { return []admin.Ending{{What: "certificate"}} },
		Store:       func() admin.StoreStats { return admin.StoreStats{Messages: 1} }, Compact: report,
		Verify: func(ctx context.Context, progress func(done, total int64)) (admin.Report, error) {
			progress(1, 2)
			return report(ctx)
		},
		Backup: func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "copy"); return err },
		Explain: func(context.Context, string, string, string) (admin.Explanation, error) {
			return admin.Explanation{OK: true, Refused: relay.Reply{Code: 550, Text: "no"}}, nil
		},
		Logins:    func() []admin.LoginStatus { return []admin.LoginStatus{{Why: "it is held"}} },
		TestLogin: func(context.Context, string) (admin.LoginTest, error) { return admin.LoginTest{OK: true}, nil },
		Drain:     func(_ context.Context, each func(admin.Draining)) { each(admin.Draining{Due: 1}) },
		Reload:    func() ([]admin.ConfigChange, error) { return []admin.ConfigChange{{Key: "queue.retry"}}, nil },
		Configuration: func() admin.Configuration {
			return admin.Configuration{Settings: []admin.Setting{{Key: "queue.retry", Value: []string{"1m"}, From: "file"}}}
		},
		Budgets: func() []shaping.BudgetState { return []shaping.BudgetState{{}} },
		Past: func(filter string, limit int) (admin.PastRecords, error) {
			_, err := history.Terms.Parse(filter, time.Now())
			return admin.PastRecords{Records: []history.Record{{Event: relay.Event{Kind: relay.EventFailed, Reply: relay.Reply{Code: 550}}}}, Found: 1}, err
		},
		Identities:  func() []admin.Identity { return []admin.Identity{{Name: "shop", Hold: &admin.UserHold{Name: "shop"}}} },
		Check:       func() []admin.Finding { return []admin.Finding{{Check: "dns", Level: "error"}} },
		Devices:     admin.NewDevices([]string{"x"}),
		Holds:       func() []admin.UserHold { return []admin.UserHold{{Name: "shop"}} },
		ReleaseUser: func(string) (admin.UserHold, error) { return admin.UserHold{Name: "shop"}, nil },
	}, s
}

// suppressedPaths are those of a suppression list, with a link that stands for a reader.
func suppressedPaths(t *testing.T, who *audit.Log) []api.Endpoint {
	list := suppression.New(t.TempDir(), slog.New(slog.DiscardHandler))
	if err := list.Configure(&suppression.Config{After: 2, Expires: time.Hour, Scope: suppression.ScopeAll, Answer: suppression.AnswerBounce}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Close() })
	desk := suppressed.Desk{List: list, Audit: who, Log: slog.New(slog.DiscardHandler), Whose: func(token string) (identity, address string, err error) {
		if token != suppressed.ExampleToken {
			err = errors.New("it is no token")
		}
		return "shop", "reader@example.com", err
	}}
	return desk.Endpoints()
}

// webhookPaths are those of a webhook that runs, and whose receiver takes all.
func webhookPaths(t *testing.T, who *audit.Log) []api.Endpoint {
	dir := t.TempDir()
	q := openQueue(t, filepath.Join(dir, "queue"))
	hooks, err := webhook.New(webhook.Options{Dir: filepath.Join(dir, "webhooks"), Outbox: q.Outbox(), Log: slog.New(slog.DiscardHandler)},
		[]webhook.Config{{Name: "crm", URL: "https://crm.example.org/mail", Secrets: func() ([][]byte, error) { return [][]byte{[]byte("secret")}, nil },
			Post: func(context.Context, string, map[string]string, []byte) (int, error) { return 200, nil }}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { hooks.Run(ctx); close(ended) }()
	t.Cleanup(func() { stop(); <-ended; q.Close() })
	desk := webhooks.Desk{Hooks: func() *webhook.Hooks { return hooks }, Audit: who, Log: slog.New(slog.DiscardHandler)}
	return desk.Endpoints()
}

// TestOpenAPI calls every path of the document as it says, and compares the answer
// with what it says. There are no other paths: the document and the paths that are
// served come from one table.
func TestOpenAPI(t *testing.T) {
	c, _ := everything(t)
	h := admin.NewHandler(c)
	w := httptest.NewRecorder()
	operator.As(operator.Caller{Name: "a", Role: operator.Read}, h).ServeHTTP(w, httptest.NewRequest("GET", "/v1/openapi.json", nil))
	var d document
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || len(d.Paths) < 20 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for _, path := range []string{"/v1/webhooks/replay", "/v1/suppression/token"} { // what everything offers beyond the table here
		if d.Paths[path] == nil {
			t.Errorf("the document has no %s", path)
		}
	}
	names := map[string]bool{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			t.Run(op.OperationID, func(t *testing.T) {
				if op.Summary == "" || names[op.OperationID] || op.Role == operator.Nobody {
					t.Errorf("summary %q, name %q, role %s", op.Summary, op.OperationID, op.Role)
				}
				names[op.OperationID] = true
				d.call(t, h, strings.ToUpper(method), path, op)
			})
		}
	}
}

func (d *document) call(t *testing.T, h http.Handler, method, path string, op operation) {
	query := url.Values{}
	for _, p := range op.Parameters {
		switch example := fmt.Sprint(p.Example); {
		case p.Example == nil || p.Description == "":
			t.Errorf("parameter %s has no example or no description", p.Name)
		case p.In == "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", example)
		default:
			query.Set(p.Name, example)
		}
	}
	if strings.Contains(path, "{") {
		t.Errorf("%s: a parameter of the path is not described", path)
	}
	var body []byte
	if op.Body != nil {
		for media, b := range op.Body.Content {
			if body = b.Example; media == "application/json" {
				d.check(t, "request", b.Schema, decode(t, b.Example))
			} else if text := ""; len(body) > 0 && json.Unmarshal(body, &text) == nil {
				body = []byte(text)
			}
		}
	}
	ask := func(role operator.Role, query url.Values, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path+"?"+query.Encode(), bytes.NewReader(body))
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		operator.As(operator.Caller{Name: "a", Role: role}, h).ServeHTTP(w, r)
		return w
	}
	for role := operator.Nobody; role <= operator.Admin; role++ {
		w := ask(role, query, "*/*")
		want := map[bool]int{true: 200, false: 403}[role >= op.Role]
		if role == operator.Nobody {
			want = 401
		}
		if w.Code != want {
			t.Errorf("as %s: %d, want %d: %s", role, w.Code, want, w.Body)
		}
		d.answered(t, op, w)
	}
	for kind := range op.Responses["200"].Content {
		w := ask(operator.Admin, query, kind)
		if got := w.Header().Get("Content-Type"); got != kind {
			t.Errorf("asked for %s, got %s", kind, got)
		}
		d.answered(t, op, w)
	}
	if query.Has("filter") {
		w := ask(operator.Admin, url.Values{"filter": {"colour=red"}, "by": {"dest"}}, "*/*")
		if w.Code != 400 || !strings.Contains(w.Body.String(), "colour") {
			t.Errorf("a filter with a fault: %d %s", w.Code, w.Body)
		}
		d.answered(t, op, w)
	}
}

// answered compares an answer with what is documented for its status.
func (d *document) answered(t *testing.T, op operation, w *httptest.ResponseRecorder) {
	t.Helper()
	response, ok := op.Responses[fmt.Sprint(w.Code)]
	if !ok {
		response = op.Responses["default"]
	}
	kind := w.Header().Get("Content-Type")
	content, ok := response.Content[kind]
	switch {
	case !ok:
		t.Errorf("%d: the type %q is not documented", w.Code, kind)
	case kind == "application/x-ndjson":
		for line := range strings.Lines(w.Body.String()) {
			d.check(t, "line", content.Schema, decode(t, []byte(line)))
		}
	case strings.Contains(kind, "json"):
		d.check(t, "answer", content.Schema, decode(t, w.Body.Bytes()))
	}
}

func decode(t *testing.T, b []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(b, &v); err != nil {
		t.Errorf("%v: %s", err, b)
	}
	return v
}

// check says where v is not what a schema says.
func (d *document) check(t *testing.T, at string, s schema, v any) {
	t.Helper()
	if ref, ok := s["$ref"].(string); ok {
		s, ok = d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
		if !ok {
			t.Errorf("%s: there is no %s", at, ref)
		}
	}
	kind := map[bool]string{true: "null"}[v == nil]
	switch x := v.(type) {
	case bool:
		kind = "boolean"
	case string:
		kind = "string"
		if _, err := time.Parse(time.RFC3339, x); s["format"] == "date-time" && err != nil {
			t.Errorf("%s: %v", at, err)
		}
	case float64:
		if kind = "number"; x == float64(int64(x)) && s["type"] == "integer" {
			kind = "integer"
		}
	case []any:
		kind = "array"
		for i, each := range x {
			items, _ := s["items"].(map[string]any)
			d.check(t, fmt.Sprintf("%s[%d]", at, i), items, each)
		}
	case map[string]any:
		kind = "object"
		d.checkObject(t, at, s, x)
	}
	allowed, _ := s["type"].([]any)
	if one, ok := s["type"].(string); ok {
		allowed = []any{one}
	}
	if allowed != nil && !slices.Contains(allowed, any(kind)) {
		t.Errorf("%s is of type %s, and documented as %v", at, kind, s["type"])
	}
}

func (d *document) checkObject(t *testing.T, at string, s schema, x map[string]any) {
	t.Helper()
	properties, _ := s["properties"].(map[string]any)
	for name, each := range x {
		switch p, ok := properties[name].(map[string]any); {
		case ok:
			d.check(t, at+"."+name, p, each)
		case s["additionalProperties"] == false:
			t.Errorf("%s.%s is not documented", at, name)
		}
	}
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := x[name.(string)]; !ok {
			t.Errorf("%s.%s is documented as always there, and is missing", at, name)
		}
	}
}
