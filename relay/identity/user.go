package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dawk/relay"
	"dawk/relay/tomlfile"
)

// User is one [[user]] of users.toml: who logged in, and what it may do.
type User struct {
	Name           string         // as the file spells it
	Networks       []netip.Prefix // from which it may log in; empty: from everywhere
	MaxMessageSize int64          // octets; 0: the server's limit
	MaxAge         time.Duration  // lifetime of its mail in the queue; 0: the queue's
	Policy
	Certificates []string // names in client certificates that may log in without the password
	SignedReturn bool     // its mail leaves with signed return addresses

	called   string // by refusals; "": this login
	password *passwordHash
	tokens   []string // their hashes
}

// Policy is the set of rules for a user's mail. Zero limits mean no limit.
type Policy struct {
	Senders                             []Sender   // whom it may send as; empty: anybody
	FromAny                             bool       // Senders bind the reverse-path alone, and the header names anybody
	PerHour, PerDay                     int        // messages
	Burst                               int        // messages at once, of PerHour; 0: all of them
	RecipientsPerHour, RecipientsPerDay int        // recipients
	RewriteFrom                         relay.Path // in place of reverse-path and From field; null: as they are
	Hold                                bool       // its mail begins on hold
	Redirect                            relay.Path // in place of every recipient; null: none
	NoDelayNotes                        bool       // no delay notices
	HoldCopies                          int        // recipients of one text in an hour, before the user is put on hold
	HoldNewRecipients                   int        // recipients never written to before in an hour, likewise
	Priority                            relay.Priority
	Unsubscribe                         string // the link of List-Unsubscribe fields, with a place for the token; "": none are added
}

// PasswordKind is "argon2id" or "bcrypt".
func (u *User) PasswordKind() string { return u.password.kind() }

func (u *User) mayComeFrom(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	for _, n := range u.Networks {
		if n.Contains(client) {
			return true
		}
	}
	return len(u.Networks) == 0
}

// fileUser is a [[user]] as it is written.
type fileUser struct {
	Name           string          `toml:"name"`
	Password       string          `toml:"password"`
	Senders        []Sender        `toml:"senders"`
	From           string          `toml:"from"`
	Networks       []relay.Network `toml:"networks"`
	MaxMessageSize relay.Size      `toml:"max_message_size"`
	MaxAge         relay.Duration  `toml:"max_age"`
	Certificates   []string        `toml:"certificates"`

	PerHour           int    `toml:"per_hour"`
	PerDay            int    `toml:"per_day"`
	Burst             int    `toml:"burst"`
	RecipientsPerHour int    `toml:"recipients_per_hour"`
	RecipientsPerDay  int    `toml:"recipients_per_day"`
	RewriteFrom       string `toml:"rewrite_from"`
	Hold              bool   `toml:"hold"`
	Redirect          string `toml:"redirect"`
	DelayNotice       bool   `toml:"delay_notice"`
	HoldCopies        int    `toml:"hold_copies"`
	HoldNewRecipients int    `toml:"hold_new_recipients"`
	Priority          string `toml:"priority"`
	ReturnAddress     string `toml:"return_address"`
	Unsubscribe       string `toml:"unsubscribe"`

	Tokens []string `toml:"tokens"`
}

// SetDefaults is called for each [[user]] before its keys.
func (f *fileUser) SetDefaults() { f.DelayNotice = true }

const (
	fromAny      = "any"    // the value of from
	returnSigned = "signed" // the value of return_address
)

type usersFile struct {
	Users []fileUser `toml:"user"`
}

// parse reads a whole file; its error is a *tomlfile.Error with every fault.
func parse(name string, data []byte) (*table, error) {
	var file usersFile
	doc, err := tomlfile.Parse(name, data, &file)
	if err != nil {
		return nil, err
	}
	t := &table{byName: map[string]*User{}, byCert: map[string]*User{}, byToken: map[string]*User{}}
	lines := map[string]int{}
	for i := range file.Users {
		at := fmt.Sprintf("user[%d]", i)
		u := file.Users[i].check(doc, at)
		key := strings.ToLower(u.Name)
		if first := lines[key]; first > 0 && u.Name != "" {
			doc.Fault(at+".name", "the user %q is here twice: also in line %d", u.Name, first)
			continue
		}
		lines[key] = doc.Line(at + ".name")
		for j, name := range u.Certificates {
			name = strings.ToLower(name)
			if other := t.byCert[name]; other != nil && other != u || name == "" {
				doc.Fault(fmt.Sprintf("%s.certificates[%d]", at, j), "certificates: %q is empty, or another user's already", name)
			}
			t.byCert[name] = u
		}
		t.byName[key] = u
		for j, token := range u.tokens {
			if other := t.byToken[token]; other != nil {
				doc.Fault(fmt.Sprintf("%s.tokens[%d]", at, j), "tokens: the same token is here twice, also with %q", other.Name)
			}
			t.byToken[token] = u
		}
		t.list = append(t.list, u)
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return t, nil
}

// check turns a [[user]] into a User and reports what is wrong with it.
func (f *fileUser) check(doc *tomlfile.Document, at string) *User {
	u := &User{Name: f.Name, Networks: relay.Prefixes(f.Networks), MaxMessageSize: int64(f.MaxMessageSize), MaxAge: time.Duration(f.MaxAge), Certificates: f.Certificates}
	switch {
	case f.Name == "" && doc.Clean(at):
		doc.Fault(at, "this [[user]] has no name")
	case f.Name != "":
		if err := CheckName(f.Name); err != nil {
			doc.Fault(at+".name", "%v", err)
		}
	}
	if f.Password == "" {
		if doc.Clean(at) {
			doc.Fault(at, "this [[user]] has no password: set one with `dawk user passwd %s`", relay.Sanitize(f.Name))
		}
	} else if h, err := parseHash(f.Password); err != nil {
		doc.Fault(at+".password", "password: %v", err)
	} else {
		u.password = h
	}
	if key := at + ".from"; doc.Has(key) && doc.Clean(key) && f.From != fromAny {
		doc.Fault(key, "from = %q is unknown; the only value is %q: leave the key out to bind the header by senders", relay.Clip(f.From), fromAny)
	}
	if key := at + ".return_address"; doc.Has(key) && doc.Clean(key) && f.ReturnAddress != returnSigned {
		doc.Fault(key, "return_address = %q is unknown; the only value is %q: leave the key out to send with the reverse-path as it is", relay.Clip(f.ReturnAddress), returnSigned)
	}
	u.SignedReturn = f.ReturnAddress == returnSigned
	for j, token := range f.Tokens {
		if err := checkToken(token); err != nil {
			doc.Fault(fmt.Sprintf("%s.tokens[%d]", at, j), "tokens: %v", err)
		}
	}
	u.tokens = f.Tokens
	u.Policy = f.policy(doc, at)
	// An empty list would allow everything, which is not what its author means.
	for key, n := range map[string]int{"senders": len(f.Senders), "networks": len(f.Networks), "certificates": len(f.Certificates)} {
		if n == 0 && doc.Has(at+"."+key) && doc.Clean(at+"."+key) {
			doc.Fault(at+"."+key, "%s is an empty list: leave the key out to allow all", key)
		}
	}
	return u
}

// policy reads the keys of a Policy.
func (f *fileUser) policy(doc *tomlfile.Document, at string) Policy {
	p := Policy{Senders: f.Senders, FromAny: f.From == fromAny, PerHour: f.PerHour, PerDay: f.PerDay, Burst: f.Burst,
		RecipientsPerHour: f.RecipientsPerHour, RecipientsPerDay: f.RecipientsPerDay,
		Hold: f.Hold, NoDelayNotes: !f.DelayNotice, HoldCopies: f.HoldCopies, HoldNewRecipients: f.HoldNewRecipients}
	for _, n := range p.numbers() {
		if key := at + "." + n.key; *n.value < 1 && doc.Has(key) && doc.Clean(key) {
			doc.Fault(key, "%s is %d; it must be at least 1: leave the key out for no limit", n.key, *n.value)
		}
	}
	if f.Burst > 0 && (f.PerHour == 0 || f.Burst > f.PerHour) {
		doc.Fault(at+".burst", "burst is the part of per_hour that may come at once: it needs per_hour, and may not be more")
	}
	if key := at + ".unsubscribe"; doc.Has(key) && doc.Clean(key) {
		if why := badLink(f.Unsubscribe); why != "" {
			doc.Fault(key, "unsubscribe: %s: write it like \"https://example.org/unsubscribe/{token}\"", why)
		}
	}
	p.Unsubscribe = f.Unsubscribe
	priority, err := relay.ParsePriority(f.Priority)
	if err != nil {
		doc.Fault(at+".priority", "priority: %v", err)
	}
	mailbox := func(key, value string) relay.Path {
		if !doc.Has(at + "." + key) {
			return relay.Path{}
		}
		box, err := relay.ParsePath(value)
		switch {
		case err != nil:
			doc.Fault(at+"."+key, "%s: %v: write it like \"user@example.org\"", key, err)
		case box.IsNull() || box.Domain() == "" || !box.ASCII():
			doc.Fault(at+"."+key, "%s must be a whole address in ASCII, like \"user@example.org\"", key)
		}
		return box
	}
	p.RewriteFrom, p.Redirect, p.Priority = mailbox("rewrite_from", f.RewriteFrom), mailbox("redirect", f.Redirect), priority
	return p
}

// badLink says what is wrong with the link of List-Unsubscribe fields (RFC 8058 §3.1); "":
// nothing.
func badLink(link string) string {
	const place, most = "{token}", 400
	u, err := url.Parse(strings.ReplaceAll(link, place, "x"))
	switch {
	case err != nil:
		return "it is no URL"
	case u.Scheme != "https" || u.Host == "":
		return "it must be an https URL"
	case strings.Count(link, place) != 1 || strings.Contains(u.Host, place):
		return "it must have {token} once, behind the host"
	case len(link) > most || strings.ContainsFunc(link, func(r rune) bool { return r <= ' ' || r > '~' || r == '<' || r == '>' || r == ',' }):
		return fmt.Sprintf("it may have at most %d printable ASCII characters, none of them <, > or a comma", most)
	}
	return ""
}

// number is a key of a [[user]] whose value is one.
type number struct {
	key   string
	value *int
}

func (p *Policy) numbers() []number {
	return []number{{"per_hour", &p.PerHour}, {"per_day", &p.PerDay}, {"burst", &p.Burst}, {"recipients_per_hour", &p.RecipientsPerHour},
		{"recipients_per_day", &p.RecipientsPerDay}, {"hold_copies", &p.HoldCopies}, {"hold_new_recipients", &p.HoldNewRecipients}}
}

// CheckName says what is wrong with a user's name.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > maxName:
		return fmt.Errorf("the name is longer than %d octets", maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == 0x2028 || r == 0x2029 }):
		return fmt.Errorf("the name %q holds spaces or control characters", relay.Sanitize(name))
	case strings.HasPrefix(name, "-"):
		return fmt.Errorf("the name %q begins with a hyphen", name)
	case strings.HasPrefix(strings.ToLower(name), "network:"), strings.HasPrefix(strings.ToLower(name), "local:"), strings.EqualFold(name, "dawk"):
		return fmt.Errorf("the name %q is dawk's own: choose another", name)
	}
	return nil
}
