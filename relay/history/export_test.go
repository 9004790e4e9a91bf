package history

import (
	"context"
	"os"
)

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

// NewestWithin is Newest that reads so many octets and records only to count.
func NewestWithin(dir string, q Query, limit int, octets int64, records int) (list []Record, found int, more bool, err error) {
	return newest(dir, q, limit, octets, records)
}

// Lowered is lowered.
func Lowered(b, text []byte) []byte { return lowered(b, text) }

// Blocks gives the blocks of an index a size. Before Run.
func (s *Store) Blocks(size int64) { s.block = size }

// Complete gives the files that are there the index that they lack, and says how much of each it
// covers then.
func (s *Store) Complete() (covered map[string]int64) {
	files, _ := listFiles(s.opt.Dir)
	s.complete(context.Background(), files)
	covered = map[string]int64{}
	for _, f := range files {
		data, err := os.Open(f.path)
		if err != nil {
			continue
		}
		defer data.Close()
		if x, err := os.Open(indexOf(f.path)); err == nil {
			for b := range entries(x, data) {
				covered[f.path] += b.to - b.from
			}
			x.Close()
		}
	}
	return covered
}
