package sendmail

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watch calls for a look whenever a file of the folder gets its last name, so
// that nobody waits for the next look. Without inotify(7), of which there are a
// few for each user, the folder is looked at once a second all the same. It
// returns what ends it.
func watch(dir string, look chan<- struct{}) (stop func()) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return func() {}
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		f.Close()
		return func() {}
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		buf := make([]byte, 16<<10) // what happened does not matter
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			select {
			case look <- struct{}{}:
			default: // it is called for already
			}
		}
	})
	return func() { f.Close(); ended.Wait() }
}
