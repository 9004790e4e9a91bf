package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/queue/boltstore/datadir"
	"dawk/queue/common"
	"dawk/queue/postgres"
	"dawk/relay"
	"dawk/relay/limits/share"
)

// openQueue opens the queue, wherever it is. ctx ends only the wait for a database.
func (s *Server) openQueue(ctx context.Context, cfg *config.Config) error {
	if cfg.Queue.Store == config.StorePostgres {
		return s.openPostgres(ctx, cfg)
	}
	opt := cfg.QueueOptions(s.log)
	opt.Destination, opt.CommitSeconds = outward{s}.Destination, s.metrics.Commit
	opt.Fatal = func(err error) { s.distrusted <- err }
	// How far webhooks have come, who gets no mail, and what signed addresses and links need.
	opt.Beside = []string{"webhooks", "suppression", "suppression-providers.json", "return-path", "return-path.key", "unsubscribe.key"}
	q, err := boltstore.Open(opt)
	if err != nil {
		return err
	}
	s.queue, s.files = q, q
	s.closeLater(s.closeQueue)
	return nil
}

// shared is a queue that several relays share.
type shared interface {
	Cluster() relay.Cluster
	GiveAway(context.Context)
}

// again is how long a relay waits before it asks once more for a database that cannot
// be reached, or that another machine works with.
const again = 2 * time.Second

// openPostgres waits as long as the database cannot be reached, and as long as another
// machine works: this one stands by.
func (s *Server) openPostgres(ctx context.Context, cfg *config.Config) error {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return err
	}
	if err := noMailInFiles(cfg); err != nil {
		return err
	}
	lock, err := datadir.Lock(cfg.DataDir)
	if err != nil {
		return err
	}
	s.closeLater(lock.Close)
	opt := cfg.PostgresOptions(s.log)
	opt.Version = Version()
	opt.Destination, opt.CommitSeconds = outward{s}.Destination, s.metrics.Commit
	opt.Fatal = func(err error) { s.distrusted <- err }
	opt.Forget = s.forget
	opt.Adopted = func() {
		select {
		case s.adopted <- struct{}{}:
		default:
		}
	}
	for said := ""; ; {
		opt.Shares = share.New(nil)
		q, err := postgres.Open(ctx, opt)
		if err == nil {
			s.queue, s.desk, s.purses = q, s.newDesk(q), common.NewPurses(common.New(q.Pool()), s.log)
			if cfg.Clustered() {
				s.shares = opt.Shares
			}
			s.closeLater(s.closeQueue)
			return nil
		}
		held := errors.Is(err, queue.ErrHeld) && opt.Sole
		// One that stands by goes on waiting whatever is wrong at the moment: a database
		// that was promoted just now may have no standby yet.
		if !held && !postgres.Unreachable(err) && said == "" || ctx.Err() != nil {
			return err
		}
		why := "waiting for the database"
		if held {
			why = "standing by: another machine works"
		}
		if now := why + err.Error(); now != said {
			s.log.Warn(why, "error", err)
			said = now
		}
		notify("EXTEND_TIMEOUT_USEC=60000000\nSTATUS=" + why)
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return fmt.Errorf("it was stopped before the queue was open: %w", err)
		}
	}
}

// noMailInFiles refuses a change of queue.store that would leave mail behind.
func noMailInFiles(cfg *config.Config) error {
	if _, err := os.Stat(filepath.Join(cfg.DataDir, datadir.FileName)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	q, err := boltstore.Open(cfg.QueueOptions(nil))
	if err != nil {
		return fmt.Errorf("there is a queue in files in %s: %w", cfg.DataDir, err)
	}
	n := q.Stats().Messages
	for range q.DigestRows() { // what senders are still to be told
		n++
	}
	if err := q.Close(); err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%d messages and notices wait in the files of %s, and a queue in a database would leave them there: start once more with queue.store = \"bolt\" and let them leave (dawk drain)", n, cfg.DataDir)
	}
	return nil
}

// forget gives mail up that another machine is to have.
func (s *Server) forget(ctx context.Context, match func(relay.QueueID) bool) error {
	select {
	case <-s.running.started:
		return s.dispatcher.Forget(ctx, match)
	default:
		return errors.New("this one has not started yet")
	}
}

// takeLists has the lists that were of another machine sent by this one.
func (s *Server) takeLists(ctx context.Context) {
	for {
		select {
		case <-s.adopted:
		case <-ctx.Done():
			return
		}
		for s.dispatcher.LoadRows(ctx) != nil {
			select {
			case <-time.After(again):
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *Server) closeQueue() error {
	if err := s.queue.Close(); err != nil {
		return fmt.Errorf("close the queue: %w", err)
	}
	return nil
}

// fileStats are zero where the queue is in no file.
func (s *Server) fileStats() queue.FileStats {
	if s.files == nil {
		return queue.FileStats{}
	}
	return s.files.FileStats()
}
