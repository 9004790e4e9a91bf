package main

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
	postDomain     = "post.test"      // Postfix, by a route
	verifiedDomain = "verified.test"  // Postfix, by a route that verifies its certificate
	senderDomain   = "sender.test"    // Postfix, by a route: where bounces arrive
	sinkDomain     = "sink.test"      // smtp-sink, by MX
	loginDomain    = "login.test"     // Postfix, by a route with a login
	onwardDomain   = "onward.example" // smtp-sink, by a route; Postfix hands it to dawk
	deadDomain     = "dead.test"      // a route to a port where nobody listens
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
	userName = "alice@sender.test"
	userPass = "correct horse battery"
	hostname = "relay.test"
)

// world is everything that the cases share: a built dawk, a certificate, DNS,
// Postfix, two smtp-sinks, and one relay, the house, in front of them.
type world struct {
	ctx     context.Context
	set     settings
	dir     string
	binary  string
	ca      authority
	dns     *mxtest.DNS
	postfix *postfix
	sink    *sink
	house   *relay
	lab     *laboratory // built by the first case that needs it
	outputs []*output   // of every dawk serve

	frontDoor   *door // nil until a case needs it
	fromPostfix int   // the port of the house's trusted listener, which Postfix sends to

	mu     sync.Mutex
	claims []io.Closer // of the ports
}

// newWorld starts everything, or takes down again what it has started.
func newWorld(ctx context.Context, set settings) (*world, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("must run as root: Postfix and mount need it")
	}
	dir, err := os.MkdirTemp("", "dawk-interop-")
	if err != nil {
		return nil, err
	}
	w := &world{ctx: ctx, set: set, dir: dir}
	if err := w.setUp(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *world) setUp() (err error) {
	// Postfix and smtp-sink walk through it as other users.
	if err := os.Chmod(w.dir, 0o755); err != nil {
		return err
	}
	if err := w.build(); err != nil {
		return err
	}
	if w.ca, err = newAuthority(w.dir); err != nil {
		return err
	}
	if w.sink, err = w.newSink("sink"); err != nil {
		return err
	}
	w.fromPostfix = w.freePort()
	if w.dns, err = mxtest.NewDNS(zone); err != nil {
		return err
	}
	if w.postfix, err = w.newPostfix(); err != nil {
		return err
	}
	if w.house, err = w.newHouse(); err != nil {
		return err
	}
	return nil
}

func (w *world) build() error {
	if w.set.binary != "" {
		var err error
		w.binary, err = filepath.Abs(w.set.binary)
		return err
	}
	w.binary = filepath.Join(w.dir, "dawk")
	cmd := exec.CommandContext(w.ctx, "go", "build", "-o", w.binary, "./cmd/dawk")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/dawk: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

func (w *world) close() error {
	var errs []error
	if w.lab != nil {
		w.lab.close()
	}
	if w.house != nil {
		w.house.close()
	}
	if w.frontDoor != nil {
		w.frontDoor.close()
	}
	if w.postfix != nil {
		errs = append(errs, w.postfix.close())
	}
	if w.sink != nil {
		w.sink.close()
	}
	if w.dns != nil {
		errs = append(errs, w.dns.Close())
	}
	for _, c := range w.claims {
		c.Close()
	}
	if w.set.keep {
		fmt.Println("kept:", w.dir)
	} else {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// subdir makes a directory that everybody may write in: our receivers run as
// nobody and as postfix.
func (w *world) subdir(name string) (string, error) {
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chown(dir, nobody, nobody)
}

const nobody = 65534 // Debian's uid and gid of nobody and nogroup

// logOf is what the relays logged of a message.
func (w *world) logOf(id string) string {
	var found []string
	for _, out := range w.outputs {
		for line := range strings.Lines(out.String()) {
			if id != "" && strings.Contains(line, id) {
				found = append(found, strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(found, "\n")
}

// said is the house's last words, for a failure's report.
func (w *world) said() string {
	if w.house == nil || w.house.proc == nil {
		return ""
	}
	return w.house.proc.out.tail(8)
}
