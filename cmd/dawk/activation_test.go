package main_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSocketActivation gives the program its sockets as systemd does. One that
// no listener wants is an error, since its clients would wait for ever.
func TestSocketActivation(t *testing.T) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "smtp.sock")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	for _, l := range []interface{ File() (*os.File, error) }{tcp.(*net.TCPListener), unix.(*net.UnixListener)} {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	addr := tcp.Addr().String()
	tcp.Close()
	unix.(*net.UnixListener).SetUnlinkOnClose(false)
	unix.Close()
	listener := func(address string) string {
		return "[[listener]]\naddress = \"" + address + "\"\ntls = \"off\"\nauth = \"off\"\ntrusted_networks = [\"127.0.0.0/8\"]\n"
	}
	rest := "[http]\naddress = \"\"\n[queue]\nmin_free = \"1MiB\"\n"
	run := func(conf string, through func(out *bytes.Buffer)) (string, error) {
		file := filepath.Join(dir, "dawk.toml")
		if err := os.WriteFile(file, []byte("hostname = \"relay.test\"\ndata_dir = \"data\"\n"+conf+rest), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		// LISTEN_PID is ours only after exec: the shell's, which becomes dawk.
		cmd := exec.CommandContext(ctx, "sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=2 exec dawk serve -c "$0"`, file)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.ExtraFiles, cmd.Dir = files, dir
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if through != nil {
			through(&out)
			cancel()
		}
		err := cmd.Wait()
		return out.String(), err
	}
	log, _ := run(listener(addr)+listener("unix:"+sock), func(*bytes.Buffer) {
		// The sockets listen already: a client's connection waits for the start.
		if reply, err := submit(addr, "", "", "", "a@office.test", []string{"b@example.test"}, "Subject: x\r\n\r\n"); err != nil {
			t.Errorf("%q, %v", reply, err)
		}
		c, err := net.Dial("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b := make([]byte, 4)
		if _, err := c.Read(b); err != nil || string(b) != "220 " {
			t.Errorf("at the unix socket: %q, %v", b, err)
		}
	})
	if !strings.Contains(log, "listening") || !strings.Contains(log, "unix:"+sock) {
		t.Errorf("%s", log)
	}
	if log, err := run(listener(addr), nil); err == nil || !strings.Contains(log, "systemd opened "+sock+" for dawk, but no [[listener]] has that address") {
		t.Errorf("a socket too many: %v\n%s", err, log)
	}
}
