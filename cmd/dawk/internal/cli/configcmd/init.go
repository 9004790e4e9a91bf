package configcmd

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/relay/durable"
)

//go:embed first.toml.tmpl
var firstFile string

// kinds are what a relay may be for.
var kinds = []string{"smarthost", "microsoft365", "gmail", "direct", "application"}

// first is what a first configuration is made of.
type first struct {
	Kind         string
	Hostname     string
	Via          []string
	User         string
	PasswordFile string
	Tenant       string
	ClientID     string
	Postmaster   string
	DataDir      string
}

// Local says whether only programs of this machine are served.
func (f *first) Local() bool { return f.Kind == "application" }

func newInit(a *app.App) *cobra.Command {
	var f first
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a first configuration file",
		Long: `Writes a commented configuration file where -c says, else to ` + config.DefaultFile + `.
At a terminal it asks for what the flags leave open. It never changes a file that
is there. The kinds are:

  smarthost      people and devices log in; all mail leaves by one host
  microsoft365   likewise, by a mailbox of Microsoft 365
  gmail          likewise, by a mailbox of Google
  direct         people and devices log in; mail goes straight to its receivers
  application    for programs of this machine; straight, or by a host (--via)`,
		Example: "  dawk config init --kind smarthost --hostname relay.example.org --via smtp.example.net:587 \\\n" +
			"    --user office@example.net --password-file /etc/dawk/smarthost.secret --postmaster postmaster@example.org",
		Args: app.NoArguments,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Kind, "kind", "", "smarthost, microsoft365, gmail, direct or application")
	flags.StringVar(&f.Hostname, "hostname", "", "our name in DNS (default: this machine's full name)")
	flags.StringSliceVar(&f.Via, "via", nil, "the smart host, as in smtp.example.net:587; several in order of preference")
	flags.StringVar(&f.User, "user", "", "the login there; for microsoft365 and gmail the mailbox that sends")
	flags.StringVar(&f.PasswordFile, "password-file", "", "file whose first line is the password, or for microsoft365 with --tenant the application's secret")
	flags.StringVar(&f.Tenant, "tenant", "", "microsoft365: the Directory (tenant) ID in Entra")
	flags.StringVar(&f.ClientID, "client-id", "", "microsoft365: the Application (client) ID in Entra")
	flags.StringVar(&f.Postmaster, "postmaster", "", "the mailbox that is told of trouble")
	flags.StringVar(&f.DataDir, "data-dir", "/var/lib/dawk", "where the queue is kept")
	cmd.RunE = func(*cobra.Command, []string) error {
		file := a.ConfigPath
		if file == "" {
			file = config.DefaultFile
		}
		if err := missing(file); err != nil { // before any question
			return err
		}
		p := newPerson(a)
		if err := f.ask(p, filepath.Dir(file)); err != nil {
			return err
		}
		if err := f.check(); err != nil {
			return err
		}
		if err := f.absolute(file); err != nil {
			return err
		}
		return f.write(a, p.secret, file)
	}
	return cmd
}

// missing says why file cannot be made.
func missing(file string) error {
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s is there already and is not changed; -c names another file", file)
	}
	dir := filepath.Dir(file)
	if st, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no directory %s: make it first (`mkdir %[1]s`), or name another file with -c", dir)
	} else if err == nil && !st.IsDir() {
		return fmt.Errorf("%s is not a directory; -c names another file", dir)
	}
	return nil
}

// check refuses what the configuration could not say or a route could not have.
func (f *first) check() error {
	for flag, value := range map[string]string{"hostname": f.Hostname, "via": strings.Join(f.Via, ","), "user": f.User, "password-file": f.PasswordFile,
		"tenant": f.Tenant, "client-id": f.ClientID, "postmaster": f.Postmaster, "data-dir": f.DataDir} {
		if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			return fmt.Errorf("--%s has control characters or is not UTF-8", flag)
		}
	}
	mailbox := f.Kind == "microsoft365" || f.Kind == "gmail"
	switch {
	case f.Kind == "direct" && len(f.Via) > 0:
		return errors.New("--via is for mail that leaves by a smart host: leave it out, or write --kind smarthost")
	case mailbox && len(f.Via) > 0:
		return fmt.Errorf("--via is known for --kind %s: leave it out", f.Kind)
	case f.User != "" && !mailbox && len(f.Via) == 0:
		return errors.New("--user is the login at a smart host, and there is none: add --via, or leave it out")
	case f.User == "" && f.PasswordFile != "":
		return errors.New("--password-file needs --user: the name to log in with")
	case (f.Tenant != "" || f.ClientID != "") && f.Kind != "microsoft365":
		return errors.New("--tenant and --client-id are for --kind microsoft365")
	case (f.Tenant == "") != (f.ClientID == ""):
		return errors.New("--tenant and --client-id belong together: write both, or neither for a password")
	}
	return nil
}

// absolute completes paths that the shell counts from its directory where the file,
// which counts from its own, is in another.
func (f *first) absolute(file string) (err error) {
	if filepath.Dir(file) == "." {
		return nil
	}
	for _, path := range []*string{&f.PasswordFile, &f.DataDir} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return err
			}
		}
	}
	return nil
}

// write makes the file, after the relay's own check of it, and the files beside it
// that it names and that are missing. Where anything fails they are removed again.
func (f *first) write(a *app.App, secret, file string) (err error) {
	var made []string
	defer func() {
		if err != nil {
			for _, name := range made {
				os.Remove(name)
			}
		}
	}()
	text, err := f.text()
	if err != nil {
		return err
	}
	beside := map[string]string{}
	if !f.Local() {
		beside[filepath.Join(filepath.Dir(file), "users.toml")] = "# Who may log in. `dawk user add NAME` adds somebody; docs/configuration.md has the keys.\n"
	}
	if secret != "" {
		beside[f.PasswordFile] = secret + "\n"
	}
	for name, content := range beside {
		switch err := durable.New(name, []byte(content)); {
		case err == nil:
			made = append(made, name)
		case !errors.Is(err, fs.ErrExist):
			return fmt.Errorf("make %s: %w", name, plainError(err))
		}
	}
	if err := config.Check(file, []byte(text)); err != nil {
		return fmt.Errorf("nothing was written, since the file would have had these faults:\n%w", err)
	}
	if err := durable.New(file, []byte(text)); errors.Is(err, fs.ErrExist) {
		return missing(file)
	} else if err != nil {
		return fmt.Errorf("make %s: %w", file, plainError(err))
	}
	for _, name := range append(made, file) {
		fmt.Fprintf(a.Stdout, "wrote %s\n", name)
	}
	f.next(a, file)
	return nil
}

// plainError is err without the temporary name and the system call.
func plainError(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: try again as root, or name a file of your own with -c", err)
	}
	return err
}

// text is the file.
func (f *first) text() (string, error) {
	list := func(words []string) string {
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = strconv.Quote(w)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	t, err := template.New("").Funcs(template.FuncMap{"q": strconv.Quote, "list": list}).Parse(firstFile)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, f)
	return b.String(), err
}
