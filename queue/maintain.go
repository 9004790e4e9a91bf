package queue

import (
	"log/slog"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

func openTrusted(opt Options, log *slog.Logger) (*bolt.DB, error) {
	return openBolt(filepath.Join(opt.Dir, fileName), opt.MaxSize)
}
