// Package sendmail is the sendmail(1) interface: what its command line means,
// how a message from standard input becomes mail, and the two ways to the
// relay. One is a unix socket on which the relay speaks SMTP and knows by the
// kernel who calls; the other is the drop folder, for when the relay does not
// run.
package sendmail

import (
	"fmt"
	"slices"
	"strings"

	"dawk/relay"
)

// The exit codes of sysexits.h that callers of sendmail know.
const (
	ExitUsage       = 64 // the command line
	ExitData        = 65 // the message
	ExitNoUser      = 67 // a recipient
	ExitUnavailable = 69 // refused for another reason
	ExitSoftware    = 70
	ExitIO          = 74
	ExitTemporary   = 75 // try again
	ExitPermission  = 77 // not from this sender
	ExitConfig      = 78
)

// Error is why a message was not taken, with the exit code for it.
type Error struct {
	Exit int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func fail(exit int, format string, args ...any) error {
	return &Error{exit, fmt.Errorf(format, args...)}
}

// Mode is what sendmail is asked to do.
type Mode string

// The modes.
const (
	ModeMessage Mode = "message" // -bm: a message on standard input
	ModeSMTP    Mode = "smtp"    // -bs: SMTP on standard input and output
	ModeQueue   Mode = "queue"   // -q: a queue run
)

// Args is a command line.
type Args struct {
	Mode       Mode
	Config     string  // -C or -c: dawk's configuration file
	From       *string // -f or -r; nil: not given
	FullName   string  // -F
	Extract    bool    // -t: recipients stand in the header
	DotStays   bool    // -i or -oi: a line with a dot alone does not end the message
	Verbose    bool    // -v
	Notify     relay.Notify
	Ret        relay.Ret
	EnvID      string
	Recipients []string
}

// Options that mean nothing here, and are taken because programs give them.
const (
	ignored      = "GUmnsx" // alone
	ignoredValue = "ABLMOXhp"
)

// ParseArgs reads the command line of sendmail(1). Options may stand together
// (-ti), and values with their option (-fuser) or behind it (-f user).
func ParseArgs(argv []string) (*Args, error) {
	a := &Args{Mode: ModeMessage}
	for i := 0; i < len(argv); i++ {
		arg := argv[i]
		if arg == "--" {
			a.Recipients = append(a.Recipients, argv[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			a.Recipients = append(a.Recipients, arg)
			continue
		}
		next := func() (string, error) {
			if i+1 >= len(argv) {
				return "", fail(ExitUsage, "option %s needs a value", relay.Sanitize(arg))
			}
			i++
			return argv[i], nil
		}
		if arg == "--config" {
			v, err := next()
			if err != nil {
				return nil, err
			}
			a.Config = v
			continue
		}
		if v, ok := strings.CutPrefix(arg, "--config="); ok {
			a.Config = v
			continue
		}
		if err := a.group(arg[1:], next); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// group reads the options of one argument, without its hyphen.
func (a *Args) group(opts string, next func() (string, error)) error {
	for opts != "" {
		opt, rest := opts[0], opts[1:]
		opts = rest
		switch {
		case opt == 't':
			a.Extract = true
		case opt == 'i':
			a.DotStays = true
		case opt == 'v':
			a.Verbose = true
		case strings.IndexByte(ignored, opt) >= 0:
		case opt == 'q': // -q30m, -qI…: the relay tries by itself
			a.Mode = ModeQueue
			return nil
		case opt == 'b':
			return a.mode(rest)
		case opt == 'e': // -em, -ep, -eq: how to tell of errors
			return nil
		case strings.IndexByte("CFNORVXcfhopr"+ignoredValue, opt) >= 0:
			if rest == "" {
				v, err := next()
				if err != nil {
					return err
				}
				rest = v
			}
			return a.value(opt, rest)
		default:
			return fail(ExitUsage, "option -%s is unknown to sendmail", relay.Sanitize(string(rune(opt))))
		}
	}
	return nil
}

func (a *Args) mode(m string) error {
	switch m {
	case "m", "":
	case "s":
		a.Mode = ModeSMTP
	case "p":
		return fail(ExitUsage, "-bp is not here: `dawk queue list` shows the queue")
	case "d", "D":
		return fail(ExitUsage, "-b%s is not here: `dawk serve` runs the relay", m)
	case "i":
		return fail(ExitUsage, "-bi is not here: dawk has no aliases")
	case "v":
		return fail(ExitUsage, "-bv is not here: `dawk check` looks at the settings")
	default:
		return fail(ExitUsage, "mode -b%s is unknown", relay.Sanitize(m))
	}
	return nil
}

// value takes an option with its value.
func (a *Args) value(opt byte, v string) error {
	switch opt {
	case 'C', 'c':
		a.Config = v
	case 'f', 'r':
		a.From = &v
	case 'F':
		a.FullName = v
	case 'N':
		n, ok := relay.ParseNotify(v)
		if !ok {
			return fail(ExitUsage, "-N %s: it is one of never, or a list of failure, delay and success", relay.Sanitize(v))
		}
		a.Notify = n
	case 'R':
		switch strings.ToLower(v) {
		case "full":
			a.Ret = relay.RetFull
		case "hdrs":
			a.Ret = relay.RetHdrs
		default:
			return fail(ExitUsage, "-R %s: it is full or hdrs", relay.Sanitize(v))
		}
	case 'V':
		// RFC 3461 §4.4: 100 octets, printable.
		if v == "" || len(v) > 100 || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fail(ExitUsage, "-V needs at most 100 printable ASCII characters")
		}
		a.EnvID = v
	case 'o': // long ago for everything: -oi, -oem, -odb …
		if slices.Contains([]string{"i", "itrue", "iTrue"}, v) {
			a.DotStays = true
		}
	}
	return nil
}
