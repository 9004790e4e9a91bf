package history

import "os"

// DiskFull lets files be made in which nothing can be written, as on a disk
// without free blocks. Before the first event.
func (s *Store) DiskFull() {
	s.create = func(path string) (*os.File, error) {
		f, err := create(path)
		if err != nil {
			return nil, err
		}
		f.Close()
		return os.Open(path)
	}
}
