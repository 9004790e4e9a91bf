package queuetest

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// StraceArgs make strace record what a Machine follows, to the file trace.
func StraceArgs(trace string) []string {
	return []string{"-f", "-y", "-xx", "-s", "33554432", "-o", trace, "-e", "signal=none", "-e",
		"trace=openat,write,pwrite64,pwritev,ftruncate,fallocate,fdatasync,fsync,unlinkat,renameat,renameat2,mkdirat"}
}

// Call is one line of the record: the beginning of a system call, or its end.
type Call struct {
	pid, name, args string
	begins, ends    bool
	ok              bool // at its end: it did not fail
}

func (c Call) String() string { return fmt.Sprintf("%s %.80q", c.name, c.args) }

// Syncs says whether the record of a sync begins here: before it most is at stake.
func (c Call) Syncs() bool { return c.begins && (c.name == "fdatasync" || c.name == "fsync") }

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>.*= (-?\d+)`)
	hexOctet    = regexp.MustCompile(`\\x([0-9a-f]{2})`)
	vector      = regexp.MustCompile(`iov_base="((?:\\x[0-9a-f]{2})*)"`)
	returned    = regexp.MustCompile(`\) += (-?\d+)[^=]*$`)
)

// ReadTrace reads what strace recorded.
func ReadTrace(path string) (calls []Call, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if r := resumedLine.FindStringSubmatch(line); r != nil {
			calls = append(calls, Call{pid: r[1], name: r[2], ends: true, ok: r[3][0] != '-'})
		} else if r := callLine.FindStringSubmatch(strings.TrimSpace(line)); r != nil {
			c := Call{pid: r[1], name: r[2], args: r[3], begins: true}
			if end := returned.FindStringSubmatch(c.args); end != nil && !strings.HasSuffix(c.args, "<unfinished ...>") {
				c.ends, c.ok = true, end[1][0] != '-'
			}
			calls = append(calls, joined(c))
		}
	}
	return calls, nil
}

// joined is a write of several parts as one of them all.
func joined(c Call) Call {
	file, parts, ok := strings.Cut(c.args, ", [")
	if c.name != "pwritev" || !ok {
		return c
	}
	at := strings.LastIndex(parts, "], ")
	var all strings.Builder
	for _, v := range vector.FindAllStringSubmatch(parts[:at], -1) {
		all.WriteString(v[1])
	}
	_, offset, _ := strings.Cut(parts[at+len("], "):], ", ")
	c.name, c.args = "pwrite64", fmt.Sprintf(`%s, "%s", 0, %s`, file, all.String(), offset)
	return c
}

// word is an argument as strace shows it: a number, with -y what it refers to,
// or a string.
type word struct {
	number int64
	text   string
}

var argument = regexp.MustCompile(`^(-?\w+)(?:<((?:\\x[0-9a-f]{2}|[^>])*)>(?:\(deleted\))?)?|^"((?:\\x[0-9a-f]{2})*)"`)

func splitArgs(s string) (words []word) {
	for {
		s = strings.TrimLeft(s, " ,")
		r := argument.FindStringSubmatchIndex(s)
		if r == nil {
			return append(words, word{}, word{}, word{}, word{})
		}
		var w word
		sub := func(i int) string {
			if r[2*i] < 0 {
				return ""
			}
			return s[r[2*i]:r[2*i+1]]
		}
		w.number, _ = strconv.ParseInt(sub(1), 10, 64)
		w.text = unhex(cmp.Or(sub(2), sub(3)))
		words = append(words, w)
		s = s[r[1]:]
	}
}

func unhex(s string) string {
	return hexOctet.ReplaceAllStringFunc(s, func(x string) string {
		n, _ := strconv.ParseUint(x[2:], 16, 8)
		return string([]byte{byte(n)})
	})
}
