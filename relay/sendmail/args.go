// Package sendmail is the sendmail(1) interface: what its command line means, how a message from
// standard input becomes mail, and the two ways to the relay. One is a unix socket on which the
// relay speaks SMTP and learns from the kernel who calls; the other is the drop folder, for the
// time when the relay is not running.
package sendmail

import (
	"cmp"
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

// Error says why a message was not accepted, and holds the exit code for it.
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
	ModeList    Mode = "list"    // -bp, mailq: what is in the queue
	ModeAliases Mode = "aliases" // -bi, -I, newaliases: read the aliases anew
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

// Options that are accepted and ignored, because programs give them.
const (
	ignored      = "GUmnsx" // alone
	ignoredValue = "ABLMOXhp"
	withValue    = "CFNORVXcfhopr" + ignoredValue
)

// names are the other names of the program, with what they mean.
var names = map[string]Mode{"sendmail": ModeMessage, "mailq": ModeList, "newaliases": ModeAliases}

// IsName says whether name is one of sendmail(1)'s.
func IsName(name string) bool { return names[name] != "" }

// ParseArgs reads the command line of sendmail(1), called by that name or by another of IsName.
// Options may be combined (-ti), and a value may be part of its option (-fuser) or the next
// argument (-f user).
func ParseArgs(name string, argv []string) (*Args, error) {
	a := &Args{Mode: cmp.Or(names[name], ModeMessage)}
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
		if v, ok := strings.CutPrefix(arg, "--config="); ok {
			a.Config = v
			continue
		}
		opts := arg[1:]
		if arg == "--config" {
			opts = "C"
		}
		took, err := a.group(opts, argv[i+1:])
		if err != nil {
			return nil, err
		}
		i += took
	}
	return a, nil
}

// group reads the options of one argument, without its hyphen, and says how many of the arguments
// after it are their values.
func (a *Args) group(opts string, behind []string) (took int, err error) {
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
		case opt == 'I':
			a.Mode = ModeAliases
		case strings.IndexByte(ignored, opt) >= 0:
		case opt == 'q': // -q30m, -qI…: the relay tries by itself
			a.Mode = ModeQueue
			return 0, nil
		case opt == 'b' || opt == 'e': // their values are letters: -bs, -b s, -em
			if rest == "" && len(behind) > 0 && len(behind[0]) == 1 && strings.Contains(letters[opt], behind[0]) {
				rest, took = behind[0], 1
			}
			if opt == 'e' { // how to tell of errors: by a notice
				return took, nil
			}
			return took, a.mode(rest)
		case strings.IndexByte(withValue, opt) >= 0:
			if rest == "" {
				if len(behind) == 0 {
					return 0, fail(ExitUsage, "option -%c needs a value", opt)
				}
				rest, took = behind[0], 1
			}
			return took, a.value(opt, rest)
		default:
			return 0, fail(ExitUsage, "option -%s is unknown to sendmail", relay.Sanitize(string(rune(opt))))
		}
	}
	return 0, nil
}

// letters are the values of options whose value may be left out.
var letters = map[byte]string{'b': "adDhHilmpstv", 'e': "empqw"}

func (a *Args) mode(m string) error {
	switch m {
	case "m", "":
	case "s":
		a.Mode = ModeSMTP
	case "p":
		a.Mode = ModeList
	case "i":
		a.Mode = ModeAliases
	case "d", "D":
		return fail(ExitUsage, "-b%s is not here: `dawk serve` runs the relay", m)
	case "v":
		return fail(ExitUsage, "-bv is not here: `dawk explain FROM TO` shows what would happen to a message")
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
	case 'o': // accepted in every form: -oi, -oem, -odb …
		if slices.Contains([]string{"i", "itrue", "iTrue"}, v) {
			a.DotStays = true
		}
	}
	return nil
}
