package bounce

import "dawk/relay"

// Situation is what Wanted needs to know besides the outcomes.
type Situation struct {
	DelayDue bool // the time of the delay notice has come and none was sent yet (State.DelayNoticed)
	Delayed  bool // the sender was told of the delay before (State.DelayNoticed)
	Passed   bool // the next hop offers DSN and was given the parameters (Result.DSN): reporting success is its task
}

// Verdict says who must be told what.
type Verdict struct {
	Notices []Want          // at most one of each kind, none empty
	Dropped []relay.Outcome // failures that nobody can be told of (EventDropped)
}

// Want is one notice to be composed.
type Want struct {
	Kind     Kind
	Outcomes []relay.Outcome
}

// Wanted decides which notices the outcomes of one attempt, or of one act of
// the operator, cause; [To] says who gets them.
//
//   - A message with the null reverse-path, our own notices among them, never
//     causes a notice to its sender (RFC 5321 §6.1, RFC 3461 §5.2.1 (d)).
//     Its failures go to the postmaster as a double bounce, whatever NOTIFY
//     says (§5.2 wants that, and §5.2.6 (b) allows it); a failure on the way to
//     the postmaster, or without one, is Dropped.
//   - NOTIFY is obeyed by recipient (RFC 3461 §4.1); without it failure and
//     delay are reported, success is not.
//   - Success is reported only where no next hop can (RFC 3461 §5.2.2); a
//     delivery to a mailbox is ours to report always.
//   - With Config.TellLate, success that nobody asked for is reported where the
//     sender was told of a delay before (KindLate).
//   - ActionDeleted is told to nobody: the operator asked for silence.
func Wanted(c Config, m *relay.Message, outcomes []relay.Outcome, s Situation) Verdict {
	var v Verdict
	by := map[Kind][]relay.Outcome{}
	for _, o := range outcomes {
		kind, told := wantedFor(c, m, o, s)
		switch {
		case told:
			by[kind] = append(by[kind], o)
		case kind == KindDoubleBounce:
			v.Dropped = append(v.Dropped, o)
		}
	}
	for _, k := range Kinds() {
		if len(by[k]) > 0 {
			v.Notices = append(v.Notices, Want{Kind: k, Outcomes: by[k]})
		}
	}
	return v
}

// wantedFor decides for one recipient. A KindDoubleBounce that is not sent is a failure that nobody
// is told of.
func wantedFor(c Config, m *relay.Message, o relay.Outcome, s Situation) (kind Kind, told bool) {
	r := m.Recipients[o.Recipient]
	null := m.From.IsNull() || m.Notice
	switch o.Action {
	case relay.ActionFailed, relay.ActionExpired:
		if null {
			return KindDoubleBounce, !c.Postmaster.IsNull() && withHost(c, r.Path) != withHost(c, c.Postmaster)
		}
		return KindFailed, r.Notify.Failure()
	case relay.ActionDelayed:
		return KindDelayed, s.DelayDue && !null && !m.NoDelayNotes && r.Notify.Delay()
	case relay.ActionRelayed:
		if r.Notify.Success() {
			return KindRelayed, !s.Passed && !null
		}
		return KindLate, late(c, m, r, s)
	case relay.ActionDelivered, relay.ActionExpanded:
		if r.Notify.Success() {
			return KindRelayed, !null
		}
		return KindLate, late(c, m, r, s)
	}
	return "", false
}

// late says whether the sender is to hear that the delay of r has ended: it
// must have heard of the delay itself.
func late(c Config, m *relay.Message, r relay.Recipient, s Situation) bool {
	return c.TellLate && s.Delayed && !m.From.IsNull() && !m.Notice && !m.NoDelayNotes && r.Notify.Delay()
}

// To is who gets a notice of this kind about m: its sender, or the postmaster.
func To(c Config, kind Kind, m *relay.Message) relay.Path {
	if kind != KindDoubleBounce {
		return m.From
	}
	return withHost(c, c.Postmaster)
}

// withHost gives a bare "postmaster" our own domain.
func withHost(c Config, p relay.Path) relay.Path {
	if p.Domain() != "" || p.IsNull() {
		return p
	}
	if q, err := p.WithDomain(c.Hostname); err == nil {
		return q
	}
	return p
}
