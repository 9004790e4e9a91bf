package sendmail

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
)

// Folders below the drop folder, which only the relay can enter.
const (
	asideName = "aside" // what was no mail
	toldName  = "told"  // a mark for each file that was reported and cannot be moved there
)

const (
	maxIgnored   = 100_000 // names that are remembered as not worth another try
	maxAsideName = 200     // octets kept of a name: a time is put in front, and the maximum is 255
)

// giveUp reports a file that will never be sent, and then moves it away. A crash between the two
// reports it twice; in the other order it might never be reported.
func (c *Collector) giveUp(ctx context.Context, name string, l *Lost) error {
	if c.wasTold(name) {
		c.ignore(name)
		return nil
	}
	l.File, l.Owner, l.Aside = shownName(name), Identity(c.owner(name)), filepath.Join(c.Dir, asideName)
	if told, err := c.tell(ctx, name, l); !told {
		return err
	}
	delete(c.waiting, name)
	delete(c.partly, name)
	c.setAside(name, l.Why)
	return nil
}

// tell reports a file, and says whether that was done. Its error is temporary.
func (c *Collector) tell(ctx context.Context, name string, l *Lost) (told bool, err error) {
	if c.Tell == nil {
		return true, nil
	}
	err = c.Tell(ctx, l)
	switch {
	case errors.Is(err, ErrLater):
		c.wait(name, err)
		return false, nil
	case err != nil:
		return false, fmt.Errorf("report a drop file: %w", err)
	}
	return true, nil
}

func shownName(name string) string { return relay.Sanitize(name[:min(len(name), maxLogNames)]) }

// setAside moves a file that cannot be mail out of the way. It is never
// deleted: a person may know what it was.
func (c *Collector) setAside(name string, why error) {
	aside := filepath.Join(c.Dir, asideName)
	err := ownDir(aside)
	if err == nil {
		kept := strings.TrimLeft(name, ".")
		kept = fmt.Sprintf("%d-%s", time.Now().UnixNano(), kept[:min(len(kept), maxAsideName)])
		err = durable.Rename(filepath.Join(c.Dir, name), filepath.Join(aside, kept))
	}
	if err == nil {
		c.Log.Error("a file in the drop folder cannot be sent as mail; it was set aside", "file", shownName(name), "why", why, "to", aside)
		return
	}
	c.ignore(name)
	merr := c.markTold(name)
	c.Log.Error("a file in the drop folder cannot be sent as mail, and cannot be moved away; remove it", "file", shownName(name), "why", why, "err", errors.Join(err, merr))
}

// ownDir makes a folder that belongs to the relay, and refuses one that somebody else made, perhaps
// to get at the mail of others.
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

// ignore skips a file for as long as the relay runs.
func (c *Collector) ignore(name string) {
	if c.ignored == nil {
		c.ignored = map[string]bool{}
	}
	if len(c.ignored) < maxIgnored {
		c.ignored[name] = true
	}
}

// mark is the file that says that name was reported.
func (c *Collector) mark(name string) string {
	return filepath.Join(c.Dir, toldName, fmt.Sprintf("%x", sha256.Sum256([]byte(name))))
}

func (c *Collector) wasTold(name string) bool {
	_, err := os.Lstat(c.mark(name))
	return err == nil && ownDir(filepath.Dir(c.mark(name))) == nil
}

// markTold keeps the next start from reporting a file again.
func (c *Collector) markTold(name string) error {
	mark := c.mark(name)
	if err := ownDir(filepath.Dir(mark)); err != nil {
		return err
	}
	return durable.Write(mark, []byte(shownName(name)+"\n"), 0o600)
}
