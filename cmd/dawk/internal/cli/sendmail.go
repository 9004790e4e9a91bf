package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/queue"
	"dawk/relay/sendmail"
)

// newSendmailCommand is sendmail(1). Its options are not cobra's: they stand
// together, and take values with and without a space.
func newSendmailCommand(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "sendmail [-t] [-i] [-f FROM] [-F NAME] [-N NOTIFY] [-R full|hdrs] [-V ENVID] [-bs] [TO…]",
		Short: "Hand in a message from standard input, as sendmail(1) does",
		Long: `Takes a message from standard input to the relay on this machine, for cron,
PHP and whatever else calls sendmail. A link named sendmail to this program does
the same. docs/sendmail.md has the options.

When the relay does not run, or takes no mail for the moment, the message waits
in the drop folder.`,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "--help" {
				fmt.Fprintln(a.Stdout, "Usage: dawk sendmail [options] [recipients] < message; see docs/sendmail.md")
				return nil
			}
			return runSendmail(a, "sendmail", args)
		},
	}
}

// CalledAsSendmail says whether the program was started by one of the names of
// sendmail(1).
func CalledAsSendmail(name string) bool { return sendmail.IsName(filepath.Base(name)) }

// RunSendmail is the whole program when it was; its result is the exit status.
func RunSendmail(name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := app.New(stdin, stdout, stderr)
	name = filepath.Base(name)
	err := runSendmail(a, name, args)
	if err != nil && !errors.Is(err, app.ErrReported) {
		fmt.Fprintf(a.Stderr, "%s: %v\n", name, err)
	}
	return exitStatus(err)
}

// exitAgain says that the same command, started again, goes on (EX_TEMPFAIL of sysexits.h).
const exitAgain = 75

// exitStatus is the exit status for the error that ended a command.
func exitStatus(err error) int {
	var s *sendmail.Error
	var x *app.Exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &s):
		return s.Exit
	case errors.As(err, &x):
		return x.Status
	case errors.Is(err, queue.ErrReplaced):
		return exitAgain
	}
	return 1
}

func runSendmail(a *app.App, name string, argv []string) error {
	args, err := sendmail.ParseArgs(name, argv)
	if err != nil {
		return err
	}
	cfg, err := sendmailConfig(a, args.Config)
	if err != nil {
		return &sendmail.Error{Exit: sendmail.ExitConfig, Err: err}
	}
	switch args.Mode {
	case sendmail.ModeQueue:
		return nil // the relay tries by itself
	case sendmail.ModeSMTP:
		return sendmailSMTP(a, cfg.Socket)
	case sendmail.ModeList:
		return printMailq(a, args.Config, cfg.Socket)
	case sendmail.ModeAliases:
		fmt.Fprintln(a.Stdout, "There is nothing to do: the relay reads the file of [sendmail] aliases itself, whenever it changes.")
		return nil
	}
	m, err := sendmail.Read(a.Stdin, args, caller(cfg.Domain))
	if err != nil {
		return err
	}
	defer m.Close()
	return handIn(a, cfg, m, args.Verbose)
}

// sendmailConfig is [sendmail], complete. A user who may not read the
// configuration, which is common, gets the default places: the mail of a cron
// job must not depend on it.
func sendmailConfig(a *app.App, path string) (config.SendmailConfig, error) {
	if path == "" {
		path = a.ConfigPath
	}
	c, err := config.Read(path)
	switch {
	case err == nil:
	case path == "":
		c = config.Builtin()
	default:
		return config.SendmailConfig{}, err
	}
	s := c.Sendmail
	if s.Domain == "" {
		s.Domain = c.Hostname
	}
	if s.Domain == "" {
		s.Domain = config.MachineName()
	}
	return s, nil
}

// caller is who runs this process.
func caller(domain string) sendmail.Sender {
	s := sendmail.Sender{User: strconv.Itoa(os.Getuid()), Domain: domain}
	if u, err := user.LookupId(s.User); err == nil && u.Username != "" {
		s.User = u.Username
		s.FullName, _, _ = strings.Cut(u.Name, ",") // of the GECOS field
	}
	return s
}

// handIn takes m to the relay, or else to the drop folder.
func handIn(a *app.App, cfg config.SendmailConfig, m *sendmail.Message, verbose bool) error {
	said, err := submitLocal(cfg.Socket, m)
	var no *sendmail.Refused
	switch {
	case err == nil:
		if verbose {
			fmt.Fprintln(a.Stdout, said)
		}
		return giveBack(a, cfg, m)
	case errors.As(err, &no):
		return &sendmail.Error{Exit: no.Exit(), Err: no}
	}
	if cfg.Drop == "" {
		return &sendmail.Error{Exit: sendmail.ExitTemporary, Err: fmt.Errorf("the message was not taken: %w; and there is no drop folder, see [sendmail] drop", err)}
	}
	if derr := sendmail.Drop(cfg.Drop, m); derr != nil {
		return &sendmail.Error{Exit: sendmail.ExitTemporary, Err: fmt.Errorf("the message was not taken: %w; nor could it be left for later: %w", err, withoutPlace(derr))}
	}
	if verbose {
		fmt.Fprintf(a.Stdout, "%v; the message waits in %s\n", err, cfg.Drop)
	}
	return giveBack(a, cfg, m)
}

// giveBack tells of the recipients that do not get m. The others do: that is
// success, for a program that would try again would send it to them twice.
func giveBack(a *app.App, cfg config.SendmailConfig, m *sendmail.Message) error {
	if err := sendmail.GiveBack(cfg.Drop, m); err != nil {
		fmt.Fprintf(a.Stderr, "sendmail: %v\n", withoutPlace(err))
	}
	return nil
}

// withoutPlace is err without names of files: the places of the machine are in
// its configuration, and not for everybody. A web page may show what we say.
func withoutPlace(err error) error {
	var place *fs.PathError
	if errors.As(err, &place) {
		return fmt.Errorf("the drop folder: %w", place.Err)
	}
	return err
}

func submitLocal(socket string, m *sendmail.Message) (string, error) {
	conn, err := dialLocal(socket)
	if err != nil {
		return "", err
	}
	return sendmail.Submit(conn, m)
}

func dialLocal(socket string) (net.Conn, error) {
	if socket == "" {
		return nil, app.ErrNotRunning
	}
	conn, err := net.DialTimeout("unix", socket, 10*time.Second)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, app.ErrNotRunning
	}
	return conn, err
}

// sendmailSMTP joins standard input and output to the relay's socket: the
// same front end as everybody's.
func sendmailSMTP(a *app.App, socket string) error {
	conn, err := dialLocal(socket)
	if err != nil {
		fmt.Fprint(a.Raw, "421 4.3.2 the relay does not run, try again later\r\n")
		return &sendmail.Error{Exit: sendmail.ExitTemporary, Err: err}
	}
	defer conn.Close()
	d := sendmail.Dialogue{Replies: a.Raw}
	go func() {
		d.Commands(conn, a.Stdin) // what is wrong with it the relay says
		if c, ok := conn.(*net.UnixConn); ok {
			c.CloseWrite()
		}
	}()
	if _, err := io.Copy(&d, conn); err != nil {
		return &sendmail.Error{Exit: sendmail.ExitTemporary, Err: fmt.Errorf("the relay went away: %w", err)}
	}
	return d.Err()
}
