package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Listeners of a relay, by their use.
const (
	plain    = "plain"    // tls off, login required (loopback may log in in clear)
	starttls = "starttls" // login required, offered after STARTTLS only
	implicit = "implicit" // TLS from the first byte, login required
	trusted  = "trusted"  // tls off, no login; 127.0.0.0/8 may relay
	strict   = "strict"   // starttls, optional login, nobody trusted
	required = "required" // starttls, no login, but nothing in the clear
	external = "external" // implicit, and certificates of the authority log in
	extstart = "extstart" // the same by starttls
	device   = "device"   // for the oldest printers: TLS 1.0 with RSA key exchange, no login
	newest   = "newest"   // implicit, TLS 1.3 only
)

// relay is a dawk with its own configuration and data.
type relay struct {
	w      *world
	dir    string
	ports  map[string]int
	http   int
	prefix []string // a program to run dawk under
	cred   *syscall.Credential
	proc   *process
}

// newRelay writes a configuration: the listeners named, then text. In text
// and the listeners, PORT_x stands for ports and CERT, KEY, CA for files.
func (w *world) newRelay(name string, listeners []string, text string) (*relay, error) {
	r := &relay{w: w, dir: filepath.Join(w.dir, name), ports: map[string]int{}, http: w.freePort()}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "hostname = %q\ndata_dir = \"data\"\npostmaster = \"postmaster@%s\"\n", hostname, senderDomain)
	for _, l := range listeners {
		r.ports[l] = w.freePort()
		fmt.Fprintf(&b, "\n[[listener]]\naddress = %q\n%s\n", r.addr(l), map[string]string{
			plain:    "tls = \"off\"\nauth = \"required\"",
			starttls: "tls = \"starttls\"\nauth = \"required\"",
			implicit: "tls = \"implicit\"\nauth = \"required\"",
			trusted:  "tls = \"off\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\nbare_newline = \"reject\"\nlong_lines = \"reject\"",
			strict:   "tls = \"starttls\"\nauth = \"optional\"",
			required: "tls = \"starttls\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\nrequire_tls = true",
			external: fmt.Sprintf("tls = \"implicit\"\nauth = \"required\"\nclient_ca = %q", w.ca.caFile),
			extstart: fmt.Sprintf("tls = \"starttls\"\nauth = \"required\"\nclient_ca = %q", w.ca.caFile),
			device: "tls = \"implicit\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\nprofile = \"device\"\n" +
				"min_tls = \"1.0\"\nciphers = [\"TLS_RSA_WITH_AES_128_CBC_SHA\", \"TLS_RSA_WITH_3DES_EDE_CBC_SHA\"]",
			newest: "tls = \"implicit\"\nauth = \"required\"\nmin_tls = \"1.3\"",
		}[l])
	}
	fmt.Fprintf(&b, "\n[tls]\ncertificate = %q\nkey = %q\n\n[users]\nfile = \"users.toml\"\n\n[http]\naddress = \"127.0.0.1:%d\"\n\n[log]\nformat = \"text\"\n\n%s",
		w.ca.certFile, w.ca.keyFile, r.http, text)
	return r, r.write(b.String())
}

func (r *relay) config() string { return filepath.Join(r.dir, "dawk.toml") }
func (r *relay) data() string   { return filepath.Join(r.dir, "data") }

func (r *relay) write(config string) error {
	return os.WriteFile(r.config(), []byte(config), 0o644)
}

func (r *relay) addr(listener string) string { return "127.0.0.1:" + strconv.Itoa(r.ports[listener]) }

// command runs another dawk command with this relay's configuration.
func (r *relay) command(stdin string, args ...string) (string, error) {
	return runTool(r.w.ctx, time.Minute, []byte(stdin), nil,
		append([]string{r.w.binary, "-c", r.config()}, args...)...)
}

// start runs dawk serve without waiting for it.
func (r *relay) start() error {
	argv := append(r.prefix, r.w.binary, "serve", "-c", r.config())
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = r.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: r.cred}
	var err error
	if r.proc, err = startProcess(cmd); err == nil {
		r.w.outputs = append(r.w.outputs, r.proc.out)
	}
	return err
}

// up runs dawk serve until every listener greets.
func (r *relay) up() error {
	if err := r.start(); err != nil {
		return err
	}
	ok := eventually(r.w.ctx, 30*time.Second, func() bool {
		return !r.proc.running() || r.ready()
	})
	if !ok || !r.proc.running() {
		return fmt.Errorf("dawk does not get ready:\n%s", r.proc.out.tail(15))
	}
	return nil
}

// ready asks /readyz.
func (r *relay) ready() bool {
	_, status, err := r.get("/readyz")
	return err == nil && status == http.StatusOK
}

func (r *relay) get(path string) (body string, status int, err error) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", r.http, path))
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return string(b), resp.StatusCode, err
}

// stop ends the relay as systemd would.
func (r *relay) stop() (code int, took time.Duration, err error) {
	start := time.Now()
	code, err = r.proc.signal(syscall.SIGTERM, 30*time.Second)
	return code, time.Since(start), err
}

// close ends the relay, politely if it can be.
func (r *relay) close() {
	if r.proc == nil || !r.proc.running() {
		return
	}
	if _, _, err := r.stop(); err != nil {
		r.proc.kill()
	}
}

// houseText routes to every receiver of the world. A retry after a second
// keeps the cases short.
func (w *world) houseText() string {
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
`, w.dns.Addr(), w.sink.port, w.ca.caFile, postDomain, senderDomain, w.postfix.port,
		verifiedDomain, w.postfix.port, loginDomain, w.postfix.port, accountName, deadDomain, w.freePort(), onwardDomain, w.sink.addr())
}

func (w *world) newHouse() (*relay, error) {
	r, err := w.newRelay("house", []string{plain, starttls, implicit, trusted, strict}, w.houseText())
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(r.config())
	if err != nil {
		return nil, err
	}
	old := r.addr(trusted)
	r.ports[trusted] = w.fromPostfix
	if err := r.write(strings.Replace(string(b), old, r.addr(trusted), 1)); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(r.dir, "smarthost.secret"), []byte(accountPass+"\n"), 0o600); err != nil {
		return nil, err
	}
	if out, err := r.command(userPass+"\n", "user", "add", userName); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return r, r.up()
}
