package boltstore_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNewDirectoriesAreSynced watches the system calls of a first start in a data
// directory that is missing together with those above it: the name of each is synced,
// from the top down, before anything is accepted. Without that a power cut could take
// the whole directory with what is in it.
func TestNewDirectoriesAreSynced(t *testing.T) {
	if out, err := exec.Command("strace", "-e", "trace=none", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot be used here: %v %s", err, out)
	}
	base := memoryDir(t)
	trace, data := filepath.Join(base, "trace"), filepath.Join(base, "srv", "mail", "data")
	cmd := exec.Command("strace", "-f", "-y", "-s", "400", "-o", trace, "-e", "signal=none", "-e", "trace=mkdirat,fsync,write", os.Args[0])
	cmd.Env = append(os.Environ(), "DAWK_QUEUE_CHILD=answered", "DAWK_QUEUE_DIR="+data, "DAWK_QUEUE_NTH=1")
	cmd.Run() // it kills itself before the first message is acknowledged
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	calls, _, _ := strings.Cut(string(b), `write(1<`)
	at := 0
	for _, dir := range []string{filepath.Join(base, "srv"), filepath.Join(base, "srv", "mail"), data, filepath.Join(data, "spool")} {
		made := regexp.MustCompile(fmt.Sprintf(`mkdirat\([^\n]*"%s", 0\d+\) = 0\n`, regexp.QuoteMeta(dir)))
		synced := regexp.MustCompile(fmt.Sprintf(`fsync\(\d+<%s>`, regexp.QuoteMeta(filepath.Dir(dir))))
		for _, next := range []*regexp.Regexp{made, synced} {
			found := next.FindStringIndex(calls[at:])
			if found == nil {
				t.Fatalf("nothing like %s follows, in\n%s", next, calls)
			}
			at += found[1]
		}
	}
}
