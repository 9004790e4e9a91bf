package mx

import (
	"fmt"
	"slices"
	"strings"

	"dawk/mx/letterhead"
	"dawk/mx/match"
	"dawk/relay"
	"dawk/relay/replies"
)

// A smart host that knows its users by their mailboxes lets each send only as
// itself, and as those addresses that its administrator allows. Here is what a
// route knows of that, and how mail of others is made to be the mailbox's.

// Rewrite says when mail on a route is sent as the mailbox that logs in,
// whatever its From is.
type Rewrite uint8

// The values, with the words of the configuration.
const (
	RewriteNever  Rewrite = iota // "never"
	RewriteDenied                // "denied": where Route.SendAs does not allow From, or the host has just refused it
	RewriteAlways                // "always": whenever From is another address than the route may send as
)

var rewriteWords = []string{"never", "denied", "always"}

// ParseRewrite reads a word of the configuration; "" is RewriteNever.
func ParseRewrite(s string) (Rewrite, error) {
	for i, word := range rewriteWords {
		if s == word {
			return Rewrite(i), nil
		}
	}
	if s == "" {
		return RewriteNever, nil
	}
	return 0, fmt.Errorf("rewrite_from %q is unknown: it is one of %s", s, strings.Join(rewriteWords, ", "))
}

// mailboxOf is the mailbox that a login stands for; null if its name is no
// address.
func mailboxOf(user string) relay.Path {
	p, err := relay.ParsePath(user)
	if err != nil || p.Domain() == "" {
		return relay.Path{}
	}
	return p
}

// speaks says whether the host knows its users by their mailboxes, so that
// mail without a sender may be refused there.
func (c *compiled) speaks() bool {
	return !c.mailbox.IsNull() && (c.Provider != replies.ProviderOther || c.Rewrite == RewriteAlways)
}

// maySend says whether the mailbox may send as p, so far as the configuration
// tells.
func (c *compiled) maySend(p relay.Path) bool {
	if p.IsNull() || p.Domain() == c.mailbox.Domain() && strings.EqualFold(p.Local(), c.mailbox.Local()) {
		return true
	}
	return len(c.sendAs) > 0 && match.Any(c.sendAs, p, p.Domain())
}

// ours says whether we wrote m ourselves, and nobody waits for an answer to it.
func ours(m *relay.Message) bool { return m.From.IsNull() && (m.Notice || m.Identity == "dawk") }

// Refuses says in a sentence why the smart host of a route would refuse m for
// its sender, as far as the configuration tells; "" if nothing does.
func (t *Transport) Refuses(m *relay.Message, content relay.Content) (string, error) {
	var from relay.Path
	read := false
	for i := range m.Recipients {
		r := t.route(m, m.Recipients[i].Path)
		if r == nil || !r.SendAsKnown || r.Rewrite != RewriteNever || r.mailbox.IsNull() || ours(m) {
			continue
		}
		if !read {
			h, err := letterhead.Parse(content)
			if err != nil {
				return "", err
			}
			from, read = h.From(), true
		}
		for _, p := range []relay.Path{m.From, from} {
			if !r.maySend(p) {
				return fmt.Sprintf("mail from %s cannot be sent here: the route %q logs in as %s, which may not send as that address; let the device send as %[3]s, or ask for the route's send_as or rewrite_from",
					p.Wire(), r.Name, r.mailbox.String()), nil
			}
		}
	}
	return "", nil
}

// dress decides as whom the message goes by r. It comes before any
// transaction; denied: the host refused it as it is.
func (a *attempt) dress(r *compiled, denied bool) error {
	a.seven.Close() // it was made of what may change now
	a.msg, a.content, a.dressed = a.task.Message, a.task.Content, false
	if r == nil {
		return nil
	}
	mine, as := ours(a.msg) && len(r.Via) > 0 && (a.t.notices.named(r) || slices.Contains(a.own, r)), r.mailbox
	if mine {
		as = a.t.noticeSender(r)
	}
	if as.IsNull() {
		return nil
	}
	if !mine && !denied && r.Rewrite != RewriteAlways && !(r.Rewrite == RewriteDenied && r.SendAsKnown) {
		return nil
	}
	h, err := letterhead.Parse(a.content)
	if err != nil {
		return err
	}
	if !mine && !denied && r.maySend(a.msg.From) && !h.From().IsNull() && r.maySend(h.From()) {
		return nil
	}
	m := *a.msg
	content := h.As(as, a.content, m.From.IsNull())
	m.From, m.UTF8Header = as, m.UTF8Header || !as.ASCII()
	if a.msg.From.IsNull() {
		// No notice about it may come back: the mailbox is a person's (RFC 3461 §4.1).
		m.Recipients = make([]relay.Recipient, len(a.msg.Recipients))
		copy(m.Recipients, a.msg.Recipients)
		for i := range m.Recipients {
			m.Recipients[i].Notify = relay.NotifyNever
		}
	}
	if a.t.cfg.Sign != nil {
		fields, err := a.t.cfg.Sign(r.Name, &m, content)
		if err != nil {
			return fmt.Errorf("sign the message anew: %w", err)
		}
		content.Head = append(fields, content.Head...)
	}
	a.msg, a.content, a.dressed = &m, content, true
	return nil
}

// again takes back what the host refused for its sender, where the route then
// sends as the mailbox. It says whether there is anything to send again.
func (a *attempt) again(r *compiled, denied []int) bool {
	if len(denied) == 0 || a.dressed || r.Rewrite != RewriteDenied || r.mailbox.IsNull() {
		return false
	}
	if err := a.dress(r, true); err != nil {
		return false // the refusal stands
	}
	for _, i := range denied {
		a.res.Replies[i] = relay.Reply{}
	}
	return true
}

// returnPath is the reverse-path for a recipient alone; null: that of the message. Mail
// that leaves as a mailbox has that mailbox's.
func (a *attempt) returnPath(pos int) relay.Path {
	if a.t.cfg.ReturnPath == nil || a.dressed || a.msg.From.IsNull() {
		return relay.Path{}
	}
	return a.t.cfg.ReturnPath(a.msg, a.task.Recipients[pos])
}
