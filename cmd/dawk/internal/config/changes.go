package config

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"dawk/cmd/dawk/internal/config/section"
)

// Change is a key whose value is another in another configuration. No key holds a
// secret: secrets are in files.
type Change struct {
	Key     string `json:"key"`
	From    string `json:"from,omitempty"` // for people; "" where it was not set
	To      string `json:"to,omitempty"`   // likewise
	Restart bool   `json:"restart,omitempty"`
}

// restart are the keys of what is open as long as the relay runs: they need a
// restart, and all others do not.
var restart = map[string]func(to, from *Config){
	"data_dir":               func(to, from *Config) { to.DataDir = from.DataDir },
	"queue.min_free":         func(to, from *Config) { to.Queue.MinFree = from.Queue.MinFree },
	"queue.store":            func(to, from *Config) { to.Queue.Store = from.Queue.Store },
	"queue.dsn_file":         func(to, from *Config) { to.Queue.DSNFile = from.Queue.DSNFile },
	"queue.allow_async":      func(to, from *Config) { to.Queue.AllowAsync = from.Queue.AllowAsync },
	"cluster.node":           func(to, from *Config) { to.Cluster.Node = from.Cluster.Node },
	"queue.max_size":         func(to, from *Config) { to.Queue.MaxSize = from.Queue.MaxSize },
	"history.keep":           func(to, from *Config) { to.History.Keep = from.History.Keep },
	"history.max_size":       func(to, from *Config) { to.History.MaxSize = from.History.MaxSize },
	"admin.socket":           func(to, from *Config) { to.Admin.Socket = from.Admin.Socket },
	"admin.group":            func(to, from *Config) { to.Admin.Group = from.Admin.Group },
	"admin.group_role":       func(to, from *Config) { to.Admin.GroupRole = from.Admin.GroupRole },
	"sendmail.socket":        func(to, from *Config) { to.Sendmail.Socket = from.Sendmail.Socket },
	"sendmail.drop":          func(to, from *Config) { to.Sendmail.Drop = from.Sendmail.Drop },
	"log.format":             func(to, from *Config) { to.Log.Format = from.Log.Format },
	"return_path.domain":     func(to, from *Config) { to.ReturnPath.Domain = from.ReturnPath.Domain },
	"return_path.listener":   func(to, from *Config) { to.ReturnPath.Listener = from.ReturnPath.Listener },
	"return_path.complaints": func(to, from *Config) { to.ReturnPath.Complaints = from.ReturnPath.Complaints },
	"return_path.valid":      func(to, from *Config) { to.ReturnPath.Valid = from.ReturnPath.Valid },
	"return_path.forward":    func(to, from *Config) { to.ReturnPath.Forward = from.ReturnPath.Forward },
}

// TakeOver is next with those keys of c that need a restart, and all keys that
// differ, in order.
func (c *Config) TakeOver(next *Config) (*Config, []Change) {
	changes := c.changes(next)
	out := *next
	for i := range changes {
		if keep, ok := restart[changes[i].Key]; ok {
			keep(&out, c)
			changes[i].Restart = true
			out.read = [sha256.Size]byte{} // of no file: see Stale
		}
	}
	return &out, changes
}

// changes are the keys that differ.
func (c *Config) changes(next *Config) (all []Change) {
	old, now := map[string]string{}, map[string]string{}
	section.Values(reflect.ValueOf(*c), "", old)
	section.Values(reflect.ValueOf(*next), "", now)
	both := maps.Clone(old)
	maps.Copy(both, now)
	for _, key := range slices.Sorted(maps.Keys(both)) {
		from, had := old[key]
		to, has := now[key]
		if from == to && had == has {
			continue
		}
		all = append(all, Change{Key: key, From: from, To: to})
	}
	return all
}

// Reread reads the file that c was read from again, for a relay that runs. It waits
// until the file has had the same content for a tenth of a second, and at most two
// seconds: whoever writes it may not be done, and half a file may be one without a
// fault. A file that has become empty, or has lost the end of its last line, was cut.
func (c *Config) Reread() (*Config, error) {
	if c.file == "" {
		return Load("")
	}
	var last []byte
	for range 20 {
		data, err := readBounded(c.file, maxConfigSize)
		if err == nil && last != nil && bytes.Equal(data, last) {
			break
		}
		last = append([]byte{}, data...)
		time.Sleep(100 * time.Millisecond)
	}
	next, err := Load(c.file)
	switch {
	case err != nil:
		return nil, err
	case next.empty && !c.empty:
		return nil, fmt.Errorf("%s is empty: write the configuration again and reload it; a restart would run with the defaults", c.file)
	case next.cut && !c.cut:
		return nil, fmt.Errorf("%s: the last line does not end as it did, so the file may have been cut: see whether it is whole, end it with a newline and reload it", c.file)
	}
	return next, nil
}
