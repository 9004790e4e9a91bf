package sendmail_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dawk/relay"
	"dawk/relay/sendmail"
)

func str(s string) *string { return &s }

func TestParseArgs(t *testing.T) {
	for line, want := range map[string]*sendmail.Args{
		"":                               {Mode: "message"},
		"-t -i":                          {Mode: "message", Extract: true, DotStays: true},
		"-ti":                            {Mode: "message", Extract: true, DotStays: true},
		"-oi -oem -odb -oe a@b.test":     {Mode: "message", DotStays: true, Recipients: []string{"a@b.test"}},
		"-fa@b.test -F X c@d.test":       {Mode: "message", From: str("a@b.test"), FullName: "X", Recipients: []string{"c@d.test"}},
		"-f a@b.test -r c@d.test":        {Mode: "message", From: str("c@d.test")},
		"-N failure,success -R hdrs":     {Mode: "message", Notify: relay.NotifyFailure | relay.NotifySuccess, Ret: relay.RetHdrs},
		"-Nnever -V id=1":                {Mode: "message", Notify: relay.NotifyNever, EnvID: "id=1"},
		"-bs":                            {Mode: "smtp"},
		"-q":                             {Mode: "queue"},
		"-q30m":                          {Mode: "queue"},
		"-bm -B 8BITMIME -h 3 -v -- -x":  {Mode: "message", Verbose: true, Recipients: []string{"-x"}},
		"-i -- a b":                      {Mode: "message", DotStays: true, Recipients: []string{"a", "b"}},
		"-C x.toml -c y.toml":            {Mode: "message", Config: "y.toml"},
		"-e m -b m -O x=y -o i a@b.test": {Mode: "message", DotStays: true, Recipients: []string{"a@b.test"}},
		"-A m -B 8BITMIME -L x -X f -h 3 -p x -M y -G -U -n -m": {Mode: "message"},
		"-ep root": {Mode: "message", Recipients: []string{"root"}},
		"-e root":  {Mode: "message", Recipients: []string{"root"}},
		"-bp":      {Mode: "list"}, "-b p": {Mode: "list"}, "-bi": {Mode: "aliases"}, "-I": {Mode: "aliases"},
		"--config=x.toml --config y.toml": {Mode: "message", Config: "y.toml"},
	} {
		got, err := sendmail.ParseArgs("sendmail", strings.Fields(line))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", line, err, diff)
		}
	}
	for _, line := range []string{"-Z", "-f", "-N maybe", "-N never,failure", "-R some", "-bd", "-bv", "-bx", "--what", "-V \x01"} {
		var e *sendmail.Error
		if _, err := sendmail.ParseArgs("sendmail", strings.Fields(line)); !errors.As(err, &e) || e.Exit != sendmail.ExitUsage {
			t.Errorf("%q: %v", line, err)
		}
	}
}

var who = sendmail.Sender{User: "www-data", FullName: "Web, Server", Domain: "office.test"}

func read(t *testing.T, in string, a *sendmail.Args) (*sendmail.Message, string) {
	t.Helper()
	m, err := sendmail.Read(strings.NewReader(in), a, who)
	if err != nil {
		t.Fatalf("%q: %v", in, err)
	}
	t.Cleanup(m.Close)
	b, err := io.ReadAll(m.Reader())
	if err != nil || int64(len(b)) != m.Size() {
		t.Fatalf("%d octets of %d, %v", len(b), m.Size(), err)
	}
	return m, string(b)
}

func TestRead(t *testing.T) {
	const from = `From: "Web, Server" <www-data@office.test>` + "\r\n"
	for _, c := range []struct {
		name, in, want string
		a              sendmail.Args
		to             string
	}{
		{"no header", "hello\n", from + "\r\nhello\r\n", sendmail.Args{Recipients: []string{"root"}}, "root@office.test"},
		{"empty", "", from + "\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"mbox line", "From x Sun Nov 22\nSubject: s\n\nb\n", from + "Subject: s\r\n\r\nb\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"folded mbox line", "From x Sun\n folded\n>From y\nSubject: s\n\nb\n", from + "Subject: s\r\n\r\nb\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"mbox line behind Return-Path", "Return-Path: <x>\nFrom x Sun\nSubject: s\n\nb\n", from + "Return-Path: <x>\r\nSubject: s\r\n\r\nb\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"text like an mbox line", "From now on\n\nb\n", from + "\r\nFrom now on\r\n\r\nb\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"own From", "From: x@y.test\n\nb", "From: x@y.test\r\n\r\nb\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"cron's From", "From: root (Cron Daemon)\nSubject: s\n\nb\n", from + "Subject: s\r\n\r\nb\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"another cron's", "From: \"(Cron Daemon)\"\n <root>\n\nb\n", from + "\r\nb\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"dot", "S: s\n\na\n.\nb\n", from + "S: s\r\n\r\na\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"dot stays", "S: s\n\na\n.\nb\n", from + "S: s\r\n\r\na\r\n.\r\nb\r\n", sendmail.Args{DotStays: true, Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"-t", "To: a@b.test\nBcc: c@b.test,\n d@b.test\nS: s\n\nb\n", from + "To: a@b.test\r\nS: s\r\n\r\nb\r\n", sendmail.Args{Extract: true}, "a@b.test c@b.test d@b.test"},
		{"long line in field", "S: " + strings.Repeat("x", 1000) + "\nT: t\n\n", from + "S: " + strings.Repeat("x", 1000) + "\r\nT: t\r\n\r\n", sendmail.Args{Recipients: []string{"a@b.test"}}, "a@b.test"},
		{"-f with a name", "To: a@b.test\n\nb", from + "To: a@b.test\r\n\r\nb\r\n", sendmail.Args{Extract: true, From: str("Web Site <www-data@office.test>")}, "a@b.test"},
		{"an empty From", "From:\nTo: a@[IPv6:2001:db8::1]\n\nb", from + "From:\r\nTo: a@[IPv6:2001:db8::1]\r\n\r\nb\r\n", sendmail.Args{Extract: true}, "a@[IPv6:2001:db8::1]"},
		{"a From that is a name", "From: HP LaserJet\n\nb", from + "From: HP LaserJet\r\n\r\nb\r\n", sendmail.Args{Recipients: []string{"a@b.test Bob <c@b.test>"}}, "a@b.test c@b.test"},
		{"several in one argument", "", from + "\r\n", sendmail.Args{Recipients: []string{"a@b.test,c@b.test", "A <d@b.test> root"}}, "a@b.test c@b.test d@b.test root@office.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, got := read(t, c.in, &c.a)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			var to []string
			for _, r := range m.Envelope.Recipients {
				to = append(to, r.Path.String())
			}
			if strings.Join(to, " ") != c.to || m.Envelope.From.String() != "www-data@office.test" {
				t.Errorf("%s to %v", m.Envelope.From, to)
			}
		})
	}
	for _, f := range []string{"a@b.test,c@d.test", "a@b.test Bob <c@d.test>", "a@b.test\nX: y"} { // which of them?
		var e *sendmail.Error
		if _, err := sendmail.Read(strings.NewReader("x"), &sendmail.Args{From: &f, Recipients: []string{"a@b.test"}}, who); !errors.As(err, &e) || e.Exit != sendmail.ExitUsage {
			t.Errorf("-f %q: %v", f, err)
		}
	}
	// A null reverse-path, and a message that does not fit into memory.
	big := strings.Repeat("0123456789abcde\n", 200_000)
	m, got := read(t, "S: s\n\n"+big, &sendmail.Args{From: str("<>"), Recipients: []string{"a@b.test"}})
	if !m.Envelope.From.IsNull() || !strings.HasSuffix(got, strings.ReplaceAll(big, "\n", "\r\n")) {
		t.Error("the large message is not whole")
	}
	m, _ = read(t, "To: good@b.test, jim@, other@b.test\nBcc: \"x\n\nb", &sendmail.Args{Extract: true, Recipients: []string{"@d.test"}})
	why := "5.1.3 this is not the address of a mailbox"
	if diff := cmp.Diff([]sendmail.Unserved{{"@d.test", why}, {"jim@", why}, {"\"x", why}}, m.Unserved); diff != "" || len(m.Envelope.Recipients) != 2 {
		t.Errorf("%v %s", m.Envelope.Recipients, diff)
	}
	for in, exit := range map[string]int{"x": sendmail.ExitUsage, "To: a@, b@\n\n": sendmail.ExitNoUser} {
		var e *sendmail.Error
		if _, err := sendmail.Read(strings.NewReader(in), &sendmail.Args{Extract: true}, who); !errors.As(err, &e) || e.Exit != exit {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// FuzzRead: a message comes out whole and without the fields that nobody may
// see, and never with a line that SMTP could not carry.
func FuzzRead(f *testing.F) {
	f.Add("To: a@b.test\nBcc: c@d.test\n\nx\n.\n", true)
	f.Add("From x\nTo :a\r\n b\n\r\r\n", false)
	f.Fuzz(func(t *testing.T, in string, dots bool) {
		m, err := sendmail.Read(strings.NewReader(in), &sendmail.Args{Extract: true, DotStays: dots, Recipients: []string{"z@b.test"}}, who)
		if err != nil {
			return
		}
		defer m.Close()
		b, err := io.ReadAll(m.Reader())
		if err != nil || int64(len(b)) != m.Size() {
			t.Fatal(err)
		}
		head, _, ok := strings.Cut("\r\n"+string(b), "\r\n\r\n")
		if !ok || strings.Contains(strings.ToLower(head), "\nbcc:") {
			t.Errorf("%q", b)
		}
		for _, line := range strings.Split(strings.TrimSuffix(string(b), "\r\n"), "\r\n") {
			if strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("not a line of mail: %q", line)
			}
		}
	})
}
