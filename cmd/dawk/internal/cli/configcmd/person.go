package configcmd

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
)

// person is whoever may be asked, at a terminal.
type person struct {
	app      *app.App
	terminal *os.File // nil: nobody can be asked
	lines    *bufio.Reader
	secret   string // typed, for a file that is to be made
}

func newPerson(a *app.App) *person {
	p := &person{app: a}
	if f, ok := a.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal, p.lines = f, bufio.NewReader(f)
	}
	return p
}

// fill asks for a value that a flag has left open. An empty answer is the fallback.
// Nobody can be asked: it is the fallback, or an error that names the flag.
func (p *person) fill(value *string, flag, question, fallback string, needed bool) error {
	for *value == "" {
		if p.terminal == nil {
			if *value = fallback; *value == "" && needed {
				return fmt.Errorf("--%s is missing: %s", flag, question)
			}
			return nil
		}
		prompt := question
		if fallback != "" {
			prompt += " [" + fallback + "]"
		}
		fmt.Fprint(p.app.Stdout, prompt+": ")
		line, err := p.lines.ReadString('\n')
		if err != nil {
			fmt.Fprintln(p.app.Stdout)
			return errors.New("stopped; nothing was written")
		}
		if *value = strings.TrimSpace(line); *value == "" {
			*value = fallback
		}
		if !needed {
			return nil
		}
	}
	return nil
}

// ask completes f. dir is where the file is to be.
func (f *first) ask(p *person, dir string) error {
	if err := p.fill(&f.Kind, "kind", "What is it for: smarthost, microsoft365, gmail, direct or application", "", true); err != nil {
		return err
	}
	if !slices.Contains(kinds, f.Kind) {
		return fmt.Errorf("--kind %q is unknown; it is one of %s", relay.Clip(f.Kind), strings.Join(kinds, ", "))
	}
	name := config.MachineName()
	if !strings.Contains(name, ".") {
		name = ""
	}
	if err := p.fill(&f.Hostname, "hostname", "This machine's full name in DNS, as in relay.example.org", name, true); err != nil {
		return err
	}
	if err := f.askRoute(p, dir); err != nil {
		return err
	}
	mailbox := ""
	if _, domain, ok := strings.Cut(f.User, "@"); ok && p.terminal != nil {
		mailbox = "postmaster@" + domain
	}
	return p.fill(&f.Postmaster, "postmaster", "The mailbox that is told of trouble", mailbox, false)
}

func (f *first) askRoute(p *person, dir string) error {
	mailbox := f.Kind == "microsoft365" || f.Kind == "gmail"
	if f.Kind == "smarthost" && len(f.Via) == 0 {
		via := ""
		if err := p.fill(&via, "via", "The smart host, as in smtp.example.net:587", "", true); err != nil {
			return err
		}
		f.Via = []string{via}
	}
	switch {
	case mailbox:
		if err := p.fill(&f.User, "user", "The mailbox that sends", "", true); err != nil {
			return err
		}
	case len(f.Via) > 0:
		if err := p.fill(&f.User, "user", "The login there, empty for none", "", false); err != nil {
			return err
		}
	}
	if f.User == "" {
		return nil
	}
	what := "password of " + f.User
	if f.Kind == "microsoft365" && f.PasswordFile == "" && p.terminal != nil {
		if err := p.fill(&f.Tenant, "tenant", "The Directory (tenant) ID in Entra", "", true); err != nil {
			return err
		}
		if err := p.fill(&f.ClientID, "client-id", "The Application (client) ID in Entra", "", true); err != nil {
			return err
		}
		what = "client secret (its Value)"
	}
	fallback := ""
	if p.terminal != nil {
		fallback = filepath.Join(dir, f.Kind+".secret")
	}
	if err := p.fill(&f.PasswordFile, "password-file", "The file with the "+what, fallback, true); err != nil {
		return err
	}
	if _, err := os.Stat(f.PasswordFile); err == nil || p.terminal == nil {
		return nil
	}
	typed, err := p.app.AskHidden(int(p.terminal.Fd()), "The "+what+", which goes into that file and is not shown: ")
	if err != nil {
		return err
	}
	if p.secret = strings.TrimSpace(typed[0]); p.secret == "" {
		return errors.New("no secret was given; nothing was written")
	}
	return nil
}

// next says what to do with the file.
func (f *first) next(a *app.App, file string) {
	c := ""
	if file != config.DefaultFile {
		c = " -c " + file
	}
	fmt.Fprintln(a.Stdout, "\nNext:")
	if !f.Local() {
		fmt.Fprintf(a.Stdout, "  dawk user add NAME%s    for each person and device\n", c)
	}
	fmt.Fprintf(a.Stdout, "  dawk check%s            is all of it right?\n  dawk serve%[1]s            or start the service\n", c)
}
