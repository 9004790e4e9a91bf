package accept_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const hostname = "relay.example.org"

func TestMain(m *testing.M) {
	time.Local = time.UTC // the tests compare fields with the time of this machine
	goleak.VerifyTestMain(m)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n" }

func word(n int) string { return strings.Repeat("x", n) }
