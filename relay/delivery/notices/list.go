package notices

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"sort"
	"time"

	"dawk/bounce"
	"dawk/relay"
)

// Bounds of one list; further rows go into the next one.
const (
	maxList      = 1000    // recipients
	maxListBytes = 4 << 20 // octets of rows
)

// retryList is how long a list waits that could not be read or committed.
const retryList = time.Minute

// kept is a row as the store has it.
type kept struct {
	To    string    `json:"to"`
	Until time.Time `json:"until"` // when its list is due

	Of   relay.QueueID `json:"of,omitzero"` // the message; zero in rows of earlier versions
	Kind bounce.Kind   `json:"kind,omitempty"`
	bounce.Row
}

func encode(k kept) []byte {
	b, err := json.Marshal(k)
	if err != nil {
		panic(err) // cannot fail: every value has a JSON form
	}
	return b
}

func (n *Notices) decode(r relay.DigestRow) (k kept, to relay.Path, ok bool) {
	err := json.Unmarshal(r.Data, &k)
	if err == nil {
		to, err = relay.ParsePath(k.To)
	}
	if err != nil || to.IsNull() {
		n.Log.Error("a row of a digest cannot be read; it stays in the queue", "row", r.ID, "error", err)
		return k, to, false
	}
	return k, to, true
}

// EndOf is the message whose end a row tells of. It is zero where the row tells of a delay, or an
// earlier version wrote it.
func (n *Notices) EndOf(r relay.DigestRow) relay.QueueID {
	k, _, ok := n.decode(r)
	if !ok || k.Kind == bounce.KindDelayed {
		return relay.QueueID{}
	}
	return k.Of
}

// Kept is told of rows in the store: at the start of all, later of those just committed.
func (n *Notices) Kept(now time.Time, rows ...relay.DigestRow) {
	for _, r := range rows {
		if k, to, ok := n.decode(r); ok {
			n.due(to, now, k.Until)
		}
	}
}

// List is one list, to be committed.
type List struct {
	Settlement relay.Settlement // it settles no Delivery
	Event      relay.Event      // to be told after the commit
}

// Lists yields the lists that are due, from all rows of the store; there is one pass at a time. If
// a pass is ended early, the rest comes in a later one; after an error it ends by itself.
func (n *Notices) Lists(now time.Time, rows iter.Seq2[relay.DigestRow, error]) iter.Seq2[List, error] {
	return func(yield func(List, error) bool) {
		due := n.takeDue(now)
		if len(due) > 0 && !n.lists(now, due, rows, yield) {
			for to := range due {
				n.due(to, now, now.Add(retryList))
			}
		}
	}
}

// draft is a list that is being collected.
type draft struct {
	to                relay.Path
	rows              []bounce.Row
	ids               []relay.QueueID
	recipients, bytes int
}

// A draft is sorted by when its rows were written.
func (l *draft) Len() int           { return len(l.ids) }
func (l *draft) Less(i, j int) bool { return l.ids[i].Key < l.ids[j].Key }
func (l *draft) Swap(i, j int) {
	l.ids[i], l.ids[j] = l.ids[j], l.ids[i]
	l.rows[i], l.rows[j] = l.rows[j], l.rows[i]
}

// lists says whether every list was yielded and accepted.
func (n *Notices) lists(now time.Time, due map[relay.Path]bool, rows iter.Seq2[relay.DigestRow, error], yield func(List, error) bool) bool {
	drafts := make(map[relay.Path]*draft)
	for r, err := range rows {
		if err != nil {
			yield(List{}, err)
			return false
		}
		k, to, ok := n.decode(r)
		if !ok || !due[to] {
			continue
		}
		l := drafts[to]
		if l != nil && (l.recipients+k.Recipients > maxList || l.bytes+len(r.Data) > maxListBytes) {
			if !yield(n.finish(now, l), nil) {
				return false
			}
			l = nil
		}
		if l == nil {
			l = &draft{to: to}
			drafts[to] = l
		}
		l.rows, l.ids = append(l.rows, k.Row), append(l.ids, r.ID)
		l.recipients, l.bytes = l.recipients+k.Recipients, l.bytes+len(r.Data)
	}
	rest := slices.SortedFunc(maps.Values(drafts), func(a, b *draft) int { return cmp.Compare(a.ids[0].Key, b.ids[0].Key) })
	for _, l := range rest {
		if !yield(n.finish(now, l), nil) {
			return false
		}
	}
	return true
}

func (n *Notices) finish(now time.Time, l *draft) List {
	sort.Sort(l) // a store may yield its latest rows apart from the others
	notice := n.list(now, l.to, l.rows)
	return List{Settlement: relay.Settlement{Notices: []relay.Notice{notice}, Listed: l.ids},
		Event: relay.Event{Kind: relay.EventNotified, Time: now, ID: notice.Message.ID, NoticeID: notice.Message.ID,
			NoticeKind: KindDigest, Identity: bounce.Identity, Recipient: l.to, Count: len(l.rows)}}
}

// KindDigest is the NoticeKind of a list.
const KindDigest = "digest"
