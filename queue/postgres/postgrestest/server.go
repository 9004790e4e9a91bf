// Package postgrestest runs PostgreSQL servers of its own for tests: a primary, and
// standbys that follow it, on unix sockets and loopback below a temporary directory.
package postgrestest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// T is what a test, or a script of one, must do for its servers.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Server is one that runs.
type Server struct {
	Port int

	t    T
	bin  string
	dir  string
	args []string
	cmd  *exec.Cmd
	done chan struct{}
}

// Required is the environment variable that makes a missing PostgreSQL a failure; else
// Need skips the test.
const Required = "DAWK_POSTGRES"

// Need skips a test where PostgreSQL is not installed.
func Need(t testing.TB) {
	t.Helper()
	if Binaries() != "" {
		return
	}
	if os.Getenv(Required) != "" {
		t.Fatal("PostgreSQL is not installed")
	}
	t.Skip("PostgreSQL is not installed: apt-get install postgresql")
}

// Binaries is the directory of initdb and postgres, which Debian keeps out of PATH; ""
// where there is none. DAWK_POSTGRES_BIN names another.
func Binaries() string {
	if dir := os.Getenv("DAWK_POSTGRES_BIN"); dir != "" {
		return dir
	}
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(all) > 0 {
		slices.Sort(all)
		return filepath.Dir(all[len(all)-1])
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p)
	}
	return ""
}

// Start runs a new server with these settings besides ours, "fsync=off" for example, and
// ends it with the test. Its only role is dawk, who may do everything, without a password.
func Start(t T, settings ...string) *Server {
	t.Helper()
	s := &Server{t: t, bin: Binaries(), dir: directory(t)}
	s.run("initdb", "-D", s.data(), "-U", "dawk", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
	s.start(settings)
	return s
}

// Standby runs a server that follows s, under a name that synchronous_standby_names may
// have.
func (s *Server) Standby(name string, settings ...string) *Server {
	s.t.Helper()
	b := &Server{t: s.t, bin: s.bin, dir: directory(s.t)}
	b.run("pg_basebackup", "-D", b.data(), "-d", s.DSN()+" application_name="+name, "-R", "-c", "fast", "-N")
	b.start(settings)
	return b
}

// directory is one that the server's user may use: the tests' own belong to root. It is
// in memory, where there is room: dawk wants a server that syncs, and there it costs nothing.
func directory(t T) string {
	base := ""
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) == nil && st.Bavail*uint64(st.Bsize) > 2<<30 {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "dawk-pg-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if c := owner(); c != nil {
		if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return dir
}

// owner is who runs the server where we are root, whom it refuses; nil: we do.
func owner() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: owner(), Pdeathsig: syscall.SIGQUIT}
	c.Env = append(os.Environ(), "HOME="+s.dir, "LC_ALL=C")
	return c
}

func (s *Server) run(name string, args ...string) {
	s.t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func (s *Server) start(settings []string) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	s.args = []string{"-D", s.data(), "-p", strconv.Itoa(s.Port)}
	for _, set := range append([]string{"listen_addresses=127.0.0.1", "unix_socket_directories=" + s.dir, "shared_buffers=32MB",
		"max_connections=60", "wal_level=replica", "hot_standby=on", "log_min_messages=fatal"}, settings...) {
		s.args = append(s.args, "-c", set)
	}
	s.t.Cleanup(s.Kill)
	s.Run()
}

// Run starts the server again, and returns when it takes connections.
func (s *Server) Run() {
	s.t.Helper()
	var out bytes.Buffer
	s.cmd = s.command("postgres", s.args...)
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("%v", err)
	}
	s.done = make(chan struct{})
	go func() { s.cmd.Wait(); close(s.done) }()
	for {
		if s.command("pg_isready", "-q", "-h", s.dir, "-p", strconv.Itoa(s.Port), "-d", "postgres").Run() == nil {
			return
		}
		select {
		case <-s.done:
			s.t.Fatalf("postgres ended:\n%s", out.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// DSN is how to reach it, as keywords.
func (s *Server) DSN() string {
	return fmt.Sprintf("host=%s port=%d user=dawk dbname=postgres", s.dir, s.Port)
}

// Address is where it listens on loopback.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Kill ends the server and its sessions as a crash does.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

// Stop ends it in order, cutting its sessions.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

func (s *Server) end(sig os.Signal) {
	select {
	case <-s.done:
		return
	default:
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatalf("%v", err)
	}
	<-s.done
}

// Promote makes a standby a primary.
func (s *Server) Promote() {
	s.t.Helper()
	s.run("pg_ctl", "promote", "-D", s.data(), "-w", "-t", "60")
}

// Exec runs SQL and returns what it prints, a line for each row.
func (s *Server) Exec(sql string) []string {
	s.t.Helper()
	return s.ExecIn(s.DSN(), sql)
}

// ExecIn is Exec in another database.
func (s *Server) ExecIn(dsn, sql string) []string {
	s.t.Helper()
	out, err := s.command("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", sql).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", sql, err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
