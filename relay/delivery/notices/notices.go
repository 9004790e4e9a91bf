// Package notices decides what is told to whom and when about mail that
// failed, is delayed, or was handed on.
//
// Whoever settles a Delivery calls [Notices.Tell] once, which adds to the Settlement the notices
// that its outcomes call for; package bounce writes them. A notice is therefore committed together
// with the outcomes that it reports, and nothing waits for it. Recipients that end in one
// settlement share a notice; those of another settlement get their own.
//
// Too many notices to one mailbox become a list. Beyond Config.Limit in a span
// Tell adds a row in the place of a notice (relay.Settlement.Rows), which the
// store keeps. When the span ends, [Notices.Lists] reads the rows back and gives
// settlements that enqueue a list and remove the rows that it tells of. Memory
// holds, for each mailbox, only the count of the span and when the list is due;
// after a crash [Notices.Kept] learns that from the rows.
//
// The package has one lock, for the counts, and no goroutine; the caller gives
// the time. Begin reading at Tell.
package notices

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"dawk/bounce"
	"dawk/relay"
)

// Config of all notices.
type Config struct {
	Bounce bounce.Config
	Limit  int           // notices to one mailbox in Span; 0: no limit
	Span   time.Duration // 0: an hour

	Item   func(relay.QueueID) (*relay.Item, error)            // a message with its history; nil: none is known
	NextID func() relay.QueueID                                // of the store
	Room   func() error                                        // an error while the disk is nearly full: notices are short then, and with relay.ErrScant they become rows of lists; nil: it never is
	Sign   func(*relay.Message, relay.Content) ([]byte, error) // the fields that sign a notice; nil: they go unsigned
	Log    *slog.Logger                                        // of faults
}

// Notices tells senders, and the postmaster, what became of mail. Its methods
// may be called from any goroutine.
type Notices struct {
	Config
	compose   func(bounce.Config, bounce.Report) (relay.Notice, error)
	summarize func(bounce.Config, bounce.Report) (bounce.Row, error)
	digest    func(bounce.Config, bounce.DigestReport) (relay.Notice, error)

	*counts
}

// counts is how many notices each mailbox got.
type counts struct {
	mu        sync.Mutex
	mailboxes map[relay.Path]mailbox
	next      time.Time // not later than the first list that is due; zero: none is
	sweep     int       // size of mailboxes at which it is looked through
}

// With makes Notices with another Config that continue with the counts of n.
func (n *Notices) With(cfg Config) *Notices {
	cfg.Item, cfg.NextID, cfg.Log = n.Item, n.NextID, n.Log
	out := New(cfg)
	out.counts = n.counts
	return out
}

// New makes Notices.
func New(cfg Config) *Notices {
	if cfg.Span == 0 {
		cfg.Span = time.Hour
	}
	return &Notices{Config: cfg, compose: bounce.Compose, summarize: bounce.Summarize, digest: bounce.Digest,
		counts: &counts{mailboxes: make(map[relay.Path]mailbox)}}
}

// Cause is what notices need to know about a settlement.
type Cause struct {
	Attempted []int           // recipients for whom an attempt has just ended
	Outcomes  []relay.Outcome // what became of which recipients
	Situation bounce.Situation
	Until     time.Time // when we give up trying for those that are delayed
}

// Tell adds to s the notices that cause calls for, and returns the events that follow once s is
// committed. Then call [Notices.Kept] with s.Rows. A notice that cannot be composed is replaced by
// a plain one: in any case the sender is told in the commit that ends the mail.
func (n *Notices) Tell(now time.Time, c *relay.Claim, cause Cause, s *relay.Settlement) (events []relay.Event) {
	verdict := bounce.Wanted(n.Bounce, c.Message, cause.Outcomes, cause.Situation)
	for _, o := range verdict.Dropped {
		e := c.Event(relay.EventDropped, now)
		e.Recipient, e.Reply = c.Message.Recipients[o.Recipient].Path, o.Reply
		e.Reason = "no-postmaster"
		if !n.Bounce.Postmaster.IsNull() {
			e.Reason = "postmaster-failed"
		}
		events = append(events, e)
	}
	if len(verdict.Notices) == 0 {
		return events
	}
	attempted := n.attemptTimes(now, c.Message, cause.Attempted, verdict.Notices)
	var room error
	if n.Room != nil {
		room = n.Room()
	}
	for _, w := range verdict.Notices {
		r := bounce.Report{Kind: w.Kind, Message: c.Message, Outcomes: w.Outcomes, Attempted: attempted, Now: now, Content: c.Content,
			Short: room != nil}
		if w.Kind == bounce.KindDelayed {
			r.Until = cause.Until
		}
		e := c.Event(relay.EventNotified, now)
		e.NoticeKind, e.Recipient, e.Count = string(w.Kind), bounce.To(n.Bounce, w.Kind, c.Message), len(w.Outcomes)
		scant := errors.Is(room, relay.ErrScant)
		if until := n.take(e.Recipient, now, scant); until.IsZero() {
			r.ID = n.NextID()
			e.NoticeID = r.ID
			s.Notices = append(s.Notices, n.write(r, e.Recipient))
		} else {
			e.Next, e.Rule = until, listRule(scant)
			s.Rows = append(s.Rows, n.rows(r, e.Recipient, until, scant)...)
		}
		events = append(events, e)
	}
	return events
}

// attemptTimes says when the last attempt for each recipient ended: now for those just attempted,
// and from the history for others in the notices.
func (n *Notices) attemptTimes(now time.Time, m *relay.Message, attempted []int, wanted []bounce.Want) map[int]time.Time {
	at := make(map[int]time.Time, len(attempted))
	for _, r := range attempted {
		at[r] = now
	}
	earlier := func(o relay.Outcome) bool { return at[o.Recipient].IsZero() }
	if n.Item == nil || !slices.ContainsFunc(wanted, func(w bounce.Want) bool { return slices.ContainsFunc(w.Outcomes, earlier) }) {
		return at
	}
	item, err := n.Item(m.ID)
	if err != nil {
		return at // the notice goes without them: RFC 3464 §2.3.7 is optional
	}
	for _, history := range item.Attempts {
		for _, a := range history {
			for _, o := range a.Outcomes {
				if ended := a.At.Add(a.Took.Duration()); ended.After(at[o.Recipient]) {
					at[o.Recipient] = ended
				}
			}
		}
	}
	return at
}

// write composes and signs one notice.
func (n *Notices) write(r bounce.Report, to relay.Path) relay.Notice {
	notice, err := safely(func() (relay.Notice, error) { return n.compose(n.Bounce, r) })
	if err != nil || !complete(notice, r.ID) {
		n.Log.Error("a notice could not be composed; a plain one is sent instead",
			"qid", r.Message.ID, "notice", r.ID, "kind", r.Kind, "error", err)
		row := plainRow(r)
		notice = n.plain(r.ID, to, r.Now, row.Subject, row.Lines)
	}
	n.sign(&notice)
	return notice
}

func complete(n relay.Notice, id relay.QueueID) bool {
	return n.Message.ID == id && len(n.Message.Recipients) > 0 && len(n.Content) > 0
}

// maxRow is how many recipients a row has; more get several rows, so that no
// list is much larger than maxList.
const maxRow = 200

// maxScant is how many characters of a reply are in a row that is written because room is scant.
// The queue keeps room for one such row for each recipient, in any page.
const maxScant = 200

// rows are the rows for a later list.
func (n *Notices) rows(r bounce.Report, to relay.Path, until time.Time, scant bool) (all []relay.DigestRow) {
	most := maxRow
	if scant {
		most, r.Outcomes = 1, slices.Clone(r.Outcomes)
		for i := range r.Outcomes {
			r.Outcomes[i].Reply.Text = relay.ClipTo(r.Outcomes[i].Reply.Text, maxScant)
		}
	}
	for some := range slices.Chunk(r.Outcomes, most) {
		r.Outcomes, r.ID = some, n.NextID()
		row, err := safely(func() (bounce.Row, error) { return n.summarize(n.Bounce, r) })
		if err != nil {
			n.Log.Error("a row of a digest could not be composed; it will have plain words instead",
				"qid", r.Message.ID, "kind", r.Kind, "error", err)
			row = plainRow(r)
		}
		row.Full = scant
		all = append(all, relay.DigestRow{ID: r.ID, Data: encode(kept{To: to.String(), Until: until, Of: r.Message.ID, Kind: r.Kind, Row: row})})
	}
	return all
}

// listRule says why a notice waits for the next list.
func listRule(scant bool) string {
	if scant {
		return "told in a later list: the disk is full"
	}
	return "told in a later list: too many notices to this mailbox"
}

// plainRow is a row that does not need package bounce.
func plainRow(r bounce.Report) bounce.Row {
	row := bounce.Row{Subject: "About your message " + r.Message.ID.String() + " (" + string(r.Kind) + ")", Recipients: len(r.Outcomes)}
	for _, o := range r.Outcomes {
		row.Lines = append(row.Lines, r.Message.Recipients[o.Recipient].Path.String()+": "+string(o.Action)+": "+bounce.ForSender(o.Reply).String())
	}
	return row
}

// list writes and signs one list.
func (n *Notices) list(now time.Time, to relay.Path, rows []bounce.Row) relay.Notice {
	r := bounce.DigestReport{ID: n.NextID(), To: to, Limit: n.Limit, Rows: rows, Now: now}
	notice, err := safely(func() (relay.Notice, error) { return n.digest(n.Bounce, r) })
	if err != nil || !complete(notice, r.ID) {
		n.Log.Error("a list of notices could not be composed; a plain one is sent instead", "notice", r.ID, "rows", len(rows), "error", err)
		var lines []string
		for _, row := range rows {
			lines = append(append(lines, row.Subject), row.Lines...)
		}
		notice = n.plain(r.ID, to, now, strconv.Itoa(len(rows))+" notices about your messages", lines)
	}
	n.sign(&notice)
	return notice
}
