package migrate

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// folder is a folder of Postfix with these files.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := fill(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fill(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func newMigration(dir string) *migration {
	return &migration{dir: dir, names: map[string]bool{}, logins: map[string]bool{}, files: map[string][]byte{}, slowed: map[string]slowed{}, delivers: map[string]bool{}}
}

const master = "smtp inet n - y - - smtpd\nsmtp unix - - y - - smtp\n"

func TestExpand(t *testing.T) {
	main := `
a = one
b = $a two
  # a comment
  three
c = ${b}, $(a)$$x
loop = $loop
`
	m := newMigration(folder(t, map[string]string{"main.cf": main}))
	if err := m.readMain(); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"$b": "one two three", "$c": "one two three, one$x", "${a?yes}": "yes", "${none?yes}": "", "${none:no}": "no", "${a:no}": "",
		"${a?{x $a}:{y}}": "x one", "${none?{x}:{y $a}}": "y one", "$none.": ".",
		"${{$a} == {one} ? {x $a} : {y}}": "x one", "${{$a}!={one}?{x}:{y}}": "y", "${{9} < {10}?{x}}": "x", "${{b9} < {b10}?{x}:{y}}": "y",
		"${{3.10} >=level {3.9} ? {x} : {y}}": "x", "${{3} <level {3.6} ? {x} : {y}}": "x", "${{1} <= {${none:2}} ? {x}": "x", "${{1} ?? {1} ? {x} : {y}}": "y", "${{1}": "", "${{": "", "end$": "end$", "${a": "one", "$loop": "$loop",
		"$mydestination": "$myhostname, localhost.$mydomain, localhost",
	} {
		if in == "$mydestination" { // a default with names in it
			want = m.expand(want, 0)
		}
		if got := m.expand(in, 0); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Who may relay is never more than what Postfix allows, whatever stands in the lists.
func TestRelaying(t *testing.T) {
	for main, want := range map[string]relaying{
		"":                             {networks: true, maybe: true},
		"smtpd_sasl_auth_enable = yes": {networks: true, maybe: true, login: true},
		"smtpd_relay_restrictions = reject_unauth_destination, permit_mynetworks": {},
		"smtpd_relay_restrictions =": {},
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, reject":                      {networks: true, maybe: true},
		"smtpd_client_restrictions = permit_sasl_authenticated, reject\nsmtpd_sasl_auth_enable = yes":               {login: true},
		"smtpd_client_restrictions = permit_mynetworks, reject\nsmtpd_sasl_auth_enable = yes":                       {networks: true, maybe: true},
		"smtpd_client_restrictions = check_policy_service inet:127.0.0.1:1, permit_mynetworks, reject":              {maybe: true},
		"smtpd_sender_restrictions = check_sender_access mysql:x":                                                   {maybe: true},
		"smtpd_sender_restrictions = permit_mynetworks, check_sender_access mysql:x":                                {networks: true, maybe: true},
		"smtpd_restriction_classes = own\nown = check_policy_service unix:x\nsmtpd_helo_restrictions = own, permit": {maybe: true},
		"smtpd_restriction_classes = own\nown = permit_mynetworks\nsmtpd_relay_restrictions = own, reject":          {networks: true, maybe: true},
		"smtpd_recipient_restrictions = reject_rbl_client reject, permit_mynetworks, reject":                        {networks: true, maybe: true},
		"compatibility_level = 0\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination":      {networks: true, maybe: true},
		"compatibility_level = 0": {},
		"smtpd_client_restrictions = check_client_access inline:{10.0.0=REJECT}\nmynetworks = 10.0.0.0/8":      {networks: true, maybe: true, refused: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}},
		"smtpd_client_restrictions = check_client_access inline:{bad.example=REJECT}, permit_mynetworks\n":     {maybe: true},
		"smtpd_relay_restrictions = check_client_a_access inline:{10.0.0.1=REJECT}, permit_mynetworks, reject": {maybe: true},
		"own = reject\nsmtpd_client_restrictions = check_client_access inline:{10.0.0.1=own}":                  {maybe: true},
		"smtpd_client_restrictions = check_client_access inline:{10.0.0.1=123456789}":                          {networks: true, maybe: true},
		"smtpd_tls_req_ccert = yes": {maybe: true},
		"smtpd_relay_restrictions = reject_plaintext_session, permit_mynetworks, reject":                                       {maybe: true},
		"smtpd_client_restrictions = reject_unknown_client_hostname":                                                           {maybe: true},
		"smtpd_client_restrictions = permit_mynetworks, reject_unknown_client_hostname":                                        {networks: true, maybe: true},
		"smtpd_relay_restrictions = check_recipient_access inline:{a@b.example=REJECT}, permit_mynetworks, reject":             {networks: true, maybe: true},
		"compatibility_level = 3.6\nsmtpd_client_restrictions = ${{$compatibility_level} >=level {3.6} ? {reject} : {permit}}": {},
		"smtpd_client_restrictions = check_client_access inline:{a.example=DUNNO}":                                             {networks: true, maybe: true},
	} {
		m := newMigration(folder(t, map[string]string{"main.cf": main}))
		if err := m.readMain(); err != nil {
			t.Fatal(err)
		}
		got, err := m.relaying(m.settings)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(relaying{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", main, diff)
		}
	}
}

// What holds under a condition, or where a pattern does not match, is read as nothing
// else: its key equals no host, network or address.
func TestConditionsInTables(t *testing.T) {
	for text, want := range map[string]string{
		"/^a@b$/ x":                          "^a@b$=x",
		"!/^a@b$/ x":                         "not:^a@b$=x",
		"! /^a@b$/ x":                        "not:^a@b$=x",
		"if /c/\n/^a@b$/ x\nendif\n/d/ y":    "if:^a@b$=x d=y",
		"IF !/c/i\n!/a/ x\nENDIF # c\n/d/ y": "if:not:a=x d=y",
		"if/c/\nif /e/\n/a/ x\nendif\n/b/ z": "if:a=x if:b=z",
		"endif\n/a/ x":                       "a=x",
	} {
		m := newMigration(folder(t, map[string]string{"map": text + "\n"}))
		entries, err := m.lookups("pcre:/etc/postfix/map", "")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.key+"="+e.value)
			if _, plain := e.plain(); plain && strings.Contains(e.key, ":") {
				t.Errorf("%q: %s is taken for an address", text, e.key)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// What slows a transport down limits the provider of its domains, the strictest of
// several, where dawk knows the provider; where not, the list has the lines to write.
func TestSlowTransportsLimitProviders(t *testing.T) {
	m := newMigration(folder(t, map[string]string{
		"main.cf":   "transport_maps = hash:/etc/postfix/transport\nslow_destination_rate_delay = 10s\npolite_destination_concurrency_limit = 3\npolite_destination_rate_delay = 2m\nfew_destination_concurrency_limit = 4\nsmtp_destination_rate_delay = 1s\nmyhostname = relay.example.org\n",
		"master.cf": master + "slow unix - - n - - smtp\npolite unix - - n - - smtp\nfew unix - - n - - smtp\n",
		"transport": "hotmail.com slow:\nlive.com polite:\nyahoo.com few:\npartner.example slow:\nother.example smtp:\n",
	}))
	if err := m.convert(); err != nil {
		t.Fatal(err)
	}
	file := string(m.files["dawk.toml"])
	for _, want := range []string{
		"[[provider]]\nname = \"outlook\"  # hotmail.com is one of its domains\nconnections = 1  # main.cf:2: slow_destination_rate_delay\nrate = \"1/2m\"  # main.cf:4: polite_destination_rate_delay\n",
		"[[provider]]\nname = \"yahoo\"  # yahoo.com is one of its domains\nconnections = 4  # main.cf:5: few_destination_concurrency_limit\n",
		"# - main.cf:2: slow_destination_rate_delay: partner.example: hosts found by MX are limited by provider: write a [[provider]] with a `name`, the MX hosts of this domain as `mx`, and connections = 1, rate = \"1/10s\".",
		"# - main.cf:6: smtp_destination_rate_delay: 1s: hosts found by MX are limited by provider: write a [[provider]] with rate = \"1/1s\" for those that need it.",
	} {
		if !strings.Contains(file, want) {
			t.Errorf("there is no %s in\n%s", want, file)
		}
	}
	if _, err := m.write(t.TempDir()); err != nil {
		t.Error(err)
	}
}

// What master.cf says of one service with -o is converted for that service, or listed;
// it never disappears because main.cf has the same parameter.
func TestOptionsOfServices(t *testing.T) {
	m := newMigration(folder(t, map[string]string{
		"main.cf": "myhostname = relay.example.org\nmynetworks = 127.0.0.0/8\nmessage_size_limit = 1000000\nsmtp_tls_security_level = may\n" +
			"sender_dependent_default_transport_maps = inline:{@brand.example=brand: @plain.example=plain:[smart.example] @six.example=six:}\n",
		"master.cf": "smtp inet n - y - - smtpd -o message_size_limit=2000000 -o smtpd_tls_cert_file=/nowhere -o smtpd_recipient_limit=\n" +
			"587 inet n - y - - smtpd -o message_size_limit=1000000\n" +
			"smtp unix - - y - - smtp -o inet_protocols=ipv4 -o smtp_bind_address=192.0.2.1 -o smtp_tls_security_level=encrypt\n" +
			"brand unix - - y - - smtp -o smtp_bind_address=192.0.2.2 -o smtp_helo_name=brand.example -o smtp_tls_dane_insecure_mx_policy=may\n" +
			"plain unix - - y - - smtp -o smtp_tls_security_level=\n" +
			"six unix - - y - - smtp -o inet_protocols=ipv6 -o smtp_bind_address6=2001:db8::1\n" +
			"unused unix - - y - - smtp -o smtp_bind_address=192.0.2.9 -o something=else\n",
	}))
	if err := m.convert(); err != nil {
		t.Fatal(err)
	}
	file := string(m.files["dawk.toml"])
	for _, want := range []string{
		"[delivery]\ntls = \"required\"  # master.cf:3: smtp_tls_security_level\nip = \"4\"  # master.cf:3: inet_protocols\nsource = [\"postfix\"]  # master.cf:3: smtp_bind_address\n",
		"[[source]]\nname = \"brand\"  # what `source` calls it\naddresses = [\"192.0.2.2\"]  # master.cf:4: smtp_bind_address\nehlo = \"brand.example\"  # master.cf:4: smtp_helo_name\n",
		"name = \"brand.example\"  # what commands call it\nto = [\"*\"]  # main.cf:5: sender_dependent_default_transport_maps\nfrom = [\"brand.example\"]  # main.cf:5: sender_dependent_default_transport_maps\ntls = \"opportunistic\"  # main.cf:4: smtp_tls_security_level\nip = \"both\"  # inet_protocols has its default\nsource = [\"brand\"]  # master.cf:4: smtp_bind_address\n",
		"via = [\"smart.example:25\"]  # main.cf:5: sender_dependent_default_transport_maps\ntls = \"opportunistic\"  # smtp_tls_security_level has its default\nip = \"both\"",
		"ip = \"6\"  # master.cf:6: inet_protocols\nsource = [\"six\"]  # master.cf:6: smtp_bind_address6\n",
		"# - main.cf:5: sender_dependent_default_transport_maps: plain: this transport has no address of its own",
		"# - master.cf:1: message_size_limit: 2000000: it holds for this service alone",
		"# - master.cf:1: smtpd_tls_cert_file: /nowhere: it holds for this service alone",
		"# - master.cf:4: smtp_tls_dane_insecure_mx_policy: may: this parameter is not known here",
	} {
		if !strings.Contains(file, want) {
			t.Errorf("there is no %s in\n%s", want, file)
		}
	}
	for _, no := range []string{"192.0.2.9", "something", "1000000: it holds", "smtpd_recipient_limit"} {
		if strings.Contains(file, no) {
			t.Errorf("there is %s in\n%s", no, file)
		}
	}
	if _, err := m.write(t.TempDir()); err != nil {
		t.Error(err)
	}
}

// Postfix asks regular expressions for the whole address, before it asks any map for
// the domain; of several the first holds.
func TestPatternsComeBeforeDomains(t *testing.T) {
	m := newMigration(folder(t, map[string]string{
		"main.cf":   "transport_maps = hash:/etc/postfix/transport, pcre:/etc/postfix/pattern\n",
		"master.cf": master,
		"transport": "a.example smtp:[domain.example]\nbox@a.example smtp:[box.example]\n",
		"pattern":   "/@b\\.example$/ smtp:[b.example]\n/.*/ smtp:[all.example]\n/@c\\.example$/ smtp:[never.example]\n",
	}))
	if err := m.convert(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range m.sections {
		if s.header == "[[route]]" {
			got = append(got, s.keys[0])
		}
	}
	want := []string{`name = "box.example"  # what commands call it`, `name = "b.example"  # what commands call it`, `name = "all.example"  # what commands call it`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// smtpd_tls_chain_files may have the key in one file and the certificates in the next.
func TestChainFiles(t *testing.T) {
	dir := folder(t, map[string]string{
		"key":  "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"cert": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	})
	for name, text := range map[string]string{"main.cf": "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = " + dir + "/key, " + dir + "/cert\n", "master.cf": master} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := newMigration(dir)
	if err := m.convert(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("[tls]\ncertificate = %q  # main.cf:2: smtpd_tls_chain_files\nkey = %q  # main.cf:2: smtpd_tls_chain_files\n", dir+"/cert", dir+"/key")
	if file := string(m.files["dawk.toml"]); !strings.Contains(file, want) {
		t.Errorf("there is no %s in\n%s", want, file)
	}
}

// A file of networks that names itself is refused, and does not end the program.
func TestNetworksThatNameThemselves(t *testing.T) {
	m := newMigration(folder(t, map[string]string{"main.cf": "mynetworks = /etc/postfix/lan\n", "master.cf": master, "lan": "10.0.0.0/8\n/etc/postfix/lan\n"}))
	if err := m.convert(); err == nil || !strings.Contains(err.Error(), "leads to itself") {
		t.Errorf("%v", err)
	}
}

func TestWithout(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/30 10.0.0.2/32":         "10.0.0.0/31 10.0.0.3/32",
		"10.0.0.0/30 10.0.0.0/30":         "",
		"10.0.0.0/30 10.0.0.0/8":          "",
		"10.0.0.0/30 11.0.0.0/8":          "10.0.0.0/30",
		"2001:db8::/126 2001:db8::1/128":  "2001:db8::/128 2001:db8::2/127",
		"10.0.0.0/30 2001:db8::1/128":     "10.0.0.0/30",
		"192.168.0.0/15 192.169.128.0/17": "192.168.0.0/16 192.169.0.0/17",
	} {
		n, x, _ := strings.Cut(in, " ")
		var got []string
		for _, p := range without(netip.MustParsePrefix(n), netip.MustParsePrefix(x)) {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// FuzzConvert: no configuration of Postfix makes us panic, or trust an address that
// mynetworks has not, or write a file that is not valid.
func FuzzConvert(f *testing.F) {
	f.Add("mynetworks = 10.0.0.0/8 !10.1.0.0/16\nrelayhost = [a.example]:587\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:u:p", master, "a b\n")
	f.Add("transport_maps = hash:map, regexp:map\nheader_checks = pcre:map\nsmtp_tls_policy_maps = inline:{a.example=dane-only}", master+"25 inet n - n - - smtpd -o { a = b }\n", "/^a@b$/ x\n.c smtp:[d]:1\n")
	f.Add("a = ${b?{c}:{$d}}\nalias_maps = hash:map\nsmtpd_sender_login_maps = hash:map\nsmtp_bind_address = ::1", "x pass - - - - - postscreen", "root: |x, a@b\n")
	f.Add("relayhost=[a]\nsmtp_sasl_auth_enable=yes\nsmtp_sasl_password_maps=static:u", master, "a b\n")
	f.Fuzz(func(t *testing.T, main, master, text string) {
		m := newMigration(folder(t, map[string]string{"main.cf": main, "master.cf": master, "map": text}))
		if err := m.convert(); err != nil {
			return
		}
		if _, err := m.write(t.TempDir()); err != nil && strings.Contains(err.Error(), "not a valid configuration") {
			t.Errorf("%v\n%s", err, m.files["dawk.toml"])
		}
	})
}
