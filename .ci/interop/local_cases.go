package main

import (
	"context"
	"dawk/.ci/interop/lab"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// localCases: programs of this machine, as a user who may look nowhere, while
// the relay runs and while it does not.
func localCases() []lab.TestCase {
	var cases []lab.TestCase
	for _, running := range []bool{true, false} {
		state := map[bool]string{true: "the relay runs", false: "the relay does not run"}[running]
		for _, p := range []struct {
			name string
			send func(l *localPost, marker string) (string, error)
			from string
		}{
			{"PHP mail()", (*localPost).php, "<web@" + lab.SenderDomain + ">"},
			{"cron", (*localPost).cron, "<nobody@" + lab.SenderDomain + ">"},
			{"cron to root", (*localPost).cronToRoot, "<nobody@" + lab.SenderDomain + ">"},
		} {
			cases = append(cases, lab.TestCase{Name: p.name + "/" + state, Run: func(t *lab.T, w *lab.World) {
				l := newLocalPost(t, w, running)
				marker := newMarker()
				if out, err := p.send(l, marker); err != nil || strings.TrimSpace(out) != "" {
					t.Fatalf("%v\n%s", err, out) // cron would mail whatever is said
				}
				if !running {
					t.Must("start", l.Up())
				}
				got := w.Arrived(t, w.Sink, marker, 1)[0]
				if !strings.HasPrefix(got.From, p.from) {
					t.Errorf("the reverse-path is %s, want %s", got.From, p.from)
				}
				if content := strings.ReplaceAll(string(got.Content), "\r\n", "\n"); !strings.Contains(content, "\n.\n") || !strings.Contains(content, "\nFrom: ") {
					t.Errorf("it is not whole: %q", lab.Clip(content))
				}
				if log := l.Proc.Out.String(); !strings.Contains(log, "identity=local:nobody") {
					t.Errorf("the log does not say who it was:\n%s", lab.LastLines(log, 5))
				}
			}})
		}
	}
	return append(cases, lab.TestCase{Name: "mailq/of a user", Run: func(t *lab.T, w *lab.World) {
		l := newLocalPost(t, w, true)
		mailq := filepath.Join(l.Dir, "mailq")
		t.Must("link", os.Symlink(w.Binary, mailq))
		out, err := l.asNobody("", mailq, "-C", l.Config())
		if err != nil || strings.TrimSpace(out) != "Mail queue is empty" {
			t.Errorf("%v: %s", err, out)
		}
	}})
}

// localPost is a relay for programs of this machine, and a sendmail.
type localPost struct {
	*lab.Relay
	sendmail string
}

// localPost starts it, and stops it again unless it is to run.
func newLocalPost(t *lab.T, w *lab.World, running bool) *localPost {
	name := "local" + strings.ReplaceAll(newMarker(), "interop", "")
	r, err := w.NewRelay(name, []string{lab.Trusted}, w.ToSink()+fmt.Sprintf("\n[sendmail]\nsocket = \"submit.sock\"\ndrop = \"drop\"\ndomain = %q\nsenders = [%q]\naliases = \"aliases\"\n", lab.SenderDomain, "@"+lab.SenderDomain))
	t.Must("config", err)
	t.Must("aliases", os.WriteFile(filepath.Join(r.Dir, "aliases"), []byte("root: someone@"+lab.SinkDomain+"\n"), 0o644))
	t.Must("users", os.WriteFile(filepath.Join(r.Dir, "users.toml"), nil, 0o600))
	l := &localPost{r, filepath.Join(r.Dir, "sendmail")}
	t.Must("link", os.Symlink(w.Binary, l.sendmail))
	t.Must("start", l.Up())
	t.Cleanup(l.Close)
	if !running {
		_, _, err := l.Stop()
		t.Must("stop", err)
	}
	return l
}

// asNobody runs a program as a user who may not look into the data directory.
func (l *localPost) asNobody(stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(l.W.Ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Dir = strings.NewReader(stdin), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: lab.Nobody, Gid: lab.Nobody}}
	out, err := cmd.CombinedOutput()
	return string(out), errors.Join(err, ctx.Err())
}

// php is a form on a web site.
func (l *localPost) php(marker string) (string, error) {
	return l.asNobody("", "php", "-n", "-d", "sendmail_path="+l.sendmail+" -t -i -C "+l.Config(), "-r",
		fmt.Sprintf(`exit(mail("Some One <someone@%s>", "Form %s", "Dear reader,\n.\nগ্রাহক\n", "From: Web <web@%s>\r\nContent-Type: text/plain; charset=utf-8", "-fweb@%[3]s") ? 0 : 1);`,
			lab.SinkDomain, marker, lab.SenderDomain))
}

// cron pipes what a job said to sendmail with these options.
func (l *localPost) cron(marker string) (string, error) {
	return l.job(marker, "someone@"+lab.SinkDomain)
}

// cronToRoot is cron without MAILTO: an alias says who reads it.
func (l *localPost) cronToRoot(marker string) (string, error) { return l.job(marker, "root") }

func (l *localPost) job(marker, to string) (string, error) {
	mail := fmt.Sprintf("From: root (Cron Daemon)\nTo: %s\nSubject: Cron <nobody@host> backup %s\nMIME-Version: 1.0\n"+
		"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nX-Cron-Env: <LOGNAME=nobody>\n\ndisk is full\n.\n98 %%\n", to, marker)
	return l.asNobody(mail, l.sendmail, "-C", l.Config(), "-i", "-FCronDaemon", "-B8BITMIME", "-oem", to)
}
