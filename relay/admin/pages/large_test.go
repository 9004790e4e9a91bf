package pages_test

import (
	"net/http"
	"strings"
	"testing"

	"dawk/relay/admin/operator"
)

// A page shows the beginning of a large message, and says so.
func TestLargeMessage(t *testing.T) {
	for octets, cut := range map[int]bool{256 << 10: false, 256<<10 + 1: true, 5 << 20: true} {
		w := newWorld(t, operator.Operate)
		w.body = strings.Repeat("x", octets)
		r := w.ask(http.MethodPost, "/message/1RK3ZC8Q9D4-7ABC/content", map[string][]string{"token": {w.token}}, nil)
		page := r.Body.String()
		if r.Code != 200 || strings.Count(page, "x") > 300<<10 || strings.Contains(page, "Only the beginning is shown: 256 KiB") != cut {
			t.Errorf("%d octets: %d, a page of %d", octets, r.Code, len(page))
		}
	}
}
