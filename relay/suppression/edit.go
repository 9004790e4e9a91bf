package suppression

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/filter"
)

// Each calls do with the entries that f picks, in the order in which they were made, until it
// returns an error. Changes wait meanwhile; mail and look-ups do not.
func (l *List) Each(f filter.Of[*Entry], do func(Entry) error) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.file == nil {
		return ErrOff
	}
	now := l.now()
	return l.file.inForce(func(r *record) error {
		if !r.listed(now.Unix()) {
			return nil
		}
		e := r.entry()
		if !f.Match(&e) {
			return nil
		}
		return do(e)
	})
}

// Terms are what a filter may say of entries.
var Terms = filter.Grammar[*Entry]{
	HasID: func(e *Entry, id relay.QueueID) bool { return e.QueueID == id },
	Fields: slices.Concat([]filter.Field[*Entry]{
		filter.Mailbox("to", "to=@example.com", "the address: one, @domain, or with *", filter.One(func(e *Entry) string { return e.Address })).Or("rcpt", "recipient", "address"),
		filter.Domain("domain", "domain=example.com", "its domain", filter.One(func(e *Entry) string { return e.Address[strings.LastIndexByte(e.Address, '@')+1:] })).Or("dest"),
		filter.Text("identity", "identity=shop", "for whose mail; identity=\"\" for the mail of all", filter.One(func(e *Entry) string { return e.Identity })).Or("user"),
		filter.Text("reason", "reason=complaint", "why it is on the list", filter.One(func(e *Entry) string { return e.Reason })),
	}, filter.Times("it was put on the list", func(e *Entry) time.Time { return e.Since })),
}

// maxReason bounds the words of an entry, in characters.
const maxReason = 200

// complete makes an entry fit for the list, or says what is wrong with it.
func (l *List) complete(e *Entry) error {
	to, err := relay.ParsePath(e.Address)
	switch {
	case err != nil:
		return err
	case to.IsNull() || to.Domain() == "":
		return fmt.Errorf("%q is not an address: write it like user@example.com", relay.Clip(e.Address))
	}
	now := l.now().UTC().Truncate(time.Second)
	e.Address, e.Reason = to.String(), relay.ClipTo(relay.Sanitize(e.Reason), maxReason)
	e.Identity = relay.ClipTo(relay.Sanitize(e.Identity), maxReason)
	if e.Reason == "" {
		e.Reason = ReasonManual
	}
	if e.Since.IsZero() || e.Since.After(now) || e.Since.Unix() <= 0 {
		e.Since = now
	}
	if e.Expires.IsZero() {
		e.Expires = now.Add(l.life())
	}
	return nil
}

func (l *List) life() time.Duration {
	if cfg := l.cfg.Load(); cfg != nil {
		return cfg.Expires
	}
	return DefaultExpires
}

// DefaultExpires is the life of an entry that nobody gave another.
const DefaultExpires = 180 * 24 * time.Hour

// Add puts entries on the list, all or none, and says how many. It returns when they
// are on stable storage.
func (l *List) Add(entries []Entry) (int, error) {
	more := make([]record, 0, len(entries))
	var faults []error
	for i := range entries {
		if err := l.complete(&entries[i]); err != nil {
			faults = append(faults, err)
		}
		more = append(more, recordOf(entries[i]))
	}
	if len(faults) > 0 {
		return 0, errors.Join(faults...)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.file == nil {
		return 0, ErrOff
	}
	if len(more) == 1 {
		return 1, l.write(more, true)
	}
	return len(more), l.compact(more) // a whole file: a crash leaves all or none
}

// Remove takes the entries that f picks off the list, and what was noted of their
// failures.
func (l *List) Remove(f filter.Of[*Entry], dryRun bool) (removed []Entry, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.file == nil {
		return nil, ErrOff
	}
	now := l.now()
	var batch []record
	err = l.file.inForce(func(r *record) error {
		e := r.entry()
		if r.listed(now.Unix()) && f.Match(&e) {
			removed = append(removed, e)
			batch = append(batch, record{identity: r.identity, address: r.address, removed: true})
		}
		return nil
	})
	if err != nil || dryRun {
		return removed, err
	}
	return removed, l.write(batch, true)
}

// FilterFor is the filter that picks the entries of these addresses.
func FilterFor(addresses []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	return `to="` + escape.Replace(strings.Join(addresses, ",")) + `"`
}

// Look is Find in the files of a relay that may be running: it changes nothing. What cannot
// be read has no entries.
func Look(dir, identity string, to relay.Path) (found *Entry) {
	f := &file{}
	var err error
	if f.f, err = os.Open(Path(dir)); err != nil {
		return nil
	}
	defer f.f.Close()
	info, err := f.f.Stat()
	if err != nil {
		return nil
	}
	address, now := to.String(), time.Now().Unix()
	last := map[string]record{} // by the identity
	_ = f.each(info.Size(), func(_ int64, r *record, _ int) error {
		if r.address == address && (r.identity == "" || r.identity == identity) {
			last[r.identity] = *r
		}
		return nil
	})
	for _, id := range [...]string{identity, ""} {
		if r, ok := last[id]; ok && r.listed(now) {
			e := r.entry()
			return &e
		}
	}
	return nil
}
