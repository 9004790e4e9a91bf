package sendmail

import (
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
	"dawk/relay/mailtext"
)

const (
	asideName   = "aside"          // below the drop folder: what was no mail
	lookEvery   = time.Second      // while the folder is read without trouble
	restAfter   = 30 * time.Second // when the relay takes no mail at the moment
	abandoned   = 24 * time.Hour   // a file that has no final name by then gets none
	maxIgnored  = 1000             // names that are remembered as hopeless
	maxPass     = 10_000           // files of one look
	maxLogNames = 255
)

// Submission is a drop file's message on its way to the rules of acceptance.
type Submission struct {
	relay.Envelope
	Content  io.WriterTo
	Identity string
}

// Collector takes what is in the drop folder to the relay. A message leaves
// the folder after it is in the queue: a crash between the two sends it twice,
// and none loses it.
type Collector struct {
	Dir string
	// Accept puts a message into the queue.
	Accept func(context.Context, *Submission) (relay.QueueID, error)
	// Permanent says whether an error of Accept is for good.
	Permanent func(error) bool
	Log       *slog.Logger

	ignored map[string]bool
	failing bool // the last look ended early
}

// Run looks into the folder until ctx ends.
func (c *Collector) Run(ctx context.Context) {
	for {
		wait := lookEvery
		if err := c.Collect(ctx); err != nil && ctx.Err() == nil {
			wait = restAfter
			if !c.failing {
				c.Log.Warn("mail waits in the drop folder", "dir", c.Dir, "err", err)
			}
			c.failing = true
		} else {
			c.failing = false
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Collect looks into the folder once. Its error is temporary trouble, after
// which what is left waits.
func (c *Collector) Collect(ctx context.Context) error {
	dir, err := os.Open(c.Dir)
	if err != nil {
		return fmt.Errorf("read the drop folder: %w", err)
	}
	names, err := dir.Readdirnames(maxPass)
	dir.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the drop folder: %w", err)
	}
	slices.Sort(names) // by the time that is in them
	for _, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if name == asideName || c.ignored[name] {
			continue
		}
		if !strings.HasSuffix(name, dropSuffix) || strings.HasPrefix(name, ".") {
			c.stray(name)
			continue
		}
		if err := c.take(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// stray looks at a file that has no name of ours, or not yet its last one.
func (c *Collector) stray(name string) {
	info, err := os.Lstat(filepath.Join(c.Dir, name))
	if err != nil || strings.HasPrefix(name, dropTemp) && time.Since(info.ModTime()) < abandoned {
		return
	}
	c.setAside(name, errMalformed)
}

// take hands one file to the relay.
func (c *Collector) take(ctx context.Context, name string) error {
	path := filepath.Join(c.Dir, name)
	f, err := openDrop(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EIO):
		return fmt.Errorf("open a drop file: %w", err)
	case err != nil:
		c.setAside(name, err)
		return nil
	}
	defer f.Close()
	s := &Submission{Envelope: f.head.Envelope, Identity: Identity(f.uid), Content: dropContent{f}}
	id, err := c.Accept(ctx, s)
	switch {
	case err != nil && c.Permanent(err):
		c.setAside(name, err)
		return nil
	case err != nil:
		return err
	}
	c.Log.Info("mail taken from the drop folder", "id", id, "identity", s.Identity, "file", name)
	if err := os.Remove(path); err != nil {
		// It would be sent again with each look.
		c.ignore(name)
		c.Log.Error("a drop file that is in the queue cannot be removed; remove it before the next start, which would send it again", "file", path, "id", id, "err", err)
	}
	return nil
}

// dropContent is the message of a drop file. Whoever wrote the file could have
// written anything: its lines are mended as those on the socket are.
type dropContent struct{ f *dropFile }

func (d dropContent) WriteTo(dst io.Writer) (int64, error) {
	lines := mailtext.NewLines(dst, true)
	if _, err := io.Copy(lines, io.NewSectionReader(d.f, d.f.bodyAt, d.f.head.Size)); err != nil {
		return lines.Written(), err
	}
	return lines.Written(), lines.Close()
}

// setAside moves a file that cannot be mail out of the way. It is never
// deleted: a person may know what it was.
func (c *Collector) setAside(name string, why error) {
	from, aside := filepath.Join(c.Dir, name), filepath.Join(c.Dir, asideName)
	shown := relay.Sanitize(name[:min(len(name), maxLogNames)])
	err := ownDir(aside)
	if err == nil {
		err = os.Rename(from, filepath.Join(aside, fmt.Sprintf("%d-%s", time.Now().UnixNano(), strings.TrimLeft(name, "."))))
	}
	if err != nil {
		c.ignore(name)
		c.Log.Error("a file in the drop folder is no mail that can be sent, and cannot be moved away", "file", shown, "why", why, "err", err)
		return
	}
	c.Log.Error("a file in the drop folder is no mail that can be sent; it was set aside", "file", shown, "why", why, "to", aside)
}

// ownDir refuses a folder that somebody else made to receive others' mail.
func ownDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode()&0o077 != 0 {
		return fmt.Errorf("%s is not the relay's own folder", path)
	}
	return nil
}

func (c *Collector) ignore(name string) {
	if c.ignored == nil || len(c.ignored) >= maxIgnored {
		c.ignored = map[string]bool{}
	}
	c.ignored[name] = true
}
