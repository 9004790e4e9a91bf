package check

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"dawk/cmd/dawk/internal/config"
)

// What root may do says little of what the relay may: as root, the check is made by
// another process, as the user that the relay runs as.

// serviceUser is who the docs let the relay run as.
const serviceUser = "dawk"

// RelayUser is who the relay with a configuration runs as, as far as root can tell:
// the owner of the data directory or, where there is none yet, the user dawk. nil:
// that is root, or the caller is not root.
func RelayUser(path string) *user.User {
	if os.Geteuid() != 0 {
		return nil
	}
	cfg, err := config.LoadClient(path)
	if cfg == nil || err != nil && cfg.DataDir == "" {
		return nil
	}
	st, err := os.Stat(cfg.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		u, _ := user.Lookup(serviceUser)
		return u
	}
	if err != nil {
		return nil
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	uid := strconv.Itoa(int(owner.Uid))
	if u, err := user.LookupId(uid); err == nil {
		return u
	}
	return &user.User{Uid: uid, Gid: strconv.Itoa(int(owner.Gid)), Username: uid}
}

// As runs this program again as u, with the same arguments, its output to stdout and
// stderr. It may open ports below 1024, as the service may. ok is false where the
// program cannot be run so; nothing was printed then.
func As(u *user.User, args []string, stdout, stderr io.Writer) (status int, ok bool) {
	const self = "/proc/self/exe" // also where u may not look into the directory that it is in
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		return 0, false
	}
	who := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	groups, _ := u.GroupIds() // of a number without a name there are none
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			who.Groups = append(who.Groups, uint32(n))
		}
	}
	for _, caps := range [][]uintptr{{unix.CAP_NET_BIND_SERVICE}, nil} { // a container may not have it to give
		c := exec.Command(self, args...)
		c.Args[0] = os.Args[0]
		c.Stdout, c.Stderr = stdout, stderr
		c.SysProcAttr = &syscall.SysProcAttr{Credential: who, AmbientCaps: caps, Pdeathsig: syscall.SIGKILL}
		if c.Start() == nil {
			c.Wait() // its status says how it went
			return c.ProcessState.ExitCode(), true
		}
	}
	return 0, false
}
