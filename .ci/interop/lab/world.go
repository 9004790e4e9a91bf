// Package lab has what the cases of interop share: dawk as a process, Postfix and
// other programs around it, DNS, sinks, load, and what a case is.
package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"dawk/mx/mxtest"
)

// Domains of the world, and where their mail goes.
const (
	PostDomain     = "post.test"      // Postfix, by a route
	VerifiedDomain = "verified.test"  // Postfix, by a route that verifies its certificate
	SenderDomain   = "sender.test"    // Postfix, by a route: where bounces arrive
	SinkDomain     = "sink.test"      // smtp-sink, by MX
	LoginDomain    = "login.test"     // Postfix, by a route with a login
	OnwardDomain   = "onward.example" // smtp-sink, by a route; Postfix hands it to dawk
	DeadDomain     = "dead.test"      // a route to a port where nobody listens
)

// zone says that sinkDomain has two mail servers, of which the preferred one
// does not listen.
const zone = `sink.test.        MX 10 down.sink.test.
sink.test.        MX 20 mx.sink.test.
down.sink.test.   A  127.0.0.99
mx.sink.test.     A  127.0.0.1
nullmx.test.      MX 0 .
relay.test.       A  127.0.0.1
`

const (
	UserName = "alice@sender.test"
	UserPass = "correct horse battery"
	Hostname = "relay.test"
)

// World is everything that the cases share: a built dawk, a certificate, DNS,
// Postfix, two smtp-sinks, and one relay, the house, in front of them.
type World struct {
	Ctx     context.Context
	Set     Settings
	Dir     string
	Binary  string
	Ca      authority
	Dns     *mxtest.DNS
	Postfix *postfix
	Sink    *sink
	House   *Relay
	lab     *Laboratory // built by the first case that needs it
	Outputs []*output   // of every dawk serve

	frontDoor   *Door // nil until a case needs it
	fromPostfix int   // the port of the house's trusted listener, which Postfix sends to

	mu     sync.Mutex
	claims []io.Closer // of the ports
}

// NewWorld starts everything, or takes down again what it has started.
func NewWorld(ctx context.Context, set Settings) (*World, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("must run as root: Postfix and mount need it")
	}
	dir, err := os.MkdirTemp("", "dawk-interop-")
	if err != nil {
		return nil, err
	}
	w := &World{Ctx: ctx, Set: set, Dir: dir}
	if err := w.setUp(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) setUp() (err error) {
	// Postfix and smtp-sink walk through it as other users.
	if err := os.Chmod(w.Dir, 0o755); err != nil {
		return err
	}
	if err := w.build(); err != nil {
		return err
	}
	if w.Ca, err = NewAuthority(w.Dir); err != nil {
		return err
	}
	if w.Sink, err = w.NewSink("sink"); err != nil {
		return err
	}
	w.fromPostfix = w.FreePort()
	if w.Dns, err = mxtest.NewDNS(zone); err != nil {
		return err
	}
	if w.Postfix, err = w.newPostfix(); err != nil {
		return err
	}
	if w.House, err = w.newHouse(); err != nil {
		return err
	}
	return nil
}

func (w *World) build() error {
	if w.Set.Binary != "" {
		var err error
		w.Binary, err = filepath.Abs(w.Set.Binary)
		return err
	}
	w.Binary = filepath.Join(w.Dir, "dawk")
	cmd := exec.CommandContext(w.Ctx, "go", "build", "-o", w.Binary, "./cmd/dawk")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/dawk: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

func (w *World) Close() error {
	var errs []error
	if w.lab != nil {
		w.lab.Close()
	}
	if w.House != nil {
		w.House.Close()
	}
	if w.frontDoor != nil {
		w.frontDoor.Close()
	}
	if w.Postfix != nil {
		errs = append(errs, w.Postfix.Close())
	}
	if w.Sink != nil {
		w.Sink.Close()
	}
	if w.Dns != nil {
		errs = append(errs, w.Dns.Close())
	}
	for _, c := range w.claims {
		c.Close()
	}
	if w.Set.Keep {
		fmt.Println("kept:", w.Dir)
	} else {
		errs = append(errs, os.RemoveAll(w.Dir))
	}
	return errors.Join(errs...)
}

// Subdir makes a directory that everybody may write in: our receivers run as
// nobody and as postfix.
func (w *World) Subdir(name string) (string, error) {
	dir := filepath.Join(w.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chown(dir, Nobody, Nobody)
}

const Nobody = 65534 // Debian's uid and gid of nobody and nogroup

// logOf is what the relays logged of a message.
func (w *World) logOf(id string) string {
	var found []string
	for _, out := range w.Outputs {
		for line := range strings.Lines(out.String()) {
			if id != "" && strings.Contains(line, id) {
				found = append(found, strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(found, "\n")
}

// Said is the house's last words, for a failure's report.
func (w *World) Said() string {
	if w.House == nil || w.House.Proc == nil {
		return ""
	}
	return w.House.Proc.Out.Tail(8)
}
