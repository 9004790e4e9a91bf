package submission_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var scratch string // a directory that all tests share

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "submission")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	time.Local = time.UTC // the tests compare fields with the time of this machine
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}
