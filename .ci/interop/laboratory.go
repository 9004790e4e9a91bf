package main

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

// laboratory is a relay that signs, in front of a resolver that validates:
// NSD serves a zone that ldns-signzone signed, and unbound, which has the
// zone's key as trust anchor, is the relay's only DNS server.
type laboratory struct {
	*relay
	nsd, unbound *process
	receivers    *receivers // that conflict with Postfix
	dir          string
	dns          int               // unbound's port
	authority    int               // NSD's
	records      map[string]string // the DKIM records by name
}

const (
	daneDomain  = "dane.test"  // signed
	plainDomain = "plain.test" // not signed
	elseDomain  = "else.test"  // of which unbound knows, and NSD does not
)

// needs ends a case whose programs are not installed.
func needs(t *T, programs ...string) {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// laboratory builds it, once.
func (w *world) laboratory(t *T) *laboratory {
	needs(t, "nsd", "unbound", "ldns-keygen", "ldns-signzone")
	if w.lab == nil {
		l, err := w.newLaboratory()
		if err != nil {
			if l != nil {
				l.close()
			}
			t.Fatalf("laboratory: %v", err)
		}
		w.lab = l
	}
	return w.lab
}

func (l *laboratory) close() {
	if l.relay != nil {
		l.relay.close()
	}
	if l.receivers != nil {
		l.receivers.close()
	}
	for _, p := range []*process{l.unbound, l.nsd} {
		if p != nil && p.running() {
			p.kill()
		}
	}
}

func (w *world) newLaboratory() (*laboratory, error) {
	l := &laboratory{dir: filepath.Join(w.dir, "lab-dns"), dns: w.freePort(), authority: w.freePort(), records: map[string]string{}}
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
`, l.dns, w.postfix.port, w.ca.caFile, postDomain, senderDomain, w.postfix.port)
	var err error
	if l.relay, err = w.newRelay("lab", []string{trusted}, text); err != nil {
		return l, err
	}
	for _, k := range [][]string{{senderDomain, "r1", "rsa"}, {senderDomain, "e1", "ed25519"}, {hostname, "r2", "rsa"}} {
		out, err := l.command("", "dkim", "new", k[0], k[1], "--type", k[2])
		if err != nil {
			return l, fmt.Errorf("%w: %s", err, out)
		}
		record := regexp.MustCompile(`(?m)^v=DKIM1;.*$`).FindString(out)
		l.records[k[1]+"._domainkey."+k[0]] = record
		section := regexp.MustCompile(`(?m)^\[\[dkim\]\]\n(.+\n){3}`).FindString(out)
		if record == "" || section == "" {
			return l, fmt.Errorf("dawk dkim new printed no record or no section:\n%s", out)
		}
		text += "\n" + section
	}
	b, err := os.ReadFile(l.config())
	if err != nil {
		return l, err
	}
	if err := l.write(string(b) + text[strings.Index(text, "\n[[dkim]]"):]); err != nil {
		return l, err
	}
	return l, l.up()
}

// tlsa is a record about what Postfix shows: of the host's own key, or of the
// authority.
func (w *world) tlsa(usage int, wrong bool) string {
	der := w.ca.leafDER
	if usage == 2 {
		der = w.ca.rootDER
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
func (w *world) zoneOf(domain string, hosts map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ORIGIN %s.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n", domain)
	for name, record := range hosts {
		fmt.Fprintf(&b, "%s MX 10 mx-%s\nmx-%s A 127.0.0.1\n", name, name, name)
		if record != "" {
			fmt.Fprintf(&b, "_%d._tcp.mx-%s %s\n", w.postfix.port, name, record)
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

func (l *laboratory) startDNS(w *world) error {
	signed := w.zoneOf(daneDomain, map[string]string{
		"good": w.tlsa(3, false), "wrong": w.tlsa(3, true), "authority": w.tlsa(2, false), "stranger": w.tlsa(2, true),
		"bogus": w.tlsa(3, false), "none": "",
	})
	unsigned := w.zoneOf(plainDomain, map[string]string{"wrong": w.tlsa(3, true)}) + "host A 127.0.0.1\n"
	unsigned += fmt.Sprintf("away MX 10 mx-away\nmx-away CNAME mx.%s.\nchain MX 10 c0\n", elseDomain)
	for i := range 10 {
		unsigned += fmt.Sprintf("c%d CNAME c%d\n", i, i+1)
	}
	unsigned += "c10 A 127.0.0.1\n"
	for name, record := range map[string]string{"alias": w.tlsa(3, false), "alias-wrong": w.tlsa(3, true)} { // of a host in the other zone
		signed += fmt.Sprintf("%s MX 10 mx-%s\nmx-%s CNAME host.%s.\n_%d._tcp.mx-%s %s\n", name, name, name, plainDomain, w.postfix.port, name, record)
	}
	fill := strings.NewReplacer("DIR", l.dir, "PORT", strconv.Itoa(l.dns), "NSD", strconv.Itoa(l.authority),
		"UNSIGNED", plainDomain, "SIGNED", daneDomain, "ELSEWHERE", elseDomain)
	for name, text := range map[string]string{
		daneDomain: signed, plainDomain: unsigned,
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
	if l.nsd, err = startProcess(exec.Command("nsd", "-d", "-c", l.dir+"/nsd.conf")); err != nil {
		return err
	}
	if l.unbound, err = startProcess(exec.Command("unbound", "-d", "-c", l.dir+"/unbound.conf")); err != nil {
		return err
	}
	ask := func() bool {
		out, err := runTool(w.ctx, 10*time.Second, nil, nil, "drill", "-p", strconv.Itoa(l.dns), "-D", "@127.0.0.1", "MX", "good."+daneDomain)
		return err == nil && strings.Contains(out, "NOERROR") && regexp.MustCompile(`(?m)^;; flags:.*\bad\b`).MatchString(out)
	}
	if !eventually(w.ctx, patience, ask) {
		return fmt.Errorf("unbound does not validate the zone:\n%s\n%s", l.nsd.out.tail(8), l.unbound.out.tail(8))
	}
	return nil
}

// sign signs the zone, then changes a TLSA record under its signature.
func (l *laboratory) sign(w *world) error {
	tool := func(argv ...string) (string, error) {
		cmd := exec.CommandContext(w.ctx, argv[0], argv[1:]...)
		cmd.Dir = l.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", argv[0], err, out)
		}
		return strings.TrimSpace(string(out)), err
	}
	key, err := tool("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", "-r", "/dev/urandom", daneDomain)
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
	if _, err := tool("ldns-signzone", daneDomain, key); err != nil {
		return err
	}
	name := filepath.Join(l.dir, daneDomain+".signed")
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

// hand gives the laboratory a message, and says under which ID it was taken.
func (l *laboratory) hand(t *T, mailParams string, rcpts []string, message string) string {
	d, err := dialPlain(l.addr(trusted))
	t.must("connect", err)
	defer d.close()
	script := greeted + "> MAIL FROM:<" + userName + ">" + space(mailParams) + "\n< 250\n"
	t.must("dialogue", d.play(script))
	for _, r := range rcpts {
		t.must("dialogue", d.play("> RCPT TO:<"+r+">\n< 250\n"))
	}
	t.must("dialogue", d.play("> DATA\n< 354\n"))
	t.must("content", d.send(strings.ReplaceAll("\r\n"+message, "\r\n.", "\r\n..")[2:]+".\r\n"))
	code, text, err := d.reply()
	id := regexp.MustCompile(`queued as (\S+)`).FindStringSubmatch(text)
	if err != nil || code != "250" || id == nil {
		t.Fatalf("the message was not taken: %s %s %v", code, text, err)
	}
	return id[1]
}

// tells waits for a line of the log about a message.
func (l *laboratory) tells(t *T, id, what string) {
	re := regexp.MustCompile(`(?m)^.*qid=` + regexp.QuoteMeta(id) + ` .*$`)
	want := regexp.MustCompile(what)
	ok := eventually(l.w.ctx, patience, func() bool {
		for _, line := range re.FindAllString(l.proc.out.String(), -1) {
			if want.MatchString(line) {
				return true
			}
		}
		return false
	})
	if !ok {
		t.Errorf("the log never says %q of %s:\n%s", what, id, strings.Join(re.FindAllString(l.proc.out.String(), -1), "\n"))
	}
}
