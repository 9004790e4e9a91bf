package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// postfix is an instance of Debian's Postfix with its own configuration,
// queue and port, that delivers all mail for *.test into one Maildir. It
// refuses recipients that begin with "reject" (550) and "defer" (450).
type postfix struct {
	Port int
	dir  string
}

const postfixMain = `compatibility_level = 3.6
queue_directory = DIR/queue
data_directory = DIR/data
maillog_file = DIR/postfix.log
maillog_file_prefixes = DIR
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
virtual_mailbox_domains = regexp:DIR/conf/domains
transport_maps = inline:{onward.example=smtp:[127.0.0.1]:DAWK}
virtual_mailbox_maps = static:all/
virtual_mailbox_base = DIR/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 100
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 104857600
# It must not touch what it is given: no completion of headers.
local_header_rewrite_clients =
smtputf8_enable = yes
smtpd_recipient_restrictions = check_recipient_access regexp:DIR/conf/recipients, permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = may
smtpd_tls_cert_file = CERT
smtpd_tls_key_file = KEY
smtpd_tls_received_header = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
cyrus_sasl_config_path = DIR/conf/sasl
smtpd_sasl_local_domain = postfix.test
smtpd_sasl_authenticated_header = yes
`

// The user that a smart host knows dawk by.
const (
	AccountName = "account"
	AccountPass = "to the smart host"
)

const postfixMaster = `127.0.0.1:PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
`

func (w *World) newPostfix() (*postfix, error) {
	p := &postfix{Port: w.FreePort(), dir: filepath.Join(w.Dir, "postfix")}
	if err := p.configure(w); err != nil {
		return nil, err
	}
	if out, err := RunTool(w.Ctx, time.Minute, nil, nil, "postfix", "-c", p.dir+"/conf", "start"); err != nil {
		return nil, fmt.Errorf("%w\n%s%s", err, out, p.Log())
	}
	if !Eventually(w.Ctx, Patience, func() bool { return Greets(p.Addr()) }) {
		return p, fmt.Errorf("no greeting by Postfix on %s\n%s", p.Addr(), p.Log())
	}
	return p, nil
}

func (p *postfix) configure(w *World) error {
	for _, d := range []string{"conf/sasl", "queue", "data", "mail"} {
		if err := os.MkdirAll(filepath.Join(p.dir, d), 0o755); err != nil {
			return err
		}
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		return fmt.Errorf("is Debian's package postfix not installed? %w", err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	if err := os.Chown(p.dir+"/data", uid, -1); err != nil {
		return err
	}
	if err := os.Chown(p.dir+"/mail", Nobody, Nobody); err != nil {
		return err
	}
	fill := strings.NewReplacer("DIR", p.dir, "PORT", strconv.Itoa(p.Port), "DAWK", strconv.Itoa(w.fromPostfix), "CERT", w.Ca.CertFile, "KEY", w.Ca.KeyFile)
	for name, text := range map[string]string{
		"main.cf":         postfixMain,
		"master.cf":       postfixMaster,
		"sasl/smtpd.conf": "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: DIR/conf/sasldb\nmech_list: PLAIN LOGIN\n",
		"domains":         "/\\.test$/ OK\n",
		"recipients":      "/^reject/ 550 5.1.1 No such user here\n/^defer/ 450 4.2.1 Mailbox busy, try again later\n",
	} {
		if err := os.WriteFile(filepath.Join(p.dir, "conf", name), []byte(fill.Replace(text)), 0o644); err != nil {
			return err
		}
	}
	db := filepath.Join(p.dir, "conf/sasldb")
	out, err := RunTool(w.Ctx, time.Minute, []byte(AccountPass), nil,
		"saslpasswd2", "-p", "-c", "-f", db, "-u", "postfix.test", AccountName)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return os.Chmod(db, 0o644) // smtpd is not root
}

func (p *postfix) Addr() string { return "127.0.0.1:" + strconv.Itoa(p.Port) }

func (p *postfix) Close() error {
	out, err := RunTool(context.Background(), time.Minute, nil, nil, "postfix", "-c", p.dir+"/conf", "stop")
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (p *postfix) Log() string {
	b, err := os.ReadFile(p.dir + "/postfix.log")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Arrivals gives every delivered message that satisfies keep; keep sees the
// raw file.
func (p *postfix) Arrivals(keep func([]byte) bool) ([]Arrival, error) {
	return readArrivals(p.dir+"/mail/all/new", keep, parseMaildir)
}

// parseMaildir takes off what a receiver puts in front: Postfix's virtual(8) three
// lines, others two, and the Received field.
func parseMaildir(raw []byte) (Arrival, bool) {
	var a Arrival
	rest := raw
	for {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return a, false
		}
		name, value, _ := strings.Cut(string(line), ": ")
		switch name {
		case "Return-Path", "Return-path":
			a.From = value
		case "X-Original-To", "Envelope-to":
			a.Rcpt = append(a.Rcpt, value)
		case "Delivered-To":
		default:
			if name != "Received" {
				return a, false
			}
			for len(after) > 0 && (after[0] == ' ' || after[0] == '\t') {
				if _, after, ok = bytes.Cut(after, []byte("\n")); !ok {
					return a, false
				}
			}
			a.Trace = raw[:len(raw)-len(after)]
			a.Content = after
			return a, true
		}
		rest = after
	}
}

// Allow makes Postfix take mail for a recipient that it deferred. smtpd reads
// its tables once and lives as long as the session, which dawk keeps open for
// the next message, so Postfix is started anew.
func (p *postfix) Allow(ctx context.Context, to string) error {
	name := p.dir + "/conf/recipients"
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("/^%s$/ DUNNO\n%s", strings.ReplaceAll(to, ".", `\.`), old)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return err
	}
	for _, verb := range []string{"stop", "start"} {
		if out, err := RunTool(ctx, time.Minute, nil, nil, "postfix", "-c", p.dir+"/conf", verb); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	return nil
}
