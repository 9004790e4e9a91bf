package lab

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Listeners of a relay, by their use.
const (
	Plain    = "plain"    // tls off, login required (loopback may log in in clear)
	Starttls = "starttls" // login required, offered after STARTTLS only
	Implicit = "implicit" // TLS from the first byte, login required
	Trusted  = "trusted"  // tls off, no login; 127.0.0.0/8 may relay
	Strict   = "strict"   // starttls, optional login, nobody trusted
	Required = "required" // starttls, no login, but nothing in the clear
	External = "external" // implicit, and certificates of the authority log in
	Extstart = "extstart" // the same by starttls
	Device   = "device"   // for the oldest printers: TLS 1.0 with RSA key exchange, no login
	Newest   = "newest"   // implicit, TLS 1.3 only
)

// Relay is a dawk with its own configuration and data.
type Relay struct {
	W      *World
	Dir    string
	Ports  map[string]int
	http   int
	prefix []string // a program to run dawk under
	cred   *syscall.Credential
	Proc   *process
}

// NewRelay writes a configuration: the listeners named, then text. In text
// and the listeners, PORT_x stands for ports and CERT, KEY, CA for files.
func (w *World) NewRelay(name string, listeners []string, text string) (*Relay, error) {
	r := &Relay{W: w, Dir: filepath.Join(w.Dir, name), Ports: map[string]int{}, http: w.FreePort()}
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "hostname = %q\ndata_dir = \"data\"\npostmaster = \"postmaster@%s\"\n", Hostname, SenderDomain)
	for _, l := range listeners {
		r.Ports[l] = w.FreePort()
		fmt.Fprintf(&b, "\n[[listener]]\naddress = %q\n%s\n", r.Addr(l), map[string]string{
			Plain:    "tls = \"off\"\nauth = \"required\"",
			Starttls: "tls = \"starttls\"\nauth = \"required\"",
			Implicit: "tls = \"implicit\"\nauth = \"required\"",
			Trusted:  "tls = \"off\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\nbare_newline = \"reject\"\nlong_lines = \"reject\"",
			Strict:   "tls = \"starttls\"\nauth = \"optional\"",
			Required: "tls = \"starttls\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\nrequire_tls = true",
			External: fmt.Sprintf("tls = \"implicit\"\nauth = \"required\"\nclient_ca = %q", w.Ca.CaFile),
			Extstart: fmt.Sprintf("tls = \"starttls\"\nauth = \"required\"\nclient_ca = %q", w.Ca.CaFile),
			Device: "tls = \"implicit\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\nprofile = \"device\"\n" +
				"min_tls = \"1.0\"\nciphers = [\"TLS_RSA_WITH_AES_128_CBC_SHA\", \"TLS_RSA_WITH_3DES_EDE_CBC_SHA\"]",
			Newest: "tls = \"implicit\"\nauth = \"required\"\nmin_tls = \"1.3\"",
		}[l])
	}
	fmt.Fprintf(&b, "\n[tls]\ncertificate = %q\nkey = %q\n\n[users]\nfile = \"users.toml\"\n\n[http]\naddress = \"127.0.0.1:%d\"\n\n[log]\nformat = \"text\"\n\n%s",
		w.Ca.CertFile, w.Ca.KeyFile, r.http, text)
	return r, r.Write(b.String())
}

// HTTP is the address of metrics and health.
func (r *Relay) HTTP() string { return "127.0.0.1:" + strconv.Itoa(r.http) }

func (r *Relay) Config() string { return filepath.Join(r.Dir, "dawk.toml") }
func (r *Relay) Data() string   { return filepath.Join(r.Dir, "data") }

func (r *Relay) Write(config string) error {
	return os.WriteFile(r.Config(), []byte(config), 0o644)
}

func (r *Relay) Addr(listener string) string { return "127.0.0.1:" + strconv.Itoa(r.Ports[listener]) }

// Command runs another dawk command with this relay's configuration.
func (r *Relay) Command(stdin string, args ...string) (string, error) {
	return RunTool(r.W.Ctx, time.Minute, []byte(stdin), nil,
		append([]string{r.W.Binary, "-c", r.Config()}, args...)...)
}

// Start runs dawk serve without waiting for it.
func (r *Relay) Start() error {
	argv := append(r.prefix, r.W.Binary, "serve", "-c", r.Config())
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = r.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: r.cred}
	var err error
	if r.Proc, err = StartProcess(cmd); err == nil {
		r.W.Outputs = append(r.W.Outputs, r.Proc.Out)
	}
	return err
}

// Up runs dawk serve until every listener greets.
func (r *Relay) Up() error {
	if err := r.Start(); err != nil {
		return err
	}
	ok := Eventually(r.W.Ctx, 30*time.Second, func() bool {
		return !r.Proc.Running() || r.ready()
	})
	if !ok || !r.Proc.Running() {
		return fmt.Errorf("dawk does not get ready:\n%s", r.Proc.Out.Tail(15))
	}
	return nil
}

// ready asks /readyz.
func (r *Relay) ready() bool {
	_, status, err := r.Get("/readyz")
	return err == nil && status == http.StatusOK
}

func (r *Relay) Get(path string) (body string, status int, err error) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", r.http, path))
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return string(b), resp.StatusCode, err
}

// Stop ends the relay as systemd would.
func (r *Relay) Stop() (code int, took time.Duration, err error) {
	start := time.Now()
	code, err = r.Proc.Signal(syscall.SIGTERM, 30*time.Second)
	return code, time.Since(start), err
}

// Close ends the relay, politely if it can be.
func (r *Relay) Close() {
	if r.Proc == nil || !r.Proc.Running() {
		return
	}
	if _, _, err := r.Stop(); err != nil {
		r.Proc.Kill()
	}
}

// houseText routes to every receiver of the world. A retry after a second
// keeps the cases short.
func (w *World) houseText() string {
	return fmt.Sprintf(`[limits]
max_message_size = "50MiB"
auth_failures_per_ip = 0

[queue]
retry = ["1s", "2s"]

[dns]
servers = [%q]

[delivery]
port = %d
allow_networks = ["127.0.0.0/8"]
ca_file = %q

[[route]]
to = [%q, %q]
via = ["127.0.0.1:%d"]

[[route]]
to = [%q]
via = ["localhost:%d"]
tls = "verified"

[[route]]
to = [%q]
via = ["localhost:%d"]
tls = "verified"
user = %q
password_file = "smarthost.secret"

[[route]]
to = [%q]
via = ["127.0.0.1:%d"]

[[route]]
to = [%q]
via = [%q]
`, w.Dns.Addr(), w.Sink.port, w.Ca.CaFile, PostDomain, SenderDomain, w.Postfix.Port,
		VerifiedDomain, w.Postfix.Port, LoginDomain, w.Postfix.Port, AccountName, DeadDomain, w.FreePort(), OnwardDomain, w.Sink.Addr())
}

func (w *World) newHouse() (*Relay, error) {
	r, err := w.NewRelay("house", []string{Plain, Starttls, Implicit, Trusted, Strict}, w.houseText())
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(r.Config())
	if err != nil {
		return nil, err
	}
	old := r.Addr(Trusted)
	r.Ports[Trusted] = w.fromPostfix
	if err := r.Write(strings.Replace(string(b), old, r.Addr(Trusted), 1)); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(r.Dir, "smarthost.secret"), []byte(AccountPass+"\n"), 0o600); err != nil {
		return nil, err
	}
	if out, err := r.Command(UserPass+"\n", "user", "add", UserName); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return r, r.Up()
}

// Faulty makes a relay whose start is to fail.
func (w *World) Faulty(t *T, name string, cred *syscall.Credential) *Relay {
	r, err := w.NewRelay(name, []string{Trusted}, "")
	t.Must("config", err)
	t.Must("users", os.WriteFile(filepath.Join(r.Dir, "users.toml"), nil, 0o644))
	r.cred = cred
	return r
}

func (w *World) FaultyAddr(r *Relay) string {
	b, err := os.ReadFile(r.Config())
	if err != nil {
		return ""
	}
	return regexp.MustCompile(`address = "(127[^"]*)"`).FindStringSubmatch(string(b))[1]
}

func (r *Relay) Text(t *T) string {
	b, err := os.ReadFile(r.Config())
	t.Must("config", err)
	return string(b)
}

// Refuses starts dawk and wants it to end by itself, soon, with a code other
// than 0 and words that match.
func (r *Relay) Refuses(t *T, patterns ...string) string {
	t.Must("start", r.Start())
	code, err := r.Proc.Wait(Patience)
	out := r.Proc.Out.String()
	if err != nil {
		r.Proc.Kill()
		t.Fatalf("%v:\n%s", err, LastLines(out, 8))
	}
	if code <= 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(out) {
			t.Errorf("no word of %q in:\n%s", p, LastLines(out, 8))
		}
	}
	if strings.Contains(out, "goroutine ") {
		t.Errorf("a stack trace is no sentence:\n%s", LastLines(out, 30))
	}
	return out
}
