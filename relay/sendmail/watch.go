package sendmail

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watch asks for a pass whenever a file of the folder gets its final name, so that mail does not
// wait for the next one. Where inotify(7) is not to be had, since each user may have only a few
// watches, the folder is still read once a second. It returns the function that ends it.
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
		buf := make([]byte, 16<<10) // which event it was does not matter
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			select {
			case look <- struct{}{}:
			default: // a pass has been asked for already
			}
		}
	})
	return func() { f.Close(); ended.Wait() }
}
