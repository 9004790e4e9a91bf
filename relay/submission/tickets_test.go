package submission

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// A client resumes its TLS session at another listener and after a restart, for as long
// as the key is kept: two days. What cannot be read, or was tampered with, costs a
// whole handshake.
func TestSessionsOutliveARestart(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outliveARestart(t, version) })
		})
	}
}

func outliveARestart(t *testing.T, version uint16) {
	file := filepath.Join(t.TempDir(), "tickets")
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "relay.test", ClientSessionCache: tls.NewLRUClientSessionCache(0), MaxVersion: version}
	cert, key, err := makeSelfSigned("relay.test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	started := func() *tls.Config {
		cfg := &tls.Config{Certificates: []tls.Certificate{pair}}
		OpenTickets(file, slog.New(slog.DiscardHandler)).use(cfg)
		return cfg
	}
	server := started()
	resumes := func(when string, want bool) {
		t.Helper()
		if got := shakeHands(t, client, server); got != want {
			t.Errorf("%s: resumed %v, want %v", when, got, want)
		}
	}
	resumes("the first", false)
	resumes("the second", true)
	server = started()
	resumes("after a restart", true)
	time.Sleep(25 * time.Hour) // of the bubble's clock
	server = started()
	resumes("with yesterday's key", true)
	resumes("with today's", true)
	time.Sleep(49 * time.Hour)
	resumes("when the key is gone", false)
	resumes("with the next", true)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	for _, damaged := range []string{"", "[]", `[{"made":"2000-01-01T00:00:00Z","secret":"YQ=="}]`, `[{"made":"2999-01-01T00:00:00Z","secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]`, "{"} {
		if err := os.WriteFile(file, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		server = started()
		resumes(damaged, false)
		resumes("behind "+damaged, true)
	}
}

// shakeHands says whether the session was resumed. The client reads, since the ticket
// of TLS 1.3 comes behind the handshake.
func shakeHands(t *testing.T, client, server *tls.Config) bool {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(b, server)
		_, err := s.Write([]byte("220 "))
		done <- err
		s.Close()
	}()
	c := tls.Client(a, client)
	defer c.Close()
	if _, err := c.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().DidResume
}
