package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Unreadable is err of opening path, told for people: without the name of the system
// call, and for a file that this process may not read with its owner, its mode, and the
// command that changes that. It names the folder where a folder is in the way.
func Unreadable(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	if !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w", path, err)
	}
	at, what := path, "it"
	st, failed := os.Stat(at)
	for failed != nil && errors.Is(failed, fs.ErrPermission) && filepath.Dir(at) != at {
		at = filepath.Dir(at)
		what = "the folder " + at
		st, failed = os.Stat(at)
	}
	own, ok := systemStat(st)
	if failed != nil || !ok {
		return fmt.Errorf("%s: %w", path, err)
	}
	me := strconv.Itoa(os.Geteuid())
	advice := fmt.Sprintf("chown %s %s", userName(me), at)
	switch {
	case st.IsDir() && at != path:
		advice = fmt.Sprintf("chgrp %s %s && chmod g+x %[2]s", groupName(strconv.Itoa(os.Getegid())), at)
	case strconv.Itoa(int(own.Uid)) == me:
		advice = "chmod u+r " + at
	}
	return fmt.Errorf("%s: %w: %s belongs to %s:%s with mode %04o, and this runs as %s: %s", path, err, what,
		userName(strconv.Itoa(int(own.Uid))), groupName(strconv.Itoa(int(own.Gid))), st.Mode().Perm(), userName(me), advice)
}

func systemStat(st fs.FileInfo) (*syscall.Stat_t, bool) {
	if st == nil {
		return nil, false
	}
	own, ok := st.Sys().(*syscall.Stat_t)
	return own, ok
}

// userName is the name of a user's number; the number where it has none.
func userName(id string) string {
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(id string) string {
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
