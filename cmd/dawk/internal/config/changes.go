package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Change is a key whose value is another in another configuration. No key holds a
// secret: secrets are in files.
type Change struct {
	Key     string `json:"key"`
	From    string `json:"from,omitempty"` // for people; "" where it was not set
	To      string `json:"to,omitempty"`   // likewise
	Restart bool   `json:"restart,omitempty"`
}

// live are the keys that a running relay takes over; all others need a restart.
var live = map[string]func(to, from *Config){
	"queue.retry":              func(to, from *Config) { to.Queue.Retry = from.Queue.Retry },
	"queue.max_age":            func(to, from *Config) { to.Queue.MaxAge = from.Queue.MaxAge },
	"queue.delay_notice":       func(to, from *Config) { to.Queue.DelayNotice = from.Queue.DelayNotice },
	"delivery.max_connections": func(to, from *Config) { to.Delivery.MaxConnections = from.Delivery.MaxConnections },
	"bounce.language":          func(to, from *Config) { to.Bounce.Language = from.Bounce.Language },
	"bounce.templates":         func(to, from *Config) { to.Bounce.Templates = from.Bounce.Templates },
	"bounce.limit":             func(to, from *Config) { to.Bounce.Limit = from.Bounce.Limit },
	"bounce.delay_ended":       func(to, from *Config) { to.Bounce.DelayEnded = from.Bounce.DelayEnded },
}

// TakeOver is c with those keys of next that need no restart, and all keys that
// differ, in order. The words of notices are always those that next has read.
func (c *Config) TakeOver(next *Config) (*Config, []Change) {
	changes := c.changes(next)
	out := *c
	out.doc, out.read, out.languages = next.doc, next.read, next.languages
	for i := range changes {
		key, _, _ := strings.Cut(changes[i].Key, "[")
		if take, ok := live[key]; ok {
			take(&out, next)
		} else {
			changes[i].Restart = true
			out.read = [sha256.Size]byte{} // of no file: see Stale
		}
	}
	return &out, changes
}

// changes are the keys that differ.
func (c *Config) changes(next *Config) (all []Change) {
	old, now := map[string]string{}, map[string]string{}
	valuesOf(reflect.ValueOf(*c), "", old)
	valuesOf(reflect.ValueOf(*next), "", now)
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

// valuesOf puts the keys of a section into all, with their values for people. Repeated
// sections are told apart by their names, else by their number.
func valuesOf(v reflect.Value, at string, all map[string]string) {
	for i := range v.NumField() {
		f, field := v.Type().Field(i), v.Field(i)
		tag := f.Tag.Get("toml")
		key := strings.TrimPrefix(at+"."+tag, ".")
		switch {
		case f.Anonymous:
			valuesOf(field, at, all)
		case tag == "" || !f.IsExported():
		case field.Kind() == reflect.Struct && field.NumField() > 0 && field.Type().Field(0).Tag.Get("toml") != "":
			valuesOf(field, key, all)
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct && field.Type().Elem().Field(0).Tag.Get("toml") != "":
			for j := range field.Len() {
				valuesOf(field.Index(j), fmt.Sprintf("%s[%s]", key, cmp.Or(nameOf(field.Index(j)), fmt.Sprint(j))), all)
			}
		case field.IsZero():
		case field.Kind() == reflect.Pointer:
			all[key] = fmt.Sprint(field.Elem().Interface())
		default:
			all[key] = fmt.Sprint(field.Interface())
		}
	}
}

// nameOf is what a repeated section is called by.
func nameOf(section reflect.Value) string {
	for _, field := range []string{"Name", "Address", "Domain"} {
		if f := section.FieldByName(field); f.IsValid() && f.Kind() == reflect.String && f.String() != "" {
			return f.String()
		}
	}
	return ""
}

// Settle waits until the file that c was read from has had the same content for a
// tenth of a second, and at most two seconds: whoever writes it may not be done, and
// half a file may be one without a fault.
func (c *Config) Settle() {
	var last []byte
	for i := 0; i < 20 && c.file != ""; i++ {
		data, err := readBounded(c.file, maxConfigSize)
		if err == nil && last != nil && bytes.Equal(data, last) {
			return
		}
		last = append([]byte{}, data...)
		time.Sleep(100 * time.Millisecond)
	}
}
