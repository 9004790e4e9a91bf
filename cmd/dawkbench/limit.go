package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/emersion/go-smtp"
	"github.com/spf13/cobra"
)

// A limit is no relay: it takes mail on the SMTP library that dawk uses, or in its
// --bare form by the few lines of bare.go; with --synced it appends it to a file with
// one sync for all that wait; and it hands it on over a few kept connections. It has no recovery, no retries, no
// bounces, no log. What a relay costs beyond it is the price of being one.

// forwarders is how many connections a limit keeps to the sink.
const forwarders = 8

func newLimitCommand() *cobra.Command {
	var synced, bare bool
	cmd := &cobra.Command{
		Use:    "limit",
		Short:  "Do less than a relay does, to show the limit of the machine",
		Hidden: true, // compare --limits starts it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			return serveLimit(ctx, os.Getenv("DAWKBENCH_DIR"), os.Getenv("DAWKBENCH_LISTEN"), os.Getenv("DAWKBENCH_SINK"), synced, bare)
		},
	}
	cmd.Flags().BoolVar(&bare, "bare", false, "without the library: content passes as it came")
	cmd.Flags().BoolVar(&synced, "synced", false, "sync before 250")
	return cmd
}

func serveLimit(ctx context.Context, dir, listen, sink string, synced, bare bool) error {
	l := &limit{queue: make(chan *parcel, 1<<16)}
	if synced {
		file, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			return err
		}
		l.log = make(chan *parcel, 1024)
		go appendGroups(file, l.log)
	}
	failed := make(chan error, forwarders+1)
	for range forwarders {
		go func() { failed <- l.forward(sink) }()
	}
	if bare {
		return l.serveBare(ctx, listen, failed)
	}
	s := smtp.NewServer(l)
	s.Addr, s.Domain, s.MaxMessageBytes, s.MaxRecipients = listen, "limit.test", 100<<20, 1000
	go func() { failed <- s.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return s.Close()
	}
}

// parcel is a message on its way.
type parcel struct {
	from    string
	to      []string
	content []byte
	wire    bool // the content is as it came, with its final dot
	done    chan error
}

type limit struct {
	log   chan *parcel // nil: nothing is synced
	queue chan *parcel
}

// NewSession implements smtp.Backend.
func (l *limit) NewSession(*smtp.Conn) (smtp.Session, error) { return &limitSession{l: l}, nil }

type limitSession struct {
	l *limit
	p parcel
}

func (s *limitSession) Reset()        { s.p = parcel{} }
func (s *limitSession) Logout() error { return nil }

func (s *limitSession) Mail(from string, _ *smtp.MailOptions) error {
	s.p.from = from
	return nil
}

func (s *limitSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.p.to = append(s.p.to, to)
	return nil
}

func (s *limitSession) Data(r io.Reader) (err error) {
	p := s.p
	if p.content, err = io.ReadAll(r); err != nil {
		return err
	}
	if s.l.log != nil {
		p.done = make(chan error, 1)
		s.l.log <- &p
		if err := <-p.done; err != nil {
			return err
		}
	}
	s.l.queue <- &p
	return nil
}

// logSize is where the log begins again at its start, in octets: blocks that were
// written before cost a third of new ones.
const logSize = 64 << 20

// appendGroups writes all that waits together and syncs it once.
func appendGroups(file *os.File, log <-chan *parcel) {
	var group []*parcel
	var small []byte // of the group, written at once
	at := int64(0)
	for p := range log {
		group = append(group[:0], p)
		for more := true; more; {
			select {
			case p := <-log:
				group = append(group, p)
			default:
				more = false
			}
		}
		if at > logSize {
			at = 0
		}
		var err error
		write := func(b []byte) {
			n, failed := file.WriteAt(b, at)
			at, err = at+int64(n), errors.Join(err, failed)
		}
		small = small[:0]
		for _, p := range group {
			if len(p.content) < 16<<10 {
				small = append(small, p.content...)
			} else {
				write(p.content)
			}
		}
		write(small)
		err = errors.Join(err, syscall.Fdatasync(int(file.Fd())))
		for _, p := range group {
			p.done <- err
		}
	}
}

// forward hands messages to the sink, as briefly as pipelining allows.
func (l *limit) forward(sink string) error {
	c, err := net.Dial("tcp", sink)
	if err != nil {
		return err
	}
	defer c.Close()
	in, out := textproto.NewReader(bufio.NewReader(c)), bufio.NewWriterSize(c, 64<<10)
	answers := func(n int) error {
		err := out.Flush()
		for range n {
			if err == nil {
				_, _, err = in.ReadResponse(0)
			}
		}
		return err
	}
	if err := answers(1); err != nil {
		return err
	}
	fmt.Fprint(out, "EHLO limit.test\r\n")
	if err := answers(1); err != nil {
		return err
	}
	for p := range l.queue {
		fmt.Fprintf(out, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", p.from, strings.Join(p.to, ">\r\nRCPT TO:<"))
		if err := answers(len(p.to) + 2); err != nil {
			return err
		}
		if p.wire {
			_, err = c.Write(p.content)
		} else {
			w := textproto.NewWriter(out).DotWriter()
			_, err = w.Write(p.content)
			err = errors.Join(err, w.Close())
		}
		if err = errors.Join(err, answers(1)); err != nil {
			return err
		}
	}
	return nil
}

// ceiling is the one that dawk is compared with.
const ceiling = "ceiling"

// limits are these programs, as contenders that are shown; the ceiling is also compared.
func limits() ([]contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	bare := program("go-smtp", self, "limit")
	synced := program("go-smtp+sync", self, "limit", "--synced")
	return []contender{bare, synced, program(ceiling, self, "limit", "--bare", "--synced")}, nil
}
