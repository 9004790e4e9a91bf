package main

import (
	"dawk/.ci/interop/lab"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"dawk/metrics"
)

// dashboard has a Prometheus scrape the house, and asks it all that the dashboard
// would ask.
func dashboard(t *lab.T, w *lab.World) {
	dir := filepath.Join(w.Dir, "prometheus")
	t.Must("directory", os.MkdirAll(dir, 0o700))
	config := filepath.Join(dir, "prometheus.yml")
	t.Must("configuration", os.WriteFile(config, []byte(fmt.Sprintf(
		"global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: dawk\n    static_configs: [{targets: [%q]}]\n", w.House.HTTP())), 0o600))
	at := fmt.Sprintf("127.0.0.1:%d", w.FreePort())
	cmd := exec.CommandContext(w.Ctx, "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+at)
	t.Must("prometheus", cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	ask := func(expr string) (n int, err error) {
		resp, err := http.Get("http://" + at + "/api/v1/query?query=" + url.QueryEscape(expr))
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		var said struct {
			Error string
			Data  struct{ Result []json.RawMessage }
		}
		if err := json.Unmarshal(body, &said); err != nil || said.Error != "" {
			return 0, fmt.Errorf("%s %v", said.Error, err)
		}
		return len(said.Data.Result), nil
	}
	// Two scrapes, so that rates have a value.
	for until := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if n, err := ask("count_over_time(dawk_accepting[1m]) >= 2"); err == nil && n > 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("Prometheus has not scraped %s twice", w.House.HTTP())
		}
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	t.Must("grafana.json", json.Unmarshal([]byte(metrics.Dashboard), &board))
	var all []string
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	for _, expr := range all {
		expr = strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*").Replace(expr)
		// Of what happened never yet there is nothing to see.
		never := strings.Contains(expr, "last_success") || strings.Contains(expr, " > 0")
		if n, err := ask(expr); err != nil || n == 0 && !never {
			t.Errorf("%s: %d results, %v", expr, n, err)
		}
	}
	t.Notef("%d expressions", len(all))
}
