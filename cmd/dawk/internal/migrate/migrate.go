// Package migrate is `dawk migrate postfix`: it reads the configuration of Postfix
// and writes dawk's. It evaluates parameters, services and maps as Postfix does, and
// lists what has no counterpart. It starts no program, asks no DNS, and lets nobody
// relay whom Postfix does not. It has no goroutines. Begin reading at run.
package migrate

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/relay"
)

// New is the command `dawk migrate` with the systems that it can come from.
func New(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Convert the configuration of another mail server",
		Args: app.KnownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var to string
	postfix := &cobra.Command{
		Use: "postfix [DIR]", Short: "Convert the configuration of Postfix",
		Long: "Reads main.cf, master.cf and the text files of their maps in DIR (default: /etc/postfix), and writes\n" +
			"dawk.toml, users.toml and files of passwords. It overwrites nothing and changes nothing of Postfix.\n" +
			"Exit status: 0 all is converted; 1 something has no counterpart, and is listed; 2 nothing is written.",
		Example: "  dawk migrate postfix\n  dawk migrate postfix ./copy-of-etc-postfix --to /etc/dawk",
		Args:    app.Arguments(0, 1, "[DIR]"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "/etc/postfix"
			if len(args) > 0 {
				dir = args[0]
			}
			return run(a, dir, to)
		},
	}
	postfix.Flags().StringVar(&to, "to", ".", "the folder to write into")
	cmd.AddCommand(postfix)
	return cmd
}

// run converts the configuration in dir, and says what it did.
func run(a *app.App, dir, to string) error {
	m := &migration{dir: filepath.Clean(dir), names: map[string]bool{}, logins: map[string]bool{}, files: map[string][]byte{}, slowed: map[string]slowed{}, delivers: map[string]bool{}}
	err := m.convert()
	var names []string
	if err == nil {
		names, err = m.write(to)
	}
	if err != nil {
		return &app.Exit{Status: 2, Err: err}
	}
	fmt.Fprintln(a.Stdout, "Written:")
	for _, name := range names {
		fmt.Fprintf(a.Stdout, "  %s\n", filepath.Join(to, name))
	}
	for _, n := range m.notes {
		fmt.Fprintf(a.Stdout, "\n%s\n", n)
	}
	if len(m.items) > 0 {
		fmt.Fprintln(a.Stdout, "\nThis has no counterpart:")
		for _, i := range m.items {
			fmt.Fprintf(a.Stdout, "  - %s\n", i)
		}
	}
	fmt.Fprintf(a.Stdout, "\n"+next, filepath.Join(to, "dawk.toml"))
	if len(m.items) > 0 {
		return app.ErrReported
	}
	return nil
}

// next is how to go from one relay to the other without losing mail.
const next = `Next:
  1. dawk check -c %[1]s
  2. Let Postfix deliver what it has, while it takes nothing new:
       postconf -e master_service_disable=inet && postfix reload
       postqueue -f && mailq       (again, until "Mail queue is empty")
  3. systemctl disable --now postfix, and start dawk: dawk serve -c %[1]s
     What Postfix cannot deliver soon may stay: start it again later without inet, as in step 2.
`

// migration is one run.
type migration struct {
	settings
	dir      string
	order    []string // names of main.cf, in its order
	services []service

	sections    []*section
	files       map[string][]byte // beside dawk.toml
	names       map[string]bool   // of routes
	logins      map[string]bool   // lines of smtp_sasl_password_maps that a route uses
	slowed      map[string]slowed // by provider
	delivers    map[string]bool   // names of transports that mail leaves by
	leaves      leave             // as [delivery] has it
	depth       int               // of files of networks that name others
	items       []item
	notes       []string
	users       bool   // somebody may log in
	tls         bool   // a listener has TLS
	deliveryTLS string // delivery.tls
}

// item is one thing that has no counterpart.
type item struct{ where, what, do string }

func (i item) String() string {
	s := i.where
	if i.what != "" && i.what != i.where {
		s += ": " + i.what
	}
	return relay.Sanitize(s) + ": " + relay.Sanitize(i.do) + "."
}

// item lists what has no counterpart, once.
func (m *migration) item(where, what, do string) {
	i := item{where, relay.Clip(what), do}
	for _, old := range m.items {
		if old == i {
			return
		}
	}
	m.items = append(m.items, i)
}

func (m *migration) note(format string, args ...any) {
	m.notes = append(m.notes, relay.Sanitize(fmt.Sprintf(format, args...)))
}

// where is the place of a parameter, for messages; other where main.cf lacks it.
func (m *migration) where(name, other string) string {
	if p, ok := m.params[name]; ok {
		return p.where + ": " + name
	}
	return other
}

// convert reads everything and fills m.files.
func (m *migration) convert() error {
	for _, step := range []func() error{m.readMain, m.readMaster, m.plainKeys, m.listeners, m.certificates, m.delivery, m.routes, m.unusedLogins, m.mailOfThisMachine, m.rewriting, m.userFile, m.rest} {
		if err := step(); err != nil {
			return err
		}
	}
	m.note("Through Postfix every user of this machine may send as anybody. In dawk each sends as NAME@domain, unless `senders` in [sendmail] names more.")
	m.files["dawk.toml"] = m.toml()
	return nil
}

// saslUsers says what of the users of a SASL service can be taken over.
func saslUsers(kind string) string {
	if strings.EqualFold(kind, "dovecot") {
		return "They are Dovecot's (`doveadm user '*'` lists them): of a line of its passwd-file, {BLF-CRYPT} and {ARGON2ID} can stay: write what follows as `password` into users.toml; other schemes need a new password"
	}
	return "They are Cyrus SASL's, in sasldb2 (`sasldblistusers2` lists them) or the system's: dawk cannot check those passwords, and each user needs a new one"
}

// userFile makes users.toml: Postfix has no passwords of users, but may know whom
// they send as.
func (m *migration) userFile() error {
	var b strings.Builder
	b.WriteString("# Who may log in. `dawk user add NAME` adds a user and asks for a password.\n")
	value, where, ok := m.written("smtpd_sender_login_maps")
	entries, err := m.lookups(value, where)
	if err != nil {
		return err
	}
	senders := map[string][]string{}
	var names []string
	for _, e := range entries {
		key, plain := e.plain()
		if !plain {
			m.item(e.where, e.key+" "+e.value, "senders are addresses or @domains; write them into users.toml by hand")
			continue
		}
		for _, name := range list(e.value) {
			if senders[name] == nil {
				names = append(names, name)
			}
			senders[name] = append(senders[name], key)
		}
	}
	for _, name := range names {
		fmt.Fprintf(&b, "# %s: dawk user add %s --senders %s\n", where, relay.Sanitize(name), relay.Sanitize(strings.Join(senders[name], ",")))
	}
	if m.users {
		m.item(m.where("smtpd_sasl_auth_enable", "master.cf: smtpd_sasl_auth_enable"), m.get("smtpd_sasl_type"), "the users and passwords of logins are not in Postfix's files; add each user with `dawk user add NAME`, with --senders for whom it may send as. "+saslUsers(m.get("smtpd_sasl_type")))
	}
	if ok && len(names) > 0 {
		m.note("users.toml has a `dawk user add` for each login of smtpd_sender_login_maps.")
	}
	m.files["users.toml"] = []byte(b.String())
	return nil
}
