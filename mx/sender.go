package mx

import (
	"fmt"
	"io"
	"strings"

	"dawk/relay"
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
	return !c.mailbox.IsNull() && (c.Provider != ProviderOther || c.Rewrite == RewriteAlways)
}

// maySend says whether the mailbox may send as p, so far as the configuration
// tells.
func (c *compiled) maySend(p relay.Path) bool {
	if p.IsNull() || p.Domain() == c.mailbox.Domain() && strings.EqualFold(p.Local(), c.mailbox.Local()) {
		return true
	}
	return len(c.sendAs) > 0 && matchAny(c.sendAs, p, p.Domain())
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
			h, err := parseHead(content)
			if err != nil {
				return "", err
			}
			from, read = h.from(), true
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
	a.seven.close() // it was made of what may change now
	a.msg, a.content, a.dressed = a.task.Message, a.task.Content, false
	if r == nil || r.mailbox.IsNull() {
		return nil
	}
	mine := ours(a.msg) && r.speaks()
	if !mine && !denied && r.Rewrite != RewriteAlways && !(r.Rewrite == RewriteDenied && r.SendAsKnown) {
		return nil
	}
	h, err := parseHead(a.content)
	if err != nil {
		return err
	}
	if !mine && !denied && r.maySend(a.msg.From) && h.known() && r.maySend(h.from()) {
		return nil
	}
	m := *a.msg
	content := h.as(r.mailbox, a.content, m.From.IsNull())
	m.From, m.UTF8Header = r.mailbox, m.UTF8Header || !r.mailbox.ASCII()
	if a.msg.From.IsNull() {
		// It must not bring anything back: the mailbox is somebody's (RFC 3461 §4.1).
		m.Recipients = make([]relay.Recipient, len(a.msg.Recipients))
		copy(m.Recipients, a.msg.Recipients)
		for i := range m.Recipients {
			m.Recipients[i].Notify = relay.NotifyNever
		}
	}
	if a.t.cfg.Sign != nil {
		fields, err := a.t.cfg.Sign(r.Name, content)
		if err != nil {
			return fmt.Errorf("sign the message anew: %w", err)
		}
		content.head = append(fields, content.head...)
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

// letterHead is the header of a message, a field at a time.
type letterHead struct {
	fields []string // as they are, with folds and line ends
	size   int64    // octets
}

func parseHead(content relay.Content) (letterHead, error) {
	var h letterHead
	b, err := relay.ReadHeader(content)
	if err != nil {
		return h, err
	}
	for line := range strings.Lines(string(b)) {
		if line == "\r\n" || line == "\n" {
			break
		}
		h.size += int64(len(line))
		if last := len(h.fields) - 1; (line[0] == ' ' || line[0] == '\t') && last >= 0 {
			h.fields[last] += line
		} else {
			h.fields = append(h.fields, line)
		}
	}
	return h, nil
}

// field is the name of a field, in lower case, and its value as it is.
func field(raw string) (name, value string) {
	name, value, _ = strings.Cut(raw, ":")
	return strings.ToLower(strings.TrimRight(name, " \t")), value
}

// value is that of the first field of a name.
func (h letterHead) value(name string) (string, bool) {
	for _, raw := range h.fields {
		if n, v := field(raw); n == name {
			return v, true
		}
	}
	return "", false
}

var unfolded = strings.NewReplacer("\r\n", "", "\n", "")

// from is the one mailbox of From; null if there is none, or nobody could say
// which.
func (h letterHead) from() relay.Path {
	v, _ := h.value("from")
	address, ok := relay.OneMailbox(strings.TrimSpace(unfolded.Replace(v)))
	if !ok {
		return relay.Path{}
	}
	p, err := relay.ParsePath(address)
	if err != nil {
		return relay.Path{}
	}
	return p
}

func (h letterHead) known() bool { return !h.from().IsNull() }

// maxFieldLine is the longest line of a header, with CRLF (RFC 5322 §2.1.1).
const maxFieldLine = 1000

// as is the message sent by another mailbox: what was From answers go to,
// unless the author wants them elsewhere. Signatures of the old From go, since
// they would arrive broken. mute: nobody answers it by himself.
func (h letterHead) as(mailbox relay.Path, content relay.Content, mute bool) *spliced {
	var b strings.Builder
	_, answers := h.value("reply-to")
	_, original := h.value("x-original-from")
	_, auto := h.value("auto-submitted")
	had := false
	add := func(name, value string) {
		first, _, _ := strings.Cut(value, "\n")
		if len(name)+1+len(first)+1 <= maxFieldLine {
			b.WriteString(name + ":" + value)
		}
	}
	for _, raw := range h.fields {
		switch name, value := field(raw); name {
		case "from":
			if had {
				continue
			}
			had = true
			b.WriteString("From:" + displayName(value) + " " + mailbox.Wire() + "\r\n")
			if !answers && !mute && !h.from().IsNull() {
				add("Reply-To", value)
			}
			if !original {
				add("X-Original-From", value)
			}
		case "sender":
			add("X-Original-Sender", value)
		case "dkim-signature":
		default:
			b.WriteString(raw)
		}
	}
	if !had {
		b.WriteString("From: " + mailbox.Wire() + "\r\n")
	}
	if mute && !auto {
		b.WriteString("Auto-Submitted: auto-generated\r\n") // RFC 3834 §5
	}
	return &spliced{head: []byte(b.String()), body: content, from: h.size}
}

// displayName is what stands before the address in From, as it is. A name that
// shows an address is left out: receivers take that for a lie.
func displayName(value string) string {
	i := strings.LastIndexByte(value, '<')
	if i < 0 {
		return ""
	}
	name := strings.TrimRight(value[:i], " \t\r\n")
	if strings.ContainsRune(name, '@') || len(unfolded.Replace(name)) > 400 {
		return ""
	}
	return name
}

// spliced is content with another header.
type spliced struct {
	head []byte
	body relay.Content
	from int64 // where in body the rest begins
}

// Size implements relay.Content.
func (s *spliced) Size() int64 { return int64(len(s.head)) + s.body.Size() - s.from }

// ReadAt implements io.ReaderAt.
func (s *spliced) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(s.head)) {
		if n = copy(p, s.head[off:]); n == len(p) {
			return n, nil
		}
	}
	rest := off + int64(n) - int64(len(s.head)) + s.from
	if rest >= s.body.Size() {
		return n, io.EOF
	}
	more, err := s.body.ReadAt(p[n:], rest)
	return n + more, err
}

// Close does nothing: whoever made the content closes it.
func (s *spliced) Close() error { return nil }
