package queuetest

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pageOf is the unit in which the kernel writes back, sector that in which a
// disk does.
const (
	pageOf = 4096
	sector = 512
)

// version is a page as one write made it.
type version struct {
	data []byte
	done *bool // the write has returned: a sync that begins now covers it
}

// inode is a file: what is on the disk, and what may be.
type inode struct {
	dir     bool
	safe    []byte
	now     []byte
	pages   map[int][]version // not synced, oldest first
	sizes   []int             // not synced
	appends int               // where write(2) goes on
}

// nameChange is atomic: each name now means that inode, nil: nothing.
type nameChange struct {
	n  int // which change it is
	to map[string]*inode
}

// Machine has a page cache and a disk. It follows the record of a process, and
// its power can fail at any moment of it: of what no sync covered, any part may
// then be on the disk, in any order, sector by sector.
type Machine struct {
	Root string // the data directory; of it, queue.db, its journal and the spool are followed
	// Heard is told what was written to a descriptor that is no file of ours, as
	// soon as the write began.
	Heard func(fd int64, text string)

	names, durable map[string]*inode
	changes        []nameChange // not synced, oldest first
	changed        int          // how many there ever were
	running        map[string]func(ok bool)
	err            error
}

// NewMachine begins with what is in root, all of it durable; the process must
// be at rest.
func NewMachine(root string) (*Machine, error) {
	m := &Machine{Root: root, names: map[string]*inode{}, running: map[string]func(bool){}}
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || !m.ours(p) || p == root {
			return err
		}
		f := &inode{dir: d.IsDir(), pages: map[int][]version{}}
		if !f.dir {
			f.safe, err = os.ReadFile(p)
			f.now, f.appends = bytes.Clone(f.safe), len(f.safe)
		}
		m.names[p] = f
		return err
	})
	m.durable = maps.Clone(m.names)
	return m, err
}

// ours says whether a path holds mail of the queue.
func (m *Machine) ours(p string) bool {
	in := strings.TrimPrefix(p, m.Root)
	return p == m.Root || strings.HasPrefix(in, "/queue.db") || in == "/queue.journal" || in == "/spool" || strings.HasPrefix(in, "/spool/")
}

// Born says whether queue.db was ever durable: from then on it must be found.
func (m *Machine) Born() bool { return m.durable[filepath.Join(m.Root, "queue.db")] != nil }

// Do follows one line of the record.
func (m *Machine) Do(c Call) error {
	if c.begins {
		m.running[c.pid] = m.begin(c)
	}
	if c.ends {
		if end := m.running[c.pid]; end != nil {
			end(c.ok)
		}
		delete(m.running, c.pid)
	}
	return m.err
}

// begin does what may reach the disk as soon as the call is made, and gives
// what is certain when it has returned.
func (m *Machine) begin(c Call) (end func(ok bool)) {
	words := splitArgs(c.args)
	path := func(i int) string { return words[i].text }
	switch c.name {
	case "write":
		f := m.names[words[0].text]
		if f == nil {
			m.Heard(words[0].number, path(1))
			return nil
		}
		at := f.appends
		f.appends += len(path(1))
		return f.write(at, path(1))
	case "pwrite64":
		if f := m.names[words[0].text]; f != nil {
			return f.write(int(words[3].number), path(1))
		}
	case "ftruncate":
		if f := m.names[words[0].text]; f != nil {
			f.resize(int(words[1].number))
		}
	case "fallocate":
		if f := m.names[words[0].text]; f != nil && !strings.Contains(c.args, "KEEP_SIZE") {
			if end := int(words[2].number + words[3].number); end > len(f.now) {
				f.resize(end)
			}
		}
	case "fdatasync", "fsync":
		if p := words[0].text; p == m.Root || m.names[p] != nil && m.names[p].dir {
			return m.syncNames(p)
		} else if f := m.names[p]; f != nil {
			return f.sync()
		}
	case "openat":
		if p := path(1); m.ours(p) && strings.Contains(c.args, "O_CREAT") && m.names[p] == nil {
			m.rename(map[string]*inode{p: {pages: map[int][]version{}}})
		} else if f := m.names[p]; f != nil && strings.Contains(c.args, "O_TRUNC") {
			f.resize(0)
		}
	case "mkdirat":
		if p := path(1); m.ours(p) && m.names[p] == nil {
			m.rename(map[string]*inode{p: {dir: true}})
		}
	case "unlinkat":
		if p := path(1); m.names[p] != nil && !(strings.Contains(c.args, "AT_REMOVEDIR") && !m.names[p].dir) {
			m.rename(map[string]*inode{p: nil})
		}
	case "renameat", "renameat2":
		if from, to := path(1), path(3); m.ours(from) {
			m.rename(map[string]*inode{from: nil, to: m.names[from]})
		}
	}
	return nil
}

func (m *Machine) rename(to map[string]*inode) {
	m.changed++
	m.changes = append(m.changes, nameChange{m.changed, to})
	apply(m.names, to)
}

func apply(names, to map[string]*inode) {
	for p, f := range to {
		if f == nil {
			delete(names, p)
		} else {
			names[p] = f
		}
	}
}

// syncNames makes the names in one directory durable, not its own.
func (m *Machine) syncNames(dir string) func(bool) {
	before := m.changed
	return func(ok bool) {
		m.changes = slices.DeleteFunc(m.changes, func(c nameChange) bool {
			for p := range c.to {
				if !ok || c.n > before || filepath.Dir(p) != dir {
					return false
				}
			}
			apply(m.durable, c.to)
			return true
		})
	}
}

func (f *inode) write(at int, data string) func(bool) {
	if n := at + len(data); n > len(f.now) {
		f.resize(n)
	}
	copy(f.now[at:], data)
	done := new(bool)
	for p := at / pageOf; p*pageOf < at+len(data); p++ {
		page := make([]byte, pageOf)
		copy(page, f.now[p*pageOf:min(len(f.now), (p+1)*pageOf)])
		f.pages[p] = append(f.pages[p], version{page, done})
	}
	return func(ok bool) { *done = ok }
}

func (f *inode) resize(n int) {
	if n < len(f.now) {
		f.now = f.now[:n]
	} else {
		f.now = append(f.now, make([]byte, n-len(f.now))...)
	}
	f.sizes = append(f.sizes, n)
}

// sync makes durable, when it has returned, what was written before it began.
func (f *inode) sync() func(bool) {
	covered, sizes := make(map[int]int), len(f.sizes)
	for p, versions := range f.pages {
		for _, v := range versions {
			if !*v.done {
				break
			}
			covered[p]++
		}
	}
	return func(ok bool) {
		if !ok {
			return
		}
		if sizes > 0 {
			f.safe = sized(f.safe, f.sizes[sizes-1])
			f.sizes = f.sizes[sizes:]
		}
		for p, n := range covered {
			if n == 0 || len(f.pages[p]) < n { // another sync was faster
				continue
			}
			copy(f.safe[min(p*pageOf, len(f.safe)):], f.pages[p][n-1].data)
			if f.pages[p] = f.pages[p][n:]; len(f.pages[p]) == 0 {
				delete(f.pages, p)
			}
		}
	}
}

func sized(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n]
	}
	return append(b, make([]byte, n-len(b))...)
}

// Cut writes a disk as the power failure left it, and says how many pages it
// took away, in part or wholly.
func (m *Machine) Cut(rng *rand.Rand, dir string) (lost int, err error) {
	mood := rng.IntN(5) // 0: all is lost, 1: nothing, 2: some sectors, else some pages
	keep := func() bool { return mood == 1 || mood > 1 && rng.IntN(2) == 0 }
	names := maps.Clone(m.durable)
	for _, c := range m.changes {
		if keep() {
			apply(names, c.to)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	for p, f := range names {
		target := filepath.Join(dir, strings.TrimPrefix(p, m.Root))
		switch parent := filepath.Dir(p); {
		case f.dir:
			os.MkdirAll(target, 0o700)
			continue
		case parent != m.Root && names[parent] == nil:
			continue // lost with its directory
		}
		b := bytes.Clone(f.safe)
		for _, n := range f.sizes {
			if keep() {
				b = sized(b, n)
			}
		}
		for p, versions := range f.pages {
			whole := true
			for _, v := range versions {
				page := keep()
				for at := 0; at < pageOf && p*pageOf+at < len(b); at += sector {
					if mood == 2 && keep() || mood != 2 && page {
						copy(b[p*pageOf+at:], v.data[at:at+sector])
					} else {
						whole = false
					}
				}
			}
			if !whole {
				lost++
			}
		}
		if err := writeSparse(target, b); err != nil {
			return 0, err
		}
	}
	return lost, nil
}

// writeSparse leaves out pages of zeros: most of queue.db is a hole.
func writeSparse(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Truncate(int64(len(b)))
	zeros := make([]byte, pageOf)
	for at := 0; at < len(b); at += pageOf {
		if page := b[at:min(at+pageOf, len(b))]; !bytes.Equal(page, zeros[:len(page)]) {
			_, e := f.WriteAt(page, int64(at))
			err = errors.Join(err, e)
		}
	}
	return err
}
