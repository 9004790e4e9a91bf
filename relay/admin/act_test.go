package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"dawk/relay/admin"
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
