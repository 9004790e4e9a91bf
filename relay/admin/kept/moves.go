package kept

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"dawk/relay"
	"dawk/relay/durable"
)

// Move is a message that came back under another ID. Those of one bundle are in one file,
// which [Store.Prune] forgets as a whole.
type Move struct {
	Bundle string        `json:"bundle"`
	Old    relay.QueueID `json:"old"`
	New    relay.QueueID `json:"new"`
}

// movesPath is the file of the moves of a bundle, whose name anybody may have written.
func (s *Store) movesPath(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, movesName+"-"+hex.EncodeToString(sum[:12])+listSuffix)
}

// Moved notes that messages of one bundle came back under other IDs.
func (s *Store) Moved(moves ...Move) error {
	var all []byte
	for _, m := range moves {
		b, err := json.Marshal(m)
		if err != nil {
			return err
		}
		all = append(append(all, b...), '\n')
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(s.movesPath(moves[0].Bundle), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(all)
	return errors.Join(err, f.Sync(), f.Close(), durable.SyncDir(s.dir))
}

// Came are the messages of a bundle that have come back.
func (s *Store) Came(name string) (map[relay.QueueID]bool, error) {
	all := map[relay.QueueID]bool{}
	err := lines(s.movesPath(name), func(b []byte) {
		var m Move
		if json.Unmarshal(b, &m) == nil && m.Bundle == name {
			all[m.Old] = true
		}
	})
	return all, err
}

// Now are the IDs under which a message came back, the oldest first; none: it did not.
func (s *Store) Now(old relay.QueueID) (all []relay.QueueID) {
	if s == nil {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(s.dir, movesName+"*"+listSuffix))
	if err != nil {
		return nil
	}
	word := []byte(`"` + old.String() + `"`)
	for _, f := range files {
		_ = lines(f, func(b []byte) { // a help only: without it the message is not found
			var m Move
			if bytes.Contains(b, word) && json.Unmarshal(b, &m) == nil && m.Old == old {
				all = append(all, m.New)
			}
		})
	}
	slices.SortFunc(all, func(a, b relay.QueueID) int { return cmp.Compare(a.Key, b.Key) })
	return all
}
