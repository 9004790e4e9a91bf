package admin_test

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"dawk/relay/admin"
	"dawk/relay/admin/operator"
)

// Whatever needs more than the role read is told in the log, with who asked.
func TestTheLogTellsWho(t *testing.T) {
	cfg, _ := everything(t)
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	h := operator.As(operator.Caller{Name: "alice", Role: operator.Admin}, admin.NewHandler(cfg))
	for _, at := range []string{
		"POST /v1/reload", "POST /v1/drain", "POST /v1/holds/release?name=shop", "POST /v1/oauth/test?route=office",
		"POST /v1/store/verify", "POST /v1/store/compact", "GET /v1/store/backup", "GET /v1/queue/1RK3ZC8Q9D4-7ABC/content",
	} {
		log.Reset()
		method, path, _ := strings.Cut(at, " ")
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, nil))
		if !strings.Contains(log.String(), "who=alice") {
			t.Errorf("%s: %s", at, log.String())
		}
	}
}
