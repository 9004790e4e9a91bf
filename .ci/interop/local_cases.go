package main

import (
	"context"
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
func localCases() []testCase {
	var cases []testCase
	for _, running := range []bool{true, false} {
		state := map[bool]string{true: "the relay runs", false: "the relay does not run"}[running]
		for _, p := range []struct {
			name string
			send func(l *localPost, marker string) (string, error)
			from string
		}{
			{"PHP mail()", (*localPost).php, "<web@" + senderDomain + ">"},
			{"cron", (*localPost).cron, "<nobody@" + senderDomain + ">"},
			{"cron to root", (*localPost).cronToRoot, "<nobody@" + senderDomain + ">"},
		} {
			cases = append(cases, testCase{p.name + "/" + state, func(t *T, w *world) {
				l := w.localPost(t, running)
				marker := newMarker()
				if out, err := p.send(l, marker); err != nil || strings.TrimSpace(out) != "" {
					t.Fatalf("%v\n%s", err, out) // cron would mail whatever is said
				}
				if !running {
					t.must("start", l.up())
				}
				got := w.arrived(t, w.sink, marker, 1)[0]
				if !strings.HasPrefix(got.from, p.from) {
					t.Errorf("the reverse-path is %s, want %s", got.from, p.from)
				}
				if content := strings.ReplaceAll(string(got.content), "\r\n", "\n"); !strings.Contains(content, "\n.\n") || !strings.Contains(content, "\nFrom: ") {
					t.Errorf("it is not whole: %q", clip(content))
				}
				if log := l.proc.out.String(); !strings.Contains(log, "identity=local:nobody") {
					t.Errorf("the log does not say who it was:\n%s", lastLines(log, 5))
				}
			}})
		}
	}
	return append(cases, testCase{"mailq/of a user", func(t *T, w *world) {
		l := w.localPost(t, true)
		mailq := filepath.Join(l.dir, "mailq")
		t.must("link", os.Symlink(w.binary, mailq))
		out, err := l.asNobody("", mailq, "-C", l.config())
		if err != nil || strings.TrimSpace(out) != "Mail queue is empty" {
			t.Errorf("%v: %s", err, out)
		}
	}})
}

// localPost is a relay for programs of this machine, and a sendmail.
type localPost struct {
	*relay
	sendmail string
}

// localPost starts it, and stops it again unless it is to run.
func (w *world) localPost(t *T, running bool) *localPost {
	name := "local" + strings.ReplaceAll(newMarker(), "interop", "")
	r, err := w.newRelay(name, []string{trusted}, w.toSink()+fmt.Sprintf("\n[sendmail]\nsocket = \"submit.sock\"\ndrop = \"drop\"\ndomain = %q\nsenders = [%q]\naliases = \"aliases\"\n", senderDomain, "@"+senderDomain))
	t.must("config", err)
	t.must("aliases", os.WriteFile(filepath.Join(r.dir, "aliases"), []byte("root: someone@"+sinkDomain+"\n"), 0o644))
	t.must("users", os.WriteFile(filepath.Join(r.dir, "users.toml"), nil, 0o600))
	l := &localPost{r, filepath.Join(r.dir, "sendmail")}
	t.must("link", os.Symlink(w.binary, l.sendmail))
	t.must("start", l.up())
	t.Cleanup(l.close)
	if !running {
		_, _, err := l.stop()
		t.must("stop", err)
	}
	return l
}

// asNobody runs a program as a user who may not look into the data directory.
func (l *localPost) asNobody(stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(l.w.ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Dir = strings.NewReader(stdin), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	return string(out), errors.Join(err, ctx.Err())
}

// php is a form on a web site.
func (l *localPost) php(marker string) (string, error) {
	return l.asNobody("", "php", "-n", "-d", "sendmail_path="+l.sendmail+" -t -i -C "+l.config(), "-r",
		fmt.Sprintf(`exit(mail("Some One <someone@%s>", "Form %s", "Dear reader,\n.\nগ্রাহক\n", "From: Web <web@%s>\r\nContent-Type: text/plain; charset=utf-8", "-fweb@%[3]s") ? 0 : 1);`,
			sinkDomain, marker, senderDomain))
}

// cron pipes what a job said to sendmail with these options.
func (l *localPost) cron(marker string) (string, error) {
	return l.job(marker, "someone@"+sinkDomain)
}

// cronToRoot is cron without MAILTO: an alias says who reads it.
func (l *localPost) cronToRoot(marker string) (string, error) { return l.job(marker, "root") }

func (l *localPost) job(marker, to string) (string, error) {
	mail := fmt.Sprintf("From: root (Cron Daemon)\nTo: %s\nSubject: Cron <nobody@host> backup %s\nMIME-Version: 1.0\n"+
		"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nX-Cron-Env: <LOGNAME=nobody>\n\ndisk is full\n.\n98 %%\n", to, marker)
	return l.asNobody(mail, l.sendmail, "-C", l.config(), "-i", "-FCronDaemon", "-B8BITMIME", "-oem", to)
}
