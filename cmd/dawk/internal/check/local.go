package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/show"
	"dawk/queue/boltstore/space"
	"dawk/relay"
	"dawk/relay/identity"
	"dawk/relay/tomlfile"
)

func (c *checker) configuration(context.Context) []Finding {
	where := c.cfg.File()
	if where == "" {
		where = "no file: built-in defaults, for programs of this machine only"
	}
	where += tester()
	all := []Finding{good("configuration", "%s (%s, %s)", where, show.Plural(len(c.cfg.Listeners), "listener"), show.Plural(len(c.cfg.Routes), "route"))}
	for _, r := range c.cfg.Routes {
		for _, secret := range []struct{ what, file string }{{"password", r.PasswordFile}, {"client secret", r.ClientSecretFile},
			{"refresh token", r.RefreshTokenFile}, {"key", r.ServiceAccountFile}} {
			if secret.file != "" && othersMay(secret.file, 0o007) {
				all = append(all, warn("configuration", "chmod 600 "+secret.file, "every user of this machine can read the %s in %s", secret.what, secret.file))
			}
		}
	}
	return all
}

// tester names who makes the checks, where that is not root.
func tester() string {
	if u, err := user.Current(); err == nil && os.Geteuid() != 0 {
		return ", checked as the user " + u.Username
	}
	return ""
}

// othersMay says whether the file's mode has any of bits.
func othersMay(path string, bits fs.FileMode) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().Perm()&bits != 0
}

const certificateSoon = 14 * 24 * time.Hour

func (c *checker) tls(context.Context) []Finding {
	t := c.cfg.TLS
	switch {
	case !c.cfg.NeedsTLS():
		return []Finding{good("certificate", `not needed: every listener has tls = "off"`)}
	case t.ACME != "":
		return []Finding{good("certificate", "%s is asked for it; dawk health tells whether it has given one", t.ACME)}
	case t.Certificate == "":
		return []Finding{warn("certificate", "set [tls] acme, or certificate and key to files from a certificate authority",
			"none is configured: a self-signed one is made, which clients will not trust")}
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return []Finding{bad("certificate", "check [tls] certificate and key: PEM files that belong together, readable by the relay",
			"%s and %s cannot be used: %s", t.Certificate, t.Key, strings.TrimPrefix(err.Error(), "tls: "))}
	}
	leaf, now := pair.Leaf, time.Now()
	day := leaf.NotAfter.Format("2006-01-02")
	var all []Finding
	switch {
	case now.After(leaf.NotAfter):
		all = append(all, bad("certificate", "renew it; the relay takes the new files by itself", "%s has expired on %s", t.Certificate, day))
	case now.Before(leaf.NotBefore):
		all = append(all, bad("certificate", "check the clock of this machine", "%s is not valid before %s", t.Certificate, leaf.NotBefore.Format("2006-01-02")))
	case leaf.NotAfter.Sub(now) < certificateSoon:
		all = append(all, warn("certificate", "renew it; the relay takes the new files by itself", "%s expires on %s", t.Certificate, day))
	}
	if leaf.VerifyHostname(c.cfg.Hostname) != nil {
		all = append(all, warn("certificate", "get a certificate for the name that clients are told to use",
			"%s is for %s, not for our hostname %s", t.Certificate, namesOf(leaf), c.cfg.Hostname))
	}
	if problem := chainProblem(pair); problem != "" {
		all = append(all, warn("certificate", "put the whole chain into the file, the server's certificate first; for a private authority, install it on the clients",
			"%s is not trusted by this machine: %s", t.Certificate, problem))
	}
	if othersMay(t.Key, 0o007) {
		all = append(all, warn("certificate", "chmod 600 "+t.Key, "every user of this machine can read the private key %s", t.Key))
	}
	if len(all) == 0 {
		all = append(all, good("certificate", "%s for %s, valid until %s", t.Certificate, namesOf(leaf), day))
	}
	return all
}

// namesOf is whom a certificate is for. Clients look at its DNS names and addresses
// alone (RFC 6125 §6.4.4); the common name helps to recognise one without any.
func namesOf(leaf *x509.Certificate) string {
	all := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		all = append(all, ip.String())
	}
	switch {
	case len(all) > 0:
		return names(all)
	case leaf.Subject.CommonName != "":
		return "no DNS name (its common name is " + relay.Sanitize(leaf.Subject.CommonName) + ")"
	}
	return "no name at all"
}

// chainProblem says why clients with this machine's roots would refuse it.
func chainProblem(pair tls.Certificate) string {
	pool := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(cert)
		}
	}
	_, err := pair.Leaf.Verify(x509.VerifyOptions{Intermediates: pool, CurrentTime: pair.Leaf.NotBefore.Add(time.Second)})
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &unknown):
		return "its authority is unknown, or the chain is incomplete"
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

func (c *checker) users(context.Context) []Finding {
	path := c.cfg.Users.File
	if !c.cfg.NeedsUsers() {
		return []Finding{good("users", `not needed: every listener has auth = "off"`)}
	}
	u, err := identity.Open(path, nil)
	var faults *tomlfile.Error
	switch {
	case errors.As(err, &faults):
		var all []Finding
		for _, f := range faults.Faults {
			all = append(all, bad("users", "", "%s:%d:%d: %s", faults.File, f.Line, f.Column, f.Message))
		}
		return all
	case err != nil:
		return []Finding{bad("users", "let the relay's user read it, or name another in [users] file", "%v", err)}
	}
	var all []Finding
	if len(u.List()) == 0 {
		all = append(all, warn("users", "dawk user add NAME", "%s holds no user: nobody can log in", path))
	}
	if othersMay(path, 0o007) {
		all = append(all, warn("users", "chmod 600 "+path, "every user of this machine can read the password hashes in %s", path))
	}
	if len(all) == 0 {
		all = append(all, good("users", "%s in %s", show.Plural(len(u.List()), "user"), path))
	}
	return all
}

func (c *checker) data(context.Context) []Finding {
	dir := c.cfg.DataDir
	st, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		parent := filepath.Dir(dir)
		if err := unix.Access(parent, unix.W_OK|unix.X_OK); err != nil {
			return []Finding{bad("data", fmt.Sprintf("mkdir -p %s, and give it to the relay's user", dir), "%s does not exist and cannot be made in %s: %v", dir, parent, err)}
		}
		return append([]Finding{good("data", "%s does not exist yet; the relay makes it", dir)}, c.space(parent)...)
	}
	if err == nil && !st.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err == nil {
		err = writable(dir)
	}
	if err != nil {
		return []Finding{bad("data", "give the directory to the relay's user", "%s cannot be used: %v", dir, err)}
	}
	all := []Finding{good("data", "%s is writable%s", dir, map[bool]string{true: "; a dawk is running on it"}[c.running])}
	if st.Mode().Perm()&0o077 != 0 {
		all = append(all, warn("data", "chmod 700 "+dir, "other users of this machine may read %s, where mail is kept", dir))
	}
	return append(all, c.space(dir)...)
}

// writable makes a file in dir and removes it.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".check.*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// space compares what is free with what new mail needs.
func (c *checker) space(dir string) []Finding {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return []Finding{warn("disk", "", "the free space of %s cannot be told: %v", dir, err)}
	}
	free, total := int64(st.Bavail)*int64(st.Bsize), int64(st.Blocks)*int64(st.Bsize)
	limits := space.Limits{MinFree: int64(c.cfg.Queue.MinFree), MaxMessageSize: int64(c.cfg.Limits.MaxMessageSize)}
	need := limits.Needed(total)
	if free < need {
		return []Finding{bad("disk", "make room, or lower queue.min_free", "%d MiB are free for %s; below %d MiB new mail is refused with 452", free>>20, dir, need>>20)}
	}
	if least := limits.Smallest(total); total < least {
		return []Finding{warn("disk", "give data_dir a larger file system, or lower limits.max_message_size and queue.min_free",
			"the file system of %s has %d MiB; below %d MiB it is soon full, and mail is refused with 452", dir, total>>20, least>>20)}
	}
	return []Finding{good("disk", "%d MiB are free for %s; new mail needs %d MiB", free>>20, dir, need>>20)}
}

func (c *checker) listeners(ctx context.Context) []Finding {
	var all []Finding
	for _, l := range c.cfg.Listeners {
		if config.IsUnix(l.Address) {
			continue // what is in its way is told at the start
		}
		all = append(all, c.bind(ctx, "listener", l.Address))
	}
	if c.cfg.HTTP.Address != "" {
		all = append(all, c.bind(ctx, "http", c.cfg.HTTP.Address))
	}
	return all
}

// bind opens a listener and closes it again.
func (c *checker) bind(ctx context.Context, check, address string) Finding {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		ln.Close()
		return good(check, "%s is free", address)
	case errors.Is(err, syscall.EADDRINUSE) && c.running:
		return good(check, "%s is taken; a dawk runs here and is taken to be the one", address)
	case errors.Is(err, syscall.EADDRINUSE):
		return bad(check, "stop the program that has it (`ss -ltnp` names it), or choose another address", "%s is taken by another program", address)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return bad(check, "give the relay CAP_NET_BIND_SERVICE, as the systemd unit in docs does, or choose a port from 1024", "%s needs a right that this user does not have", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return bad(check, "use an address of this machine, or 0.0.0.0 or [::] for all of them", "%s is not an address of this machine", address)
	}
	return bad(check, "", "%s cannot be opened: %v", address, err)
}

// trust warns of what looks like a harmless network and is everybody: a
// container engine's proxy makes all clients come from the gateway. It mentions
// limits where a network has none.
func (c *checker) trust(context.Context) []Finding {
	gateways := gateways()
	var all []Finding
	for _, l := range c.cfg.Listeners {
		if ap, err := netip.ParseAddrPort(l.Address); err == nil && ap.Addr().IsLoopback() {
			continue
		}
		for _, n := range l.TrustedNetworks {
			for _, g := range gateways {
				if n.Prefix().Contains(g) {
					all = append(all, warn("trust", "trust the single machines instead, or keep the gateway out of the network",
						"listener %s trusts %s, which holds our own gateway %s: where a proxy or NAT hides clients behind it (Docker does), anybody may relay", l.Address, n, g))
				}
			}
		}
		if !l.Policy().Watched() && slices.ContainsFunc(l.TrustedNetworks, func(n relay.Network) bool { return !n.Prefix().Addr().IsLoopback() }) {
			f := good("trust", "listener %s lets clients of its trusted networks send without limits", l.Address)
			f.Advice = "per_hour and hold_copies in that [[listener]] would stop a machine that somebody has taken over"
			all = append(all, f)
		}
	}
	return all
}

// gateways are the next hops of the kernel's IPv4 default routes; none where
// it does not tell.
func gateways() []netip.Addr {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil
	}
	defer f.Close()
	var found []netip.Addr
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text()) // interface, destination, gateway, …; little-endian hexadecimal
		if len(fields) < 3 || fields[1] != "00000000" {
			continue
		}
		if b, err := hex.DecodeString(fields[2]); err == nil && len(b) == 4 {
			if g := netip.AddrFrom4([4]byte(binary.LittleEndian.AppendUint32(nil, binary.BigEndian.Uint32(b)))); !g.IsUnspecified() {
				found = append(found, g)
			}
		}
	}
	return found
}

func (c *checker) postmaster(context.Context) []Finding {
	if c.cfg.Postmaster == "" {
		return []Finding{warn("postmaster", `set postmaster = "postmaster@…" to a mailbox that somebody reads`,
			"none is set: bounces that cannot be delivered themselves are logged and dropped")}
	}
	return []Finding{good("postmaster", "%s", c.cfg.PostmasterPath())}
}
