package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"dawk/relay"
)

// Query picks records. Its zero value picks all. Of several values of one
// field any will do.
type Query struct {
	IDs        []relay.QueueID
	From, To   []string // an address, "@domain", or "<>" for the null reverse-path
	Identities []string
	Kinds      []relay.EventKind
	Reasons    []string
	Hosts      []string
	Since      time.Time // zero: from the beginning
	Until      time.Time // zero: to the end
}

// QueryHelp describes what ParseQuery reads.
const QueryHelp = `ID                      a queue ID
to=sales@example.com    the recipient; to=@example.com for a domain
from=office@example.org the sender; from=<> for notices
identity=app            who submitted it
is=failed               relayed, delivered, delayed, failed, expired, deleted, notified, dropped
reason=mailbox_full     the category of the reply
host=mx1.example.com    the server that answered
since=2d until=1h       an age, or a time: 2026-03-02, 2026-03-02T09:00:00Z or "2026-03-02 09:00:00 UTC"
Several values of one are joined by commas: is=failed,expired`

// ParseQuery reads terms as QueryHelp describes them. now is what ages count
// from.
func ParseQuery(terms []string, now time.Time) (q Query, err error) {
	for _, t := range terms {
		name, value, found := strings.Cut(t, "=")
		values := strings.Split(value, ",")
		switch {
		case !found:
			var id relay.QueueID
			if id, err = relay.ParseQueueID(t); err == nil {
				q.IDs = append(q.IDs, id)
			} else {
				err = errors.New("it is neither a queue ID nor of the form name=value")
			}
		case value == "":
			err = errors.New("it has no value")
		case name == "to":
			q.To, err = addresses(q.To, values)
		case name == "from":
			q.From, err = addresses(q.From, values)
		case name == "identity":
			q.Identities = append(q.Identities, values...)
		case name == "reason":
			q.Reasons = append(q.Reasons, values...)
		case name == "host":
			q.Hosts = append(q.Hosts, values...)
		case name == "is":
			for _, v := range values {
				if !kept(relay.EventKind(v)) {
					err = fmt.Errorf("the history knows no %q", relay.Sanitize(v))
				}
				q.Kinds = append(q.Kinds, relay.EventKind(v))
			}
		case name == "since":
			q.Since, err = moment(value, now)
		case name == "until":
			q.Until, err = moment(value, now)
		default:
			err = errors.New("there is no such term: use to, from, identity, is, reason, host, since or until")
		}
		if err != nil {
			return Query{}, fmt.Errorf("%q: %w", relay.Sanitize(t), err)
		}
	}
	return q, nil
}

// addresses puts domains into the form that records have.
func addresses(list, values []string) ([]string, error) {
	for _, v := range values {
		local, domain, found := cutLast(v, "@")
		switch {
		case v == "<>":
		case !found:
			return nil, errors.New("an address has an @; a domain alone is written @example.com")
		default:
			d, err := relay.NormalizeDomain(domain)
			if err != nil {
				return nil, err
			}
			v = local + "@" + d
		}
		list = append(list, v)
	}
	return list, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// moment is an age ("2d", "90m") or a time.
func moment(s string, now time.Time) (time.Time, error) {
	if age, err := relay.ParseDuration(s); err == nil {
		return now.Add(-time.Duration(age)), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339,
		"2006-01-02 15:04", time.DateTime, "2006-01-02 15:04:05 MST"} { // the last as the history prints it
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New(`it is neither an age as "2d" or "90m" nor a time as "2026-03-02" or "2026-03-02T09:00:00Z"`)
}

// Match says whether q picks r.
func (q *Query) Match(r *Record) bool {
	return (q.IDs == nil || slices.Contains(q.IDs, r.ID) || slices.Contains(q.IDs, r.NoticeID)) &&
		matchAddress(q.From, r.From) && matchAddress(q.To, r.Recipient) &&
		matchWord(q.Identities, r.Identity) && matchWord(q.Reasons, r.Reason) && matchWord(q.Hosts, r.Host) &&
		(q.Kinds == nil || slices.Contains(q.Kinds, r.Kind)) &&
		(q.Since.IsZero() || !r.Time.Before(q.Since)) && (q.Until.IsZero() || r.Time.Before(q.Until))
}

func matchWord(list []string, v string) bool {
	return list == nil || slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, v) })
}

func matchAddress(list []string, p relay.Path) bool {
	return list == nil || slices.ContainsFunc(list, func(s string) bool {
		switch {
		case s == "<>":
			return p.IsNull()
		case s[0] == '@':
			return p.Domain() == s[1:]
		}
		return strings.EqualFold(p.String(), s)
	})
}

// sign is octets that every line has which q picks; nil: none are known. It
// spares the reading of most lines.
func (q *Query) sign() []byte {
	for _, list := range [][]string{q.To, q.From} {
		if len(list) == 1 && list[0] != "<>" {
			_, domain, _ := cutLast(list[0], "@")
			return []byte("@" + domain + `"`)
		}
	}
	if len(q.IDs) == 1 {
		return []byte(q.IDs[0].String())
	}
	return nil
}

// begin is before every record that q picks.
func (q *Query) begin() time.Time {
	t := q.Since
	if len(q.IDs) > 0 {
		first := slices.MinFunc(q.IDs, func(a, b relay.QueueID) int { return a.Time().Compare(b.Time()) })
		if at := first.Time().Add(-time.Minute); at.After(t) { // a clock that was set back a little
			t = at
		}
	}
	return t
}

// maxLine bounds a record, in octets; a longer line is none of ours.
const maxLine = 64 << 10

// Read gives every record that q picks, oldest first, until each returns an
// error, which it returns. Lines that cannot be read are left out: a crash may
// have cut one. A folder that is missing holds nothing.
func Read(dir string, q Query, each func(Record) error) error {
	files, err := listFiles(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the history cannot be read: %w", err)
	}
	for _, f := range files {
		if f.changed.Add(time.Minute).Before(q.begin()) || !q.Until.IsZero() && f.began.Add(-time.Minute).After(q.Until) {
			continue
		}
		if err := readFile(f.path, q, each); err != nil {
			return err
		}
	}
	return nil
}

// Newest is the newest records that q picks, at most limit of them and oldest first,
// and how many it picks in all.
func Newest(dir string, q Query, limit int) (list []Record, found int, err error) {
	var ring []Record // the oldest come first: it keeps the last
	err = Read(dir, q, func(r Record) error {
		if found++; len(ring) < limit {
			ring = append(ring, r)
		} else {
			ring[(found-1)%limit] = r
		}
		return nil
	})
	if found > limit {
		ring = slices.Concat(ring[found%limit:], ring[:found%limit])
	}
	return ring, found, err
}

func readFile(path string, q Query, each func(Record) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // pruned meanwhile
	}
	if err != nil {
		return fmt.Errorf("the history cannot be read: %w", err)
	}
	defer f.Close()
	sign, r := q.sign(), bufio.NewReaderSize(f, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("the history cannot be read: %s: %w", path, err)
		}
		var rec Record
		if (sign == nil || bytes.Contains(line, sign)) && json.Unmarshal(line, &rec) == nil && q.Match(&rec) {
			if p := &rec.Reply; p.Code == 0 && p.Stage != "" && p.Cause == "" { // written before there were causes
				*p = p.Parted()
			}
			if err := each(rec); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// Of is all that is known of one message, oldest first.
func (s *Store) Of(id relay.QueueID) (events []relay.Event, err error) {
	s.Flush()
	err = Read(s.opt.Dir, Query{IDs: []relay.QueueID{id}}, func(r Record) error {
		if r.ID == id {
			if !r.Arrival.IsZero() {
				r.Age = r.Time.Sub(r.Arrival)
			}
			events = append(events, r.Event)
		}
		return nil
	})
	return events, err
}
