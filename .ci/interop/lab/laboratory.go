package lab

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Laboratory is a relay that signs, in front of a resolver that validates:
// NSD serves a zone that ldns-signzone signed, and unbound, which has the
// zone's key as trust anchor, is the relay's only DNS server.
type Laboratory struct {
	*Relay
	nsd, unbound *process
	receivers    *receivers // that conflict with Postfix
	dir          string
	Dns          int               // unbound's port
	Authority    int               // NSD's
	Records      map[string]string // the DKIM records by name
}

const (
	DaneDomain  = "dane.test"  // signed
	PlainDomain = "plain.test" // not signed
	ElseDomain  = "else.test"  // of which unbound knows, and NSD does not
)

// Needs ends a case whose programs are not installed.
func Needs(t *T, programs ...string) {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// Laboratory builds it, once.
func (w *World) Laboratory(t *T) *Laboratory {
	Needs(t, "nsd", "unbound", "ldns-keygen", "ldns-signzone")
	if w.lab == nil {
		l, err := w.newLaboratory()
		if err != nil {
			if l != nil {
				l.Close()
			}
			t.Fatalf("laboratory: %v", err)
		}
		w.lab = l
	}
	return w.lab
}

func (l *Laboratory) Close() {
	if l.Relay != nil {
		l.Relay.Close()
	}
	if l.receivers != nil {
		l.receivers.Close()
	}
	for _, p := range []*process{l.unbound, l.nsd} {
		if p != nil && p.Running() {
			p.Kill()
		}
	}
}

func (w *World) newLaboratory() (*Laboratory, error) {
	l := &Laboratory{dir: filepath.Join(w.Dir, "lab-dns"), Dns: w.FreePort(), Authority: w.FreePort(), Records: map[string]string{}}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, err
	}
	if err := l.startDNS(w); err != nil {
		return l, err
	}
	text := fmt.Sprintf(`[queue]
retry = ["1s"]

[dns]
servers = ["127.0.0.1:%d"]

[delivery]
port = %d
allow_networks = ["127.0.0.0/8"]
ca_file = %q

[[route]]
to = [%q, %q]
via = ["127.0.0.1:%d"]
`, l.Dns, w.Postfix.Port, w.Ca.CaFile, PostDomain, SenderDomain, w.Postfix.Port)
	var err error
	if l.Relay, err = w.NewRelay("lab", []string{Trusted}, text); err != nil {
		return l, err
	}
	for _, k := range [][]string{{SenderDomain, "r1", "rsa"}, {SenderDomain, "e1", "ed25519"}, {Hostname, "r2", "rsa"}} {
		out, err := l.Command("", "dkim", "new", k[0], k[1], "--type", k[2])
		if err != nil {
			return l, fmt.Errorf("%w: %s", err, out)
		}
		record := regexp.MustCompile(`(?m)^v=DKIM1;.*$`).FindString(out)
		l.Records[k[1]+"._domainkey."+k[0]] = record
		section := regexp.MustCompile(`(?m)^\[\[dkim\]\]\n(.+\n){3}`).FindString(out)
		if record == "" || section == "" {
			return l, fmt.Errorf("dawk dkim new printed no record or no section:\n%s", out)
		}
		text += "\n" + section
	}
	b, err := os.ReadFile(l.Config())
	if err != nil {
		return l, err
	}
	if err := l.Write(string(b) + text[strings.Index(text, "\n[[dkim]]"):]); err != nil {
		return l, err
	}
	return l, l.Up()
}

// tlsa is a record about what Postfix shows: of the host's own key, or of the
// authority.
func (w *World) tlsa(usage int, wrong bool) string {
	der := w.Ca.leafDER
	if usage == 2 {
		der = w.Ca.rootDER
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	if wrong {
		sum[0]++
	}
	return fmt.Sprintf("TLSA %d 1 1 %s", usage, hex.EncodeToString(sum[:]))
}

// zoneOf has a domain with a host of its own for each kind of record.
func (w *World) zoneOf(domain string, hosts map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN %s.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n", domain)
	for name, record := range hosts {
		fmt.Fprintf(&b, "%s MX 10 mx-%s\nmx-%s A 127.0.0.1\n", name, name, name)
		if record != "" {
			fmt.Fprintf(&b, "_%d._tcp.mx-%s %s\n", w.Postfix.Port, name, record)
		}
	}
	return b.String()
}

const nsdConf = `server:
  ip-address: 127.0.0.1@NSD
  do-ip6: no
  username: ""
  database: ""
  zonesdir: "DIR"
  pidfile: "DIR/nsd.pid"
  xfrdfile: "DIR/xfrd.state"
  zonelistfile: "DIR/zone.list"
  cookie-secret-file: "DIR/cookies"
remote-control:
  control-enable: no
zone:
  name: SIGNED
  zonefile: SIGNED.signed
zone:
  name: UNSIGNED
  zonefile: UNSIGNED
`

// unbound asks nobody on loopback unless told to, and knows better than DNS
// about the names below test.
const unboundConf = `server:
  interface: 127.0.0.1
  port: PORT
  do-ip6: no
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  username: ""
  chroot: ""
  directory: "DIR"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  module-config: "validator iterator"
  trust-anchor-file: "DIR/anchor"
  local-zone: "test." nodefault
  local-data: "ELSEWHERE. MX 10 mx.ELSEWHERE."
  local-data: "mx.ELSEWHERE. A 127.0.0.1"
stub-zone:
  name: SIGNED
  stub-addr: 127.0.0.1@NSD
stub-zone:
  name: UNSIGNED
  stub-addr: 127.0.0.1@NSD
`

func (l *Laboratory) startDNS(w *World) error {
	signed := w.zoneOf(DaneDomain, map[string]string{
		"good": w.tlsa(3, false), "wrong": w.tlsa(3, true), "authority": w.tlsa(2, false), "stranger": w.tlsa(2, true),
		"bogus": w.tlsa(3, false), "none": "",
	})
	unsigned := w.zoneOf(PlainDomain, map[string]string{"wrong": w.tlsa(3, true)}) + "host A 127.0.0.1\n"
	unsigned += fmt.Sprintf("away MX 10 mx-away\nmx-away CNAME mx.%s.\nchain MX 10 c0\n", ElseDomain)
	for i := range 10 {
		unsigned += fmt.Sprintf("c%d CNAME c%d\n", i, i+1)
	}
	unsigned += "c10 A 127.0.0.1\n"
	for name, record := range map[string]string{"alias": w.tlsa(3, false), "alias-wrong": w.tlsa(3, true)} { // of a host in the other zone
		signed += fmt.Sprintf("%s MX 10 mx-%s\nmx-%s CNAME host.%s.\n_%d._tcp.mx-%s %s\n", name, name, name, PlainDomain, w.Postfix.Port, name, record)
	}
	fill := strings.NewReplacer("DIR", l.dir, "PORT", strconv.Itoa(l.Dns), "NSD", strconv.Itoa(l.Authority),
		"UNSIGNED", PlainDomain, "SIGNED", DaneDomain, "ELSEWHERE", ElseDomain)
	for name, text := range map[string]string{
		DaneDomain: signed, PlainDomain: unsigned,
		"nsd.conf": nsdConf, "unbound.conf": unboundConf,
	} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
			return err
		}
	}
	if err := l.sign(w); err != nil {
		return err
	}
	var err error
	if l.nsd, err = StartProcess(exec.Command("nsd", "-d", "-c", l.dir+"/nsd.conf")); err != nil {
		return err
	}
	if l.unbound, err = StartProcess(exec.Command("unbound", "-d", "-c", l.dir+"/unbound.conf")); err != nil {
		return err
	}
	ask := func() bool {
		out, err := RunTool(w.Ctx, 10*time.Second, nil, nil, "drill", "-p", strconv.Itoa(l.Dns), "-D", "@127.0.0.1", "MX", "good."+DaneDomain)
		return err == nil && strings.Contains(out, "NOERROR") && regexp.MustCompile(`(?m)^;; flags:.*\bad\b`).MatchString(out)
	}
	if !Eventually(w.Ctx, Patience, ask) {
		return fmt.Errorf("unbound does not validate the zone:\n%s\n%s", l.nsd.Out.Tail(8), l.unbound.Out.Tail(8))
	}
	return nil
}

// sign signs the zone, then changes a TLSA record under its signature.
func (l *Laboratory) sign(w *World) error {
	tool := func(argv ...string) (string, error) {
		cmd := exec.CommandContext(w.Ctx, argv[0], argv[1:]...)
		cmd.Dir = l.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", argv[0], err, out)
		}
		return strings.TrimSpace(string(out)), err
	}
	key, err := tool("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", "-r", "/dev/urandom", DaneDomain)
	if err != nil {
		return err
	}
	anchor, err := os.ReadFile(filepath.Join(l.dir, key+".key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(l.dir, "anchor"), anchor, 0o644)
	}
	if err != nil {
		return err
	}
	if _, err := tool("ldns-signzone", DaneDomain, key); err != nil {
		return err
	}
	name := filepath.Join(l.dir, DaneDomain+".signed")
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	at := regexp.MustCompile(`(?m)^_\d+\._tcp\.mx-bogus\S*\s.*\sTLSA\s+3 1 1 `).FindIndex(b)
	if at == nil {
		return errors.New("the signed zone has no TLSA record of the host that is to be bogus")
	}
	b[at[1]] = map[bool]byte{true: '1', false: '0'}[b[at[1]] == '0']
	return os.WriteFile(name, b, 0o644)
}

// Hand gives the laboratory a message, and says under which ID it was taken.
func (l *Laboratory) Hand(t *T, mailParams string, rcpts []string, message string) string {
	d, err := DialPlain(l.Addr(Trusted))
	t.Must("connect", err)
	defer d.Close()
	script := Greeted + "> MAIL FROM:<" + UserName + ">" + Space(mailParams) + "\n< 250\n"
	t.Must("dialogue", d.Play(script))
	for _, r := range rcpts {
		t.Must("dialogue", d.Play("> RCPT TO:<"+r+">\n< 250\n"))
	}
	t.Must("dialogue", d.Play("> DATA\n< 354\n"))
	t.Must("content", d.Send(strings.ReplaceAll("\r\n"+message, "\r\n.", "\r\n..")[2:]+".\r\n"))
	code, text, err := d.Reply()
	id := regexp.MustCompile(`queued as (\S+)`).FindStringSubmatch(text)
	if err != nil || code != "250" || id == nil {
		t.Fatalf("the message was not taken: %s %s %v", code, text, err)
	}
	return id[1]
}

// Tells waits for a line of the log about a message.
func (l *Laboratory) Tells(t *T, id, what string) {
	re := regexp.MustCompile(`(?m)^.*qid=` + regexp.QuoteMeta(id) + ` .*$`)
	want := regexp.MustCompile(what)
	ok := Eventually(l.W.Ctx, Patience, func() bool {
		for _, line := range re.FindAllString(l.Proc.Out.String(), -1) {
			if want.MatchString(line) {
				return true
			}
		}
		return false
	})
	if !ok {
		t.Errorf("the log never says %q of %s:\n%s", what, id, strings.Join(re.FindAllString(l.Proc.Out.String(), -1), "\n"))
	}
}
