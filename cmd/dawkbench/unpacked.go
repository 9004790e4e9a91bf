package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Debian's Exim and OpenSMTPD conflict with Postfix, so they are run from a
// directory into which their packages were unpacked, and the machine is left
// as it is: a mount namespace lays that directory over /usr, and our
// configuration, users and spools over /etc and /var. A process namespace ends
// all of a relay at once, and a control group sees the CPU time of all, of
// processes too that nobody waits for, like Exim's deliveries.
const unpackedStart = `set -e
echo 0 >"$GROUP/cgroup.procs"
mount --make-rprivate /
mount -t overlay overlay -o lowerdir="$ROOT/usr":/usr /usr
mount -t overlay overlay -o lowerdir="$PWD/etc":/etc /etc
mount -t overlay overlay -o lowerdir=/var,upperdir="$PWD/var",workdir="$PWD/work" /var
"$@" & wait
`

// unpackedRelay is one of the relays that can be run so.
type unpackedRelay struct {
	name    string
	program string   // below the root; also where it is found in the namespace
	args    []string // %s: the port
	users   []string // system accounts that it insists on
	configs map[string]string
	dirs    []string // what the package's scripts would make, below /var
}

// As their authors or Debian ship them, but for the work: a smart host on
// loopback, no name lookups, many messages from one client.
var unpackedRelays = []unpackedRelay{{
	name: "exim", program: "/usr/sbin/exim4", args: []string{"-bdf", "-q1m"}, users: []string{"Debian-exim"},
	configs: map[string]string{"exim4/exim4.conf": eximConf},
	dirs:    []string{"spool/exim4", "log/exim4", "lib/exim4"},
}, {
	name: "opensmtpd", program: "/usr/sbin/smtpd", args: []string{"-d"}, users: []string{"opensmtpd", "opensmtpq"},
	configs: map[string]string{"smtpd.conf": opensmtpdConf, "aliases": ""},
	dirs:    []string{"lib/opensmtpd/empty"},
}}

const eximConf = `primary_hostname = exim.bench.test
daemon_smtp_ports = PORT
local_interfaces = 127.0.0.1
tls_advertise_hosts =
host_lookup =
rfc1413_hosts =
message_size_limit = 100M
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
split_spool_directory = true
message_logs = false
acl_smtp_rcpt = take
begin acl
take:
  accept
begin routers
smarthost:
  driver = manualroute
  transport = smtp
  route_list = * 127.0.0.1
  self = send
begin transports
smtp:
  driver = smtp
  port = SINK
  hosts_avoid_tls = *
begin retry
* * F,1h,1s
`

const opensmtpdConf = `listen on lo port PORT
smtp max-message-size 100M
smtp limit max-mails 100000
smtp limit max-rcpt 100000
action "relay" relay host smtp://127.0.0.1:SINK
match from any for any action "relay"
`

// unpacked are the relays whose packages were unpacked below root.
func unpacked(root string) ([]contender, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	var found []contender
	for _, u := range unpackedRelays {
		if _, err := os.Stat(filepath.Join(root, u.program)); err == nil {
			found = append(found, u.contender(root))
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("--unpacked %s: neither usr/sbin/exim4 nor usr/sbin/smtpd is there: unpack Debian's packages with dpkg -x", root)
	}
	return found, nil
}

func (u unpackedRelay) contender(root string) contender {
	return contender{name: u.name, relay: true, start: func(ctx context.Context, dir string, listen int, sink string) (*running, error) {
		if err := u.configure(dir, listen, sink); err != nil {
			return nil, fmt.Errorf("%s: %w", u.name, err)
		}
		group, err := newGroup()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.name, err)
		}
		argv := append([]string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", unpackedStart, "sh", u.program}, u.args...)
		r, err := startProgram(ctx, launch{u.name, dir, listen, false, []string{"ROOT=" + root, "GROUP=" + group}}, argv...)
		if err != nil {
			return nil, errors.Join(err, os.Remove(group))
		}
		r.group = group
		end := r.stop
		r.stop = func() error {
			// Signals to unshare go nowhere; with the first process of the
			// namespace ends all that is in it.
			if all := tree(r.roots); len(all) > 1 {
				_ = syscall.Kill(all[1].pid, syscall.SIGKILL) // if it has ended, so has the rest
			}
			return errors.Join(end(), os.Remove(group))
		}
		return r, nil
	}}
}

// configure writes what stands over /etc and /var.
func (u unpackedRelay) configure(dir string, listen int, sink string) error {
	_, sinkPort, err := net.SplitHostPort(sink)
	if err != nil {
		return err
	}
	for _, d := range []string{"etc", "var", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for file, line := range map[string]string{"passwd": "%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n", "group": "%s:x:%d:\n"} {
		b, err := os.ReadFile("/etc/" + file)
		if err != nil {
			return err
		}
		for i, name := range u.users {
			id := []any{name, firstUser + i, firstUser + i}
			b = fmt.Appendf(b, line, id[:strings.Count(line, "%")]...)
		}
		if err := os.WriteFile(filepath.Join(dir, "etc", file), b, 0o644); err != nil {
			return err
		}
	}
	for _, d := range u.dirs {
		path := filepath.Join(dir, "var", d)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if !strings.HasSuffix(d, "/empty") {
			if err := os.Chown(path, firstUser, firstUser); err != nil {
				return err
			}
		}
	}
	fill := strings.NewReplacer("PORT", strconv.Itoa(listen), "SINK", sinkPort)
	for name, text := range u.configs {
		path := filepath.Join(dir, "etc", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(fill.Replace(text)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// firstUser is a number for the first account, above those that Debian gives.
const firstUser = 64900
