package kept

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dawk/relay"
)

// Run forgets what is old, and the oldest mail when room says that new mail is refused
// for want of it, until ctx ends.
func (s *Store) Run(ctx context.Context, room func() error, log *slog.Logger) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		if err := s.Prune(time.Now(), errors.Is(room(), relay.ErrNoSpace)); err != nil {
			log.Warn("deleted mail that is kept for undo cannot be cleared away", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// maxMoves bounds the lists of moves together, in octets: some 600,000 messages.
const maxMoves = 64 << 20

// file is one that Prune may remove.
type file struct {
	name    string
	changed time.Time
	size    int64
}

func oldest(a, b file) int { return a.changed.Compare(b.changed) }

// Prune forgets what is older than it is kept, the oldest lists of moves beyond what they may
// take and, where room is short, the oldest mail.
func (s *Store) Prune(now time.Time, short bool) error {
	all, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var mail, moves []file
	var moved int64
	for _, e := range all {
		info, err := e.Info()
		if err != nil {
			continue
		}
		f := file{e.Name(), info.ModTime(), info.Size()}
		keep := keepList
		switch {
		case strings.HasPrefix(f.name, movesName):
			keep, moves = keepMoves, append(moves, f)
			moved += f.size
		case strings.HasSuffix(f.name, mailSuffix):
			keep, mail = KeepMail, append(mail, f)
		}
		if now.Sub(f.changed) <= keep {
			continue
		}
		if err := s.remove(f); err != nil {
			return err
		}
		if strings.HasPrefix(f.name, movesName) {
			moved -= f.size
		}
	}
	slices.SortFunc(moves, oldest)
	for ; moved > maxMoves && len(moves) > 1; moves = moves[1:] {
		if err := s.remove(moves[0]); err != nil {
			return err
		}
		moved -= moves[0].size
	}
	if !short || len(mail) == 0 {
		return nil
	}
	return s.remove(slices.MinFunc(mail, oldest))
}

// remove is for a file that may have gone already.
func (s *Store) remove(f file) error {
	if err := os.Remove(filepath.Join(s.dir, f.name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
