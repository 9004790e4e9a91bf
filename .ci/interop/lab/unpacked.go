package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// unpacked is a receiver of a Debian package that conflicts with Postfix: its
// files lie in a root of their own, with copies of the libraries they need, and
// it runs in there (chroot), with users that only exist there.
type unpacked struct {
	w    *World
	Root string
	port int
	proc *process
}

// users of a root: name and number.
type users map[string]int

// unpack makes a root of packages for some of their programs.
func (w *World) unpack(name string, packages, programs []string, u users) (*unpacked, error) {
	r := &unpacked{w: w, Root: filepath.Join(w.Dir, name), port: w.FreePort()}
	debs, err := w.Subdir(name + "-debs")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(debs, 0o777); err != nil { // apt-get downloads as a user of its own
		return nil, err
	}
	cmd := exec.CommandContext(w.Ctx, "apt-get", append([]string{"-q", "download"}, packages...)...)
	cmd.Dir = debs
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("apt-get download: %w: %s", err, out)
	}
	files, err := filepath.Glob(debs + "/*.deb")
	if err != nil || len(files) != len(packages) {
		return nil, fmt.Errorf("apt-get download brought %d packages, want %d: %v", len(files), len(packages), err)
	}
	for _, f := range files {
		if out, err := RunTool(w.Ctx, time.Minute, nil, nil, "dpkg", "-x", f, r.Root); err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
	}
	return r, r.furnish(programs, u)
}

// furnish brings libraries, a shell, devices and users.
func (r *unpacked) furnish(programs []string, u users) error {
	for _, d := range []string{"dev", "etc", "tmp", "run", "var/run", "bin"} {
		if err := os.MkdirAll(filepath.Join(r.Root, d), 0o755); err != nil {
			return err
		}
	}
	copies := map[string]string{"/bin/sh": "/bin/sh"}
	for _, p := range append(programs, "/bin/sh") {
		from := filepath.Join(r.Root, p)
		if p == "/bin/sh" {
			from = p
		}
		out, err := RunTool(r.w.Ctx, time.Minute, nil, nil, "ldd", from)
		if err != nil || strings.Contains(out, "not found") {
			return fmt.Errorf("ldd %s: %v: %s", p, err, out)
		}
		for _, lib := range regexp.MustCompile(`/[^ \n]+\.so[^ \n]*`).FindAllString(out, -1) {
			copies[lib] = lib
		}
	}
	for from, to := range copies {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		to = filepath.Join(r.Root, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			return err
		}
	}
	for name, minor := range map[string]int{"null": 3, "random": 8, "urandom": 9} {
		file := filepath.Join(r.Root, "dev", name)
		if err := syscall.Mknod(file, syscall.S_IFCHR|0o666, 1<<8|minor); err != nil {
			return fmt.Errorf("mknod %s: %w", file, err)
		}
		if err := os.Chmod(file, 0o666); err != nil {
			return err
		}
	}
	passwd, group := "root:x:0:0::/:/bin/sh\n", "root:x:0:\nmail:x:8:\n"
	for name, id := range u {
		passwd += fmt.Sprintf("%s:x:%d:%d::/home:/bin/sh\n", name, id, id)
		group += fmt.Sprintf("%s:x:%d:\n", name, id)
	}
	if err := r.Write("etc/passwd", passwd); err != nil {
		return err
	}
	return r.Write("etc/group", group)
}

// Write makes a file in the root; PORT stands for the receiver's port.
func (r *unpacked) Write(name, text string) error {
	file := filepath.Join(r.Root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.ReplaceAll(text, "PORT", strconv.Itoa(r.port))), 0o644)
}

// own makes a directory in the root that belongs to a user.
func (r *unpacked) own(id int, mode os.FileMode, dirs ...string) error {
	for _, d := range dirs {
		d = filepath.Join(r.Root, d)
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		if err := os.Chown(d, id, id); err != nil {
			return err
		}
		if err := os.Chmod(d, mode); err != nil {
			return err
		}
	}
	return nil
}

// copyIn puts one of the world's files into the root.
func (r *unpacked) copyIn(from, to string, id int) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	to = filepath.Join(r.Root, to)
	if err := os.WriteFile(to, b, 0o600); err != nil {
		return err
	}
	return os.Chown(to, id, id)
}

// Start runs a program of the root until it greets.
func (r *unpacked) Start(argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: r.Root}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	var err error
	if r.proc, err = StartProcess(cmd); err != nil {
		return err
	}
	if !Eventually(context.Background(), Patience, func() bool { return !r.proc.Running() || Greets(r.Addr()) }) || !r.proc.Running() {
		return fmt.Errorf("no greeting by %s on %s:\n%s", argv[0], r.Addr(), r.proc.Out.Tail(12))
	}
	return nil
}

func (r *unpacked) Addr() string { return "127.0.0.1:" + strconv.Itoa(r.port) }

func (r *unpacked) Stop() error {
	if r.proc == nil || !r.proc.Running() {
		return nil
	}
	_, err := r.proc.Signal(syscall.SIGTERM, 10*time.Second)
	if err != nil {
		r.proc.Kill()
	}
	return err
}

func (r *unpacked) Arrivals(keep func([]byte) bool) ([]Arrival, error) {
	return readArrivals(filepath.Join(r.Root, "mail/new"), keep, parseMaildir)
}
