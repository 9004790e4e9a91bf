package admin_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay/admin"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/operator"
)

// A request that is not understood whole does nothing.
func TestActTakesNoGuess(t *testing.T) {
	s := newStore()
	s.put(t, 1, time.Hour, "a@one.test")
	c := serve(t, admin.Config{Queue: s, Dispatcher: s})
	for _, body := range []string{
		`{"verb": "delete", "filter": "to=@one.test", "dryRun": true}`,
		`{"verb": "delete", "filter": "to=@one.test"`,
		`["delete"]`, ``,
	} {
		answer, err := c.Post("http://dawk/v1/queue/act", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", body, answer.StatusCode)
		}
	}
	if len(s.acts) > 0 {
		t.Errorf("something was done: %v", s.acts)
	}
}

// An export needs the role admin, and so does what ends it: an operator neither confirms nor undoes
// one, nor any act without a number while an export is the last.
func TestExportNeedsAdmin(t *testing.T) {
	dir := t.TempDir()
	back, err := kept.Open(filepath.Join(dir, "acts"), "relay.example.org")
	if err != nil {
		t.Fatal(err)
	}
	who, err := audit.Open(filepath.Join(dir, "audit"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h := admin.NewHandler(admin.Config{Queue: newStore(), Dispatcher: newStore(), Audit: who, Kept: back})
	ask := func(role operator.Role, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		operator.As(operator.Caller{Name: "alice", Role: role}, h).ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
		return w
	}
	if w := ask(operator.Admin, "/v1/queue/export", `{"all":true}`); w.Code != http.StatusOK || w.Header().Get(admin.ExportAct) != "1" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	head, err := back.Head("1")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []operator.Role{operator.Read, operator.Operate} {
		for path, body := range map[string]string{
			"/v1/queue/export":       `{"all":true}`,
			"/v1/queue/import":       "",
			"/v1/queue/act?undo":     `{"verb":"undo"}`,
			"/v1/queue/act?undo one": `{"verb":"undo","act":"1"}`,
			"/v1/queue/act?confirm":  `{"verb":"confirm","act":"1","bundle":"` + head.Name + `"}`,
		} {
			if w := ask(role, strings.ReplaceAll(path, " ", "+"), body); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "role") {
				t.Errorf("role %s, %s: %d %s", role, path, w.Code, w.Body)
			}
		}
	}
	if !back.Has("1", false) {
		t.Error("the export has ended")
	}
	if w := ask(operator.Admin, "/v1/queue/act", `{"verb":"undo"}`); w.Code != http.StatusOK || back.Has("1", false) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A check asks many servers: all who come while it is under way wait for the same run.
func TestChecksShareOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		end := make(chan struct{})
		h := operator.As(operator.Caller{Name: "alice", Role: operator.Read}, admin.NewHandler(admin.Config{Check: func() []admin.Finding {
			runs.Add(1)
			<-end
			return []admin.Finding{{Check: "dns", Level: "error"}}
		}}))
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/check", nil))
				if !strings.Contains(w.Body.String(), `"ok":false`) {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		}
		synctest.Wait()
		close(end)
		group.Wait()
		if n := runs.Load(); n != 1 {
			t.Errorf("%d runs for 10 who asked at the same time", n)
		}
	})
}
