package sendmail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/mailtext"
)

const (
	lookEvery   = time.Second      // while the folder can be read
	restAfter   = 30 * time.Second // when the relay takes no mail at the moment
	abandoned   = 24 * time.Hour   // a file that has no final name by then will never get one
	patience    = time.Minute      // for a message that waits because of its sender alone
	maxWaiting  = 1_000_000        // files that are skipped for now
	maxLogNames = 255
	maxTroubles = 10 // files in a row that the relay could not take: after that the fault is the relay's
)

// Collector takes what is in the drop folder to the relay. A message leaves the folder after it is
// in the queue: a crash between the two may send it twice, and never loses it.
type Collector struct {
	Dir string
	// Accept puts a message into the queue. Its errors are *accept.Refusal.
	Accept func(context.Context, accept.Submission) (relay.QueueID, error)
	// Most is how many recipients a message may have; one with more is accepted as several messages.
	// 0: any number.
	Most    int
	Aliases *Aliases // for recipients of this machine; nil: none
	// Tell reports that a file will never be sent. An error is temporary: the file stays, and is
	// looked at again; with ErrLater the files of other users are looked at first. Nil: it is only
	// logged.
	Tell func(context.Context, *Lost) error
	Log  *slog.Logger

	ignored  map[string]bool      // files that cannot be sent or moved, and that were reported
	waiting  map[string]time.Time // files, and when they are looked at again
	owners   map[string]uint32    // of the files that the last pass left
	partly   map[string]int       // recipients of files that are in the queue already
	troubles int                  // files in a row that the relay could not take
	failing  bool                 // the last pass ended early
}

// ErrLater is for Collector.Tell: too many notices were sent for now.
var ErrLater = errors.New("its owner has been told of too many files that cannot be sent; the next notice waits")

// Lost is a file of the drop folder that will never be sent.
type Lost struct {
	*accept.Submission               // the message, as far as it can be read; else nil
	Message            relay.Content // header and body, likewise
	Why                error
	Unserved           []Unserved // if Message is a header: recipients that did not get it; the file itself is not lost
	File               string     // its name, in printable characters
	Owner              string     // who left it, in the form of relay.Message; "" if that is unknown
	Aside              string     // the folder where it is kept
}

// MostRecipients is the value for Collector.Most, given how many recipients a message may have and
// how many the programs of a user may write to in an hour and in a day; 0: no limit. It is half of
// the quota: a message as large as the whole quota would have to wait until the user has sent
// nothing else.
func MostRecipients(message int, quotas ...int) int {
	for _, quota := range quotas {
		if half := max(1, quota/2); quota > 0 && (message == 0 || half < message) {
			message = half
		}
	}
	return message
}

// Run reads the folder until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	called := make(chan struct{}, 1)
	defer watch(c.Dir, called)()
	for {
		wait := lookEvery
		more, err := c.Collect(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			wait = restAfter
			if !c.failing {
				c.Log.Warn("mail waits in the drop folder", "dir", c.Dir, "err", err)
			}
			c.failing = true
		case more:
			wait, c.failing = 0, false
		default:
			c.failing = false
		}
		look := called
		if c.failing { // a new file changes nothing
			look = nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-look:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Collect reads the folder once, and says whether there is more than one pass takes. Its error is
// temporary: what is left waits.
func (c *Collector) Collect(ctx context.Context) (more bool, err error) {
	names, more, err := c.turns(time.Now())
	if err != nil {
		return false, fmt.Errorf("read the drop folder: %w", err)
	}
	c.troubles = 0
	for _, name := range names {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if strings.HasSuffix(name, dropSuffix) && !strings.HasPrefix(name, ".") {
			err = c.take(ctx, name)
		} else { // not a name of ours, or not yet its final one
			err = c.giveUp(ctx, name, &Lost{Why: errMalformed})
		}
		if err != nil {
			return false, err
		}
	}
	return more, nil
}

// take hands one file to the relay.
func (c *Collector) take(ctx context.Context, name string) error {
	path := filepath.Join(c.Dir, name)
	f, err := openDrop(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return fmt.Errorf("open a drop file: %w", err)
	case errors.Is(err, syscall.EIO):
		return c.trouble(name, err)
	case err != nil:
		return c.giveUp(ctx, name, &Lost{Why: err})
	}
	defer f.Close()
	if len(f.head.Unserved) > 0 {
		return c.giveBack(ctx, name, f)
	}
	id, rest, err := c.accept(ctx, name, f)
	switch {
	case err != nil && accept.RefusalOf(err).Permanent():
		return c.giveUp(ctx, name, &Lost{Submission: rest, Message: section{io.NewSectionReader(f, f.bodyAt, f.head.Size)}, Why: err})
	case err != nil && accept.RefusalOf(err).Reason == accept.ReasonQuota: // the mail of others goes on
		c.wait(name, err)
		return nil
	case err != nil:
		return c.trouble(name, err)
	}
	c.troubles = 0
	delete(c.waiting, name)
	c.Log.Info("mail taken from the drop folder", "id", id, "identity", rest.Identity, "file", name)
	c.remove(name)
	return nil
}

// remove removes a file whose message is in the queue.
func (c *Collector) remove(name string) {
	if err := os.Remove(filepath.Join(c.Dir, name)); err != nil {
		// It would be sent again in each pass.
		c.ignore(name)
		c.Log.Error("a drop file that is in the queue cannot be removed; remove it before the next start, which would send it again", "file", name, "err", err)
	}
}

// giveBack sends the sender of a message a notice about the recipients that do not get it.
func (c *Collector) giveBack(ctx context.Context, name string, f *dropFile) error {
	l := &Lost{File: shownName(name), Owner: Identity(f.uid), Why: errUnserved, Unserved: f.head.Unserved, Message: section{io.NewSectionReader(f, f.bodyAt, f.head.Size)},
		Submission: &accept.Submission{Envelope: f.head.Envelope, Submitter: accept.Submitter{Identity: Identity(f.uid)}}}
	if told, err := c.tell(ctx, name, l); !told {
		return err
	}
	delete(c.waiting, name)
	c.remove(name)
	return nil
}

// accept hands the message of f to the relay, as several if it has more recipients than one message
// may have: the program that left it has ended, and cannot send the rest in a second one. With an
// error, rest has the recipients that are not in the queue.
func (c *Collector) accept(ctx context.Context, name string, f *dropFile) (id relay.QueueID, rest *accept.Submission, err error) {
	who, all := Identity(f.uid), []relay.Recipient(nil)
	for _, r := range f.head.Envelope.Recipients {
		all = append(all, c.Aliases.Recipients(r)...)
	}
	most := cmp.Or(c.Most, len(all))
	for done := min(c.partly[name], len(all)-1); ; {
		rest = &accept.Submission{Envelope: f.head.Envelope, Content: dropContent{f},
			Submitter: accept.Submitter{Identity: who, Listener: "drop", Protocol: "ESMTP"}}
		rest.Recipients = all[done:]
		part := *rest
		part.Recipients = slices.Clone(all[done:min(done+most, len(all))])
		if id, err = c.Accept(ctx, part); err != nil {
			return id, rest, err
		}
		if done += len(part.Recipients); done == len(all) {
			delete(c.partly, name)
			return id, rest, nil
		}
		c.Log.Info("some of the recipients of a drop file are in the queue", "id", id, "identity", who, "file", name, "done", done, "of", len(all))
		if c.partly == nil || len(c.partly) >= maxWaiting {
			c.partly = map[string]int{}
		}
		c.partly[name] = done
	}
}

// trouble skips a file that the relay could not take now: the fault may be the file's, and then the
// mail after it must not wait. When several in a row cannot be taken, the fault is the relay's, and
// the pass ends.
func (c *Collector) trouble(name string, err error) error {
	if c.troubles++; c.troubles >= maxTroubles || errors.Is(err, relay.ErrNoSpace) || errors.Is(err, relay.ErrClosed) {
		return err
	}
	if _, known := c.waiting[name]; !known {
		c.Log.Warn("a message in the drop folder cannot be taken now; it is tried again", "file", name, "err", err)
	}
	c.waitQuietly(name)
	return nil
}

// section is the message as it is in the file.
type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

// dropContent is the message of a drop file. The file may hold anything: its lines are repaired, as
// those that come by the socket are.
type dropContent struct{ f *dropFile }

func (d dropContent) WriteTo(dst io.Writer) (int64, error) {
	lines := mailtext.NewLines(dst, true)
	if _, err := io.Copy(lines, io.NewSectionReader(d.f, d.f.bodyAt, d.f.head.Size)); err != nil {
		return lines.Written(), err
	}
	return lines.Written(), lines.Close()
}

// wait skips a file for a while.
func (c *Collector) wait(name string, why error) {
	if _, known := c.waiting[name]; !known {
		c.Log.Info("mail waits in the drop folder", "file", name, "why", why)
	}
	c.waitQuietly(name)
}

func (c *Collector) waitQuietly(name string) {
	if c.waiting == nil || len(c.waiting) >= maxWaiting {
		c.waiting = map[string]time.Time{}
	}
	c.waiting[name] = time.Now().Add(patience)
}
