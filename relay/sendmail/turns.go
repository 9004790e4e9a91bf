package sendmail

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dawk/relay/durable"
)

// perUser is how many files of one user are taken in one pass. Files that others leave in the
// meantime wait no longer than it takes to send that many.
const perUser = 200

// turns gives the files to look at now, one of each user in turn and the oldest of each first, and
// says whether there are more. So nobody can hold up the mail of others with his own files, nor
// with files that wait for their time.
func (c *Collector) turns(now time.Time) (names []string, more bool, err error) {
	byUser, err := c.byUser(now)
	if err != nil {
		return nil, false, err
	}
	var users []uint32
	for uid, list := range byUser {
		slices.Sort(list) // by the time that is in them
		users = append(users, uid)
		if len(list) > perUser {
			byUser[uid], more = list[:perUser], true
		}
	}
	slices.Sort(users)
	for turn := range perUser {
		for _, uid := range users {
			if turn < len(byUser[uid]) {
				names = append(names, byUser[uid][turn])
			}
		}
	}
	return names, more, nil
}

// byUser gives the files to look at now, by owner.
func (c *Collector) byUser(now time.Time) (map[uint32][]string, error) {
	dir, err := os.Open(c.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	byUser, owners := map[uint32][]string{}, map[string]uint32{}
	for err == nil && len(owners) < maxWaiting {
		var some []string
		some, err = dir.Readdirnames(1000)
		for _, name := range some {
			if name == asideName || name == toldName || c.ignored[name] || now.Before(c.waiting[name]) {
				continue
			}
			if strings.HasPrefix(name, durable.TempPrefix) && c.begun(name) {
				c.waitQuietly(name) // or many of them would fill each look
				continue
			}
			uid, known := c.owners[name] // a file keeps its owner
			if !known {
				uid = c.owner(name)
			}
			owners[name] = uid
			byUser[uid] = append(byUser[uid], name)
		}
	}
	c.owners = owners
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return byUser, nil
}

// begun says whether a file that does not have its final name yet may still get it.
func (c *Collector) begun(name string) bool {
	info, err := os.Lstat(filepath.Join(c.Dir, name))
	return err != nil || time.Since(info.ModTime()) < abandoned
}

// owner is who left a file; the relay's own user if that cannot be found out.
func (c *Collector) owner(name string) uint32 {
	if info, err := os.Lstat(filepath.Join(c.Dir, name)); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			return st.Uid
		}
	}
	return uint32(os.Geteuid())
}
