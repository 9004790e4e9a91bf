package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/socket"
)

func TestPrintUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Hour: "0s", 45 * time.Second: "45s", 12 * time.Minute: "12m", time.Hour: "1h", 3*time.Hour + 10*time.Minute: "3h10m",
		24 * time.Hour: "1d", 52 * time.Hour: "2d4h", 3599600 * time.Millisecond: "1h"} {
		if got := show.Age(d); got != want {
			t.Errorf("age of %v: %s", d, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 3 << 30: "3.0 GiB"} {
		if got := show.Size(n); got != want {
			t.Errorf("size of %d: %s", n, got)
		}
	}
	var b bytes.Buffer
	io.WriteString(show.NewEscaped(&b), "a\x1b[2J\r\n\tß\x7f\x00")
	if got, want := b.String(), "a\\u001b[2J\r\n\tß\\u007f\\u0000"; got != want {
		t.Errorf("escaped: %q", got)
	}
}

// waiting is a message that waits for a smart host.
func waiting(t *testing.T) *relay.Item {
	t.Helper()
	id, err := relay.ParseQueueID("1RK3ZC8Q9D4-7ABC")
	if err != nil {
		t.Fatal(err)
	}
	to, err := relay.ParsePath("dora@example.edu")
	if err != nil {
		t.Fatal(err)
	}
	m := relay.Message{ID: id, Arrival: time.Now().Add(-time.Hour), Size: 900, Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: to}}}}
	e := relay.Entry{ID: id, Destination: "route:office", Arrival: m.Arrival, Due: time.Now().Add(-time.Minute)}
	return &relay.Item{Message: m, Deliveries: []relay.Delivery{{Entry: e, Open: []relay.Open{{Recipient: 0}}}}}
}

// command runs dawk with a configuration whose data directory is dir.
func command(t *testing.T, dir string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dawk.toml")
	config := "hostname = \"relay.example.org\"\ndata_dir = \"" + dir + "\"\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status = Run(append([]string{"-c", file}, args...), strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

func TestCommandsWithoutRelay(t *testing.T) {
	empty, dead := t.TempDir(), t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dead, admin.SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, x := range []struct {
		dir  string
		args []string
		want string
	}{
		{empty, []string{"queue", "list"}, "dawk is not running: there is no socket at"},
		{dead, []string{"queue", "list"}, "which it left behind when it died"},
		{empty, []string{"health"}, "dawk is not running"},
		{empty, []string{"why", "1RK3ZC8Q9D4-7ABC"}, "dawk is not running"},
		{empty, []string{"why"}, "dawk why needs one queue ID"},
		{empty, []string{"why", "hello"}, "not a queue ID"},
		{empty, []string{"queue", "delete"}, "--all"},
		{empty, []string{"queue", "hold", "age"}, "single quotes"},
		{empty, []string{"queue", "verify"}, "no queue in"},
		{empty, []string{"queue", "compact"}, "no queue in"},
		{empty, []string{"queue", "backup", "f"}, "dawk is not running"},
	} {
		status, out, errs := command(t, x.dir, x.args...)
		if status != 1 || out != "" || !strings.Contains(errs, x.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: status %d, %q, %q", x.args, status, out, errs)
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("commands without a relay left %v behind", left)
	}
}

// serveAnswers stands in for a relay that gives one answer to everything.
func serveAnswers(t *testing.T, h http.HandlerFunc) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := socket.Listen(filepath.Join(dir, admin.SocketName), 0o600, "the command socket", "data_dir")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return dir
}

func TestCommandsDistrustWhatIsCut(t *testing.T) {
	line := func(l admin.Line) string { b, _ := json.Marshal(l); return string(b) + "\n" }
	dir := serveAnswers(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/queue":
			io.WriteString(w, line(admin.Line{Item: waiting(t)}))
		case "/v1/queue/act":
			io.WriteString(w, line(admin.Line{Acted: &admin.Acted{Error: "the disk said no"}})+line(admin.Line{End: &admin.End{Failed: 1}}))
		case "/v1/store/backup":
			w.Header().Set("Trailer", admin.BackupFault)
			io.WriteString(w, "half")
			w.Header().Set(admin.BackupFault, "a file is missing")
		case "/v1/store/verify":
			json.NewEncoder(w).Encode(admin.Verifying{Done: 1, Total: 1, Report: &admin.Report{Messages: 1, Problems: []string{"it is broken"}}})
		default:
			w.WriteHeader(503)
			json.NewEncoder(w).Encode(admin.Health{Problems: []admin.Trouble{{Text: "the queue is being loaded"}}})
		}
	})
	file := filepath.Join(t.TempDir(), "copy")
	for _, x := range []struct {
		args []string
		want string
	}{
		{[]string{"queue", "list"}, "broke off before its end"},
		{[]string{"queue", "delete", "held=true"}, "the disk said no"},
		{[]string{"queue", "backup", file}, file + ".incomplete"},
		{[]string{"queue", "verify"}, "it is broken"},
		{[]string{"health"}, "being loaded"},
	} {
		if status, out, errs := command(t, dir, x.args...); status != 1 || !strings.Contains(out+errs, x.want) {
			t.Errorf("%v: status %d, %q, %q", x.args, status, out, errs)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("half a backup has the name of a whole one")
	}
}

// A relay that answers nothing must not hang a container's health check.
func TestHealthGivesUp(t *testing.T) {
	stop := make(chan struct{})
	dir := serveAnswers(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	defer close(stop)
	status, _, errs := command(t, dir, "health", "--timeout", "50ms")
	if status != 1 || !strings.Contains(errs, "did not answer in time") {
		t.Errorf("status %d, %q", status, errs)
	}
}
