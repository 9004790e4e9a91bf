package relay

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FilterHelp is the filter grammar for people, as the commands print it.
const FilterHelp = `A filter is one or more terms; all of them must hold. Put terms with < or > in
single quotes, and give values with spaces double quotes as well.

  1RK3ZC8Q9D4-7ABC       this message; of several IDs, any (also id=…)
  to=@example.com        a recipient that is still open: address, @domain, or with *
  from=user@example.org  the sender; from=<> for bounces and other notices
  identity=printer       who submitted it: a user's name, or network:192.0.2.0/24
  client=192.0.2.7       the address it came from
  dest=example.com       its next hop: a domain or, where a smart host takes it,
                         route:NAME; to=@example.com is the recipients' domain
  route=office           the route it goes by; route=mx where there is none
  domain=example.com     the domain of a recipient that is still open
  provider=google        who takes its mail, as dawk queue providers has it
  state=deferred         held, active, suspended, deferred or ready: the first that holds
  reason=mailbox_full    the category of the last reply, as in the history
  msgid=<1@example.org>  its Message-ID, with or without the brackets
  age>1h  age<5d         time since it was accepted: s, m, h, d
  due<10m                time until its next try; what is on hold has none
  size>1MiB              KiB, MiB, GiB, or bytes
  attempts>=3            attempts made so far
  code=450  code=4xx     reply code of the last attempt; 0: no server spoke
  status=4.2.2           enhanced status of the last attempt, also 4.2.*
  reply~greylist         words in the last reply
  mta=*.example.net      the server that gave it
  held=true              on hold
  notice=true            written by dawk itself

Comparisons: = is, ~ contains (both ignore case; * in a value stands for
anything; a,b means either), != and !~ their opposites, and < <= > >= for
ages, sizes and numbers.`

// filterField is one name of the grammar.
type filterField struct {
	name    string
	also    []string
	ops     []string
	example string
	make    termMaker
}

// termMaker makes the decision of a term from its comparison and value.
type termMaker func(op, value string) (func(*Message, *Delivery, time.Time) bool, error)

var (
	textOps  = []string{"=", "!=", "~", "!~"}
	wordOps  = []string{"~", "!~"}
	orderOps = []string{"=", "!=", ">=", "<=", ">", "<"}
	rangeOps = []string{">=", "<=", ">", "<"}
	truthOps = []string{"=", "!="}
)

var filterFields = []filterField{
	{"to", []string{"rcpt", "recipient"}, textOps, "to=@example.com", mailboxes(eachRecipient)},
	{"from", []string{"sender"}, textOps, "from=user@example.org", mailboxes(one(func(m *Message, d *Delivery) string { return m.From.String() }))},
	{"identity", []string{"user"}, textOps, "identity=printer", texts(one(func(m *Message, d *Delivery) string { return m.Identity }))},
	{"client", nil, textOps, "client=192.0.2.7", texts(one(func(m *Message, d *Delivery) string { return m.Client }))},
	{"dest", []string{"destination"}, textOps, "dest=example.com", domains(texts(one(func(m *Message, d *Delivery) string { return d.Destination })))},
	{"route", nil, textOps, "route=office", texts(one(func(m *Message, d *Delivery) string { return routeOf(d) }))},
	{"domain", nil, textOps, "domain=example.com", domains(texts(func(m *Message, d *Delivery, f func(string) bool) bool {
		return eachRecipient(m, d, func(to string) bool { return f(to[strings.LastIndexByte(to, '@')+1:]) })
	}))},
	{"provider", nil, textOps, "provider=google", texts(func(_ *Message, d *Delivery, f func(string) bool) bool {
		route, ok := strings.CutPrefix(d.Provider, "route:") // a smart host is found by its name, too
		return f(d.Provider) || ok && f(route)
	})},
	{"state", nil, truthOps, "state=deferred", states(texts(func(_ *Message, d *Delivery, f func(string) bool) bool {
		return f(d.Activity.State.String())
	}))},
	{"reason", nil, textOps, "reason=mailbox_full", texts(func(_ *Message, d *Delivery, f func(string) bool) bool {
		for _, o := range d.Open {
			if o.Reason != "" && f(o.Reason) {
				return true
			}
		}
		return false
	})},
	{"msgid", []string{"message_id", "message-id"}, textOps, "msgid=1@example.org", texts(func(m *Message, _ *Delivery, f func(string) bool) bool {
		return f(m.MessageID) || f(strings.Trim(m.MessageID, "<>"))
	})},
	{"age", nil, rangeOps, "'age>1h'", numbers(ParseDuration, func(m *Message, _ *Delivery, now time.Time, f func(Duration) bool) bool {
		return f(Duration(now.Sub(m.Arrival)))
	})},
	{"due", nil, rangeOps, "'due<10m'", numbers(ParseDuration, func(_ *Message, d *Delivery, now time.Time, f func(Duration) bool) bool {
		return !d.Held && f(Duration(max(0, d.Due.Sub(now)))) // what is on hold has no next try
	})},
	{"size", nil, rangeOps, "'size>1MiB'", numbers(ParseSize, func(m *Message, _ *Delivery, _ time.Time, f func(Size) bool) bool {
		return f(Size(m.Size))
	})},
	{"attempts", []string{"tries"}, orderOps, "'attempts>=3'", numbers(strconv.Atoi, func(_ *Message, d *Delivery, _ time.Time, f func(int) bool) bool {
		return f(d.Attempts)
	})},
	{"code", nil, orderOps, "code=450", makeCode},
	{"status", nil, truthOps, "status=4.2.2", texts(func(_ *Message, d *Delivery, f func(string) bool) bool {
		return eachReply(d, func(r Reply) bool { return !r.IsZero() && f(r.Enhanced().String()) })
	})},
	{"reply", nil, wordOps, "reply~greylist", texts(func(_ *Message, d *Delivery, f func(string) bool) bool {
		return eachReply(d, func(r Reply) bool { return f(r.String()) })
	})},
	{"mta", []string{"host"}, textOps, "mta=*.example.net", texts(func(_ *Message, d *Delivery, f func(string) bool) bool {
		return eachReply(d, func(r Reply) bool { return !r.IsZero() && f(r.MTA) })
	})},
	{"held", nil, truthOps, "held=true", truth(func(_ *Message, d *Delivery) bool { return d.Held })},
	{"notice", nil, truthOps, "notice=true", truth(func(m *Message, _ *Delivery) bool { return m.Notice })},
}

// one is for a text that a Delivery has one of.
func one(of func(*Message, *Delivery) string) func(*Message, *Delivery, func(string) bool) bool {
	return func(m *Message, d *Delivery, f func(string) bool) bool { return f(of(m, d)) }
}

// eachRecipient calls f with the open recipients of d until it says true.
func eachRecipient(m *Message, d *Delivery, f func(string) bool) bool {
	return slices.ContainsFunc(d.Open, func(o Open) bool {
		return o.Recipient >= 0 && o.Recipient < len(m.Recipients) && f(m.Recipients[o.Recipient].Path.String())
	})
}

func eachReply(d *Delivery, f func(Reply) bool) bool {
	return slices.ContainsFunc(d.Open, func(o Open) bool { return f(o.Last) })
}

// routeOf is the name of d's route, "mx" without one.
func routeOf(d *Delivery) string {
	if name, ok := strings.CutPrefix(d.Destination, "route:"); ok {
		return name
	}
	return "mx"
}

// texts makes terms that compare text. each calls its function with every
// text of the Delivery until one is accepted.
func texts(each func(*Message, *Delivery, func(string) bool) bool) termMaker {
	return func(op, value string) (func(*Message, *Delivery, time.Time) bool, error) {
		if value == "" && strings.HasSuffix(op, "~") {
			return nil, fmt.Errorf("the text to look for is missing")
		}
		return textTerm(op, strings.Split(strings.ToLower(value), ","), each), nil
	}
}

// mailboxes is texts for addresses: "@domain" is a whole domain, "<>" the null
// reverse-path, and a domain may be written in its own script.
func mailboxes(each func(*Message, *Delivery, func(string) bool) bool) termMaker {
	return func(op, value string) (func(*Message, *Delivery, time.Time) bool, error) {
		parts := strings.Split(strings.ToLower(value), ",")
		for i, p := range parts {
			switch {
			case strings.HasSuffix(op, "~"):
				if p == "" {
					return nil, fmt.Errorf("the text to look for is missing")
				}
			case p == "<>":
				parts[i] = ""
			case p == "":
				return nil, fmt.Errorf("the address is missing (the null sender is written <>)")
			default:
				var err error
				if parts[i], err = mailboxPattern(p); err != nil {
					return nil, err
				}
			}
		}
		return textTerm(op, parts, each), nil
	}
}

func mailboxPattern(p string) (string, error) {
	p = strings.TrimSuffix(strings.TrimPrefix(p, "<"), ">")
	at := strings.LastIndexByte(p, '@')
	if at < 0 && !strings.Contains(p, "*") && p != "postmaster" {
		return "", fmt.Errorf("%q has no @: a domain is written @%s, a part of an address with ~", Clip(p), Clip(p))
	}
	if domain := p[at+1:]; at >= 0 && !strings.Contains(domain, "*") {
		d, err := NormalizeDomain(domain)
		if err != nil {
			return "", err
		}
		p = p[:at+1] + d
	}
	if at == 0 {
		p = "*" + p
	}
	return p, nil
}

// domains lets people write a domain in its own script, and with the @ that
// other terms want.
func domains(next termMaker) termMaker {
	return func(op, value string) (func(*Message, *Delivery, time.Time) bool, error) {
		parts := strings.Split(value, ",")
		for i, p := range parts {
			parts[i] = strings.TrimPrefix(p, "@")
			if a, err := NormalizeDomain(parts[i]); err == nil {
				parts[i] = a
			}
		}
		return next(op, strings.Join(parts, ","))
	}
}

// states refuses what no Delivery is ever in.
func states(next termMaker) termMaker {
	return func(op, value string) (func(*Message, *Delivery, time.Time) bool, error) {
		for p := range strings.SplitSeq(strings.ToLower(value), ",") {
			if !slices.Contains(DeliveryStates(), DeliveryState(p)) {
				return nil, fmt.Errorf("%q is no state; the states are held, active, suspended, deferred and ready", Clip(p))
			}
		}
		return next(op, value)
	}
}

func textTerm(op string, patterns []string, each func(*Message, *Delivery, func(string) bool) bool) func(*Message, *Delivery, time.Time) bool {
	accept := func(s string) bool {
		s = strings.ToLower(s)
		return slices.ContainsFunc(patterns, func(p string) bool {
			return strings.HasSuffix(op, "~") && strings.Contains(s, p) || strings.HasSuffix(op, "=") && glob(p, s)
		})
	}
	not := op[0] == '!'
	return func(m *Message, d *Delivery, _ time.Time) bool { return each(m, d, accept) != not }
}

// glob matches s against a pattern in which * stands for any text. It takes
// the leftmost match of each piece, so its time is bounded by len(p)×len(s).
func glob(p, s string) bool {
	first, rest, star := strings.Cut(p, "*")
	if !star {
		return p == s
	}
	s, ok := strings.CutPrefix(s, first)
	for ok {
		var piece string
		if piece, rest, star = strings.Cut(rest, "*"); !star {
			return strings.HasSuffix(s, piece)
		}
		_, s, ok = strings.Cut(s, piece)
	}
	return false
}

// numbers makes terms that compare what parse reads.
func numbers[T cmp.Ordered](parse func(string) (T, error), each func(*Message, *Delivery, time.Time, func(T) bool) bool) termMaker {
	return func(op, value string) (func(*Message, *Delivery, time.Time) bool, error) {
		want, err := parse(value)
		if err != nil {
			return nil, fmt.Errorf("%q is not a value for it", Clip(value))
		}
		return func(m *Message, d *Delivery, now time.Time) bool {
			return each(m, d, now, func(v T) bool { return ordered(op, v, want) })
		}, nil
	}
}

func ordered[T cmp.Ordered](op string, a, b T) bool {
	switch op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case ">=":
		return a >= b
	case "<=":
		return a <= b
	case ">":
		return a > b
	default:
		return a < b
	}
}

// makeCode reads code=450, code=4xx and code>=500. Recipients without any
// reply yet have no code, not even 0.
func makeCode(op, value string) (func(*Message, *Delivery, time.Time) bool, error) {
	low, err1 := strconv.ParseUint(strings.ReplaceAll(strings.ToLower(value), "x", "0"), 10, 16)
	high, err2 := strconv.ParseUint(strings.ReplaceAll(strings.ToLower(value), "x", "9"), 10, 16)
	classOnly := low != high
	if err1 != nil || err2 != nil || high > 999 || classOnly && (len(value) != 3 || op != "=" && op != "!=") {
		return nil, fmt.Errorf("%q is not a reply code such as 450 or 4xx", Clip(value))
	}
	return func(_ *Message, d *Delivery, _ time.Time) bool {
		if op == "!=" {
			return !eachReply(d, func(r Reply) bool { return !r.IsZero() && r.Code >= int(low) && r.Code <= int(high) })
		}
		return eachReply(d, func(r Reply) bool {
			if r.IsZero() {
				return false
			}
			if op == "=" {
				return r.Code >= int(low) && r.Code <= int(high)
			}
			return ordered(op, r.Code, int(low))
		})
	}, nil
}

func truth(of func(*Message, *Delivery) bool) termMaker {
	return func(op, value string) (func(*Message, *Delivery, time.Time) bool, error) {
		var want bool
		switch strings.ToLower(value) {
		case "true", "yes":
			want = true
		case "false", "no":
		default:
			return nil, fmt.Errorf("%q is neither true nor false", Clip(value))
		}
		if op == "!=" {
			want = !want
		}
		return func(m *Message, d *Delivery, _ time.Time) bool { return of(m, d) == want }, nil
	}
}
