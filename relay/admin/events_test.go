package admin_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"dawk/relay/admin"
	"dawk/relay/admin/operator"
	"dawk/relay/webhook"
)

// A receiver that fails for long, one that wants no more, and lost events are trouble, in
// status and health; one that fails for a moment is none, and events that were lost
// long ago are not.
func TestEventTroubles(t *testing.T) {
	now := time.Now()
	failing := func(oldest time.Duration) webhook.Status {
		return webhook.Status{Name: "crm", State: webhook.Active, Pending: 3, LastError: "HTTP status 500", LastAt: now, Oldest: now.Add(-oldest)}
	}
	for name, c := range map[string]struct {
		events admin.StatusEvents
		want   string // "": no trouble
	}{
		"nothing":           {admin.StatusEvents{}, ""},
		"for a moment":      {admin.StatusEvents{Webhooks: []webhook.Status{failing(time.Minute)}}, ""},
		"for long":          {admin.StatusEvents{Webhooks: []webhook.Status{failing(time.Hour)}}, "webhook crm takes no events, and 3 wait: HTTP status 500"},
		"410":               {admin.StatusEvents{Webhooks: []webhook.Status{{Name: "crm", State: webhook.Ended}}}, "answered 410"},
		"its file is lost":  {admin.StatusEvents{Webhooks: []webhook.Status{{Name: "crm", State: webhook.Active, LastError: "cannot be read"}}}, "cannot be read"},
		"lost":              {admin.StatusEvents{Lost: 7, LostAt: now.Add(-time.Hour)}, "7 events for webhooks were lost"},
		"lost two days ago": {admin.StatusEvents{Lost: 7, LostAt: now.Add(-48 * time.Hour)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _ := everything(t)
			cfg.ConfigState, cfg.Holds, cfg.Store, cfg.Routes = nil, nil, nil, nil
			cfg.Events = func() admin.StatusEvents { return c.events }
			h := operator.As(operator.Caller{Name: "a", Role: operator.Read}, admin.NewHandler(cfg))
			var troubles []string
			var s admin.Status
			var health admin.Health
			for path, into := range map[string]any{"/v1/status": &s, "/v1/health": &health} {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
					t.Fatal(err)
				}
			}
			for _, tr := range append(s.Troubles, health.Warnings...) {
				if tr.About == "webhook" || tr.About == "outbox" {
					troubles = append(troubles, tr.Text)
					if tr.Remedy == "" {
						t.Errorf("%q says not what to do", tr.Text)
					}
				}
			}
			switch all := strings.Join(troubles, " "); {
			case c.want == "" && len(troubles) > 0, c.want != "" && (len(troubles) != 2 || !strings.Contains(all, c.want)):
				t.Errorf("%q", troubles)
			}
		})
	}
}
