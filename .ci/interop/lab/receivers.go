package lab

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
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

func (w *World) newExim() (*unpacked, error) {
	r, err := w.unpack("exim", []string{"exim4-daemon-light"}, []string{"/usr/sbin/exim4"}, users{"Debian-exim": eximUser})
	if err != nil {
		return r, err
	}
	if err := r.own(eximUser, 0o755, "spool", "log", "mail"); err != nil {
		return r, err
	}
	if err := r.copyIn(w.Ca.CertFile, "cert.pem", eximUser); err != nil {
		return r, err
	}
	if err := r.copyIn(w.Ca.KeyFile, "key.pem", eximUser); err != nil {
		return r, err
	}
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return r, err
	}
	cert, key, err := w.Ca.Issue(w.Dir, "old.exim.test", old, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return r, err
	}
	if err := errors.Join(r.copyIn(cert, "old.pem", eximUser), r.copyIn(key, "old.key", eximUser)); err != nil {
		return r, err
	}
	if err := r.Write("exim.conf", eximConf); err != nil {
		return r, err
	}
	return r, r.Start("/usr/sbin/exim4", "-C", "/exim.conf", "-bdf")
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

func (w *World) newOpenSMTPD() (*unpacked, error) {
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
	if err := r.copyIn(w.Ca.CertFile, "cert.pem", 0); err != nil {
		return r, err
	}
	if err := r.copyIn(w.Ca.KeyFile, "key.pem", 0); err != nil {
		return r, err
	}
	if err := r.Write("etc/mailname", "opensmtpd.test\n"); err != nil {
		return r, err
	}
	return r, r.Grey("grey")
}

// Grey starts it with a prefix of recipients that are put off.
func (r *unpacked) Grey(prefix string) error {
	if err := r.Stop(); err != nil {
		return err
	}
	if err := r.Write("etc/smtpd.conf", strings.Replace(smtpdConf, "GREY", prefix, 1)); err != nil {
		return err
	}
	return r.Start("/usr/sbin/smtpd", "-d")
}

// receivers are the laboratory's: each takes mail for a domain of its own, and
// in the clear for "plain." of that.
type receivers struct {
	Exim, Smtpd *unpacked
	Relay       *Laboratory
}

func (w *World) Receivers(t *T) *receivers {
	l := w.Laboratory(t)
	if l.receivers != nil {
		return l.receivers
	}
	r := &receivers{Relay: l}
	var err error
	if r.Exim, err = w.newExim(); err == nil {
		r.Smtpd, err = w.newOpenSMTPD()
	}
	l.receivers = r // to be stopped, whatever came of it
	t.Must("receivers", err)
	b, err := os.ReadFile(l.Config())
	t.Must("read", err)
	text := string(b)
	for name, u := range map[string]*unpacked{"exim": r.Exim, "opensmtpd": r.Smtpd} {
		text += fmt.Sprintf("\n[[route]]\nto = [\"%s.test\"]\nvia = [%q]\n\n[[route]]\nto = [\"plain.%[1]s.test\"]\nvia = [%[2]q]\ntls = \"off\"\n", name, u.Addr())
	}
	text += fmt.Sprintf("\n[[route]]\nto = [\"old.exim.test\"]\nvia = [\"127.0.0.5:%d\"]\n", r.Exim.port)
	_, _, err = l.Stop()
	t.Must("stop", err)
	t.Must("write", l.Write(text))
	t.Must("start", l.Up())
	return r
}

func (r *receivers) Close() {
	for _, u := range []*unpacked{r.Exim, r.Smtpd} {
		if u != nil {
			_ = u.Stop() // it was killed then
		}
	}
}

func (r *receivers) of(name string) *unpacked {
	if name == "exim" {
		return r.Exim
	}
	return r.Smtpd
}

// Same waits for n copies of a message and compares them with what was sent.
func (r *receivers) Same(t *T, w *World, name, marker, message string, n int) Arrival {
	var first Arrival
	for i, got := range w.Arrived(t, r.of(name), marker, n) {
		if i == 0 {
			first = got
		}
		// Our own signature is put in front, too.
		if err := Unchanged([]byte(message), unsigned(got.Content)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Must("remove", os.Remove(got.File))
	}
	return first
}
