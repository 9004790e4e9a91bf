package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"strings"
)

// Two more receivers, each with a rule for recipients that begin with "grey":
// 450 until the greylist is lifted.

const eximUser = 65532

const eximConf = `primary_hostname = exim.test
spool_directory = /spool
log_file_path = /log/%slog
pid_file_path = /run/exim.pid
daemon_smtp_ports = PORT
local_interfaces = 127.0.0.1 : 127.0.0.5
keep_environment =
tls_advertise_hosts = *
tls_certificate = ${if eq{$received_ip_address}{127.0.0.5}{/old.pem}{/cert.pem}}
tls_privatekey = ${if eq{$received_ip_address}{127.0.0.5}{/old.key}{/key.pem}}
tls_require_ciphers = ${if eq{$received_ip_address}{127.0.0.5}{NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA}{NORMAL}}
smtputf8_advertise_hosts = *
message_size_limit = 100M
host_lookup =
rfc1413_hosts =
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
recipients_max = 5000
acl_smtp_rcpt = rcpt

begin acl
rcpt:
  defer local_parts = ^grey
        condition = ${if exists{/lifted}{no}{yes}}
        message = 4.2.1 come back later
  deny  local_parts = ^reject
        message = 5.1.1 No such user here
  accept

begin routers
all:
  driver = accept
  transport = box

begin transports
box:
  driver = appendfile
  directory = /mail
  maildir_format
  create_directory
  return_path_add
  envelope_to_add
  user = Debian-exim

begin retry
* * F,1h,1m
`

func (w *world) newExim() (*unpacked, error) {
	r, err := w.unpack("exim", []string{"exim4-daemon-light"}, []string{"/usr/sbin/exim4"}, users{"Debian-exim": eximUser})
	if err != nil {
		return r, err
	}
	if err := r.own(eximUser, 0o755, "spool", "log", "mail"); err != nil {
		return r, err
	}
	if err := r.copyIn(w.ca.certFile, "cert.pem", eximUser); err != nil {
		return r, err
	}
	if err := r.copyIn(w.ca.keyFile, "key.pem", eximUser); err != nil {
		return r, err
	}
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return r, err
	}
	cert, key, err := w.ca.issue(w.dir, "old.exim.test", old, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return r, err
	}
	if err := errors.Join(r.copyIn(cert, "old.pem", eximUser), r.copyIn(key, "old.key", eximUser)); err != nil {
		return r, err
	}
	if err := r.write("exim.conf", eximConf); err != nil {
		return r, err
	}
	return r, r.start("/usr/sbin/exim4", "-C", "/exim.conf", "-bdf")
}

const smtpdUser, smtpdQueue, smtpdBox = 65531, 65530, 65529

// OpenSMTPD 6.8 of Debian 12 offers STARTTLS and breaks every handshake: its
// separation of private keys does not get on with OpenSSL 3 ("missing private
// key"). So it shows what comes of a host whose TLS is broken.
const smtpdConf = `pki "receiver" cert "/cert.pem"
pki "receiver" key "/key.pem"
smtp max-message-size 100M
table people { "@" = "box" }
filter "grey" phase rcpt-to match rcpt-to regex { "^<?GREY" } reject "450 4.2.1 come back later"
filter "no" phase rcpt-to match rcpt-to regex { "^<?reject" } reject "550 5.1.1 No such user here"
filter "both" chain { "grey", "no" }
listen on 127.0.0.1 port PORT tls pki "receiver" hostname "opensmtpd.test" filter "both"
action "deliver" maildir "/mail" virtual <people>
match from any for any action "deliver"
`

func (w *world) newOpenSMTPD() (*unpacked, error) {
	r, err := w.unpack("opensmtpd", []string{"opensmtpd"}, []string{"/usr/sbin/smtpd", "/usr/libexec/opensmtpd/mail.maildir"},
		users{"opensmtpd": smtpdUser, "opensmtpq": smtpdQueue, "box": smtpdBox})
	if err != nil {
		return r, err
	}
	if err := r.own(smtpdBox, 0o755, "home", "mail"); err != nil {
		return r, err
	}
	if err := r.own(0, 0o711, "var/spool/smtpd", "var/lib/opensmtpd/empty"); err != nil {
		return r, err
	}
	if err := r.copyIn(w.ca.certFile, "cert.pem", 0); err != nil {
		return r, err
	}
	if err := r.copyIn(w.ca.keyFile, "key.pem", 0); err != nil {
		return r, err
	}
	if err := r.write("etc/mailname", "opensmtpd.test\n"); err != nil {
		return r, err
	}
	return r, r.grey("grey")
}

// grey starts it with a prefix of recipients that are put off.
func (r *unpacked) grey(prefix string) error {
	if err := r.stop(); err != nil {
		return err
	}
	if err := r.write("etc/smtpd.conf", strings.Replace(smtpdConf, "GREY", prefix, 1)); err != nil {
		return err
	}
	return r.start("/usr/sbin/smtpd", "-d")
}
