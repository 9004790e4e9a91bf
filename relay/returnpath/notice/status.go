package notice

import (
	"regexp"
	"strconv"
	"strings"

	"dawk/relay"
)

func isStatus(p *part) bool {
	return p.kind == "message/delivery-status" || p.kind == "message/global-delivery-status"
}

func isMessage(p *part) bool { return p.kind == "message/rfc822" }

func isFeedback(p *part) bool { return p.kind == "message/feedback-report" }

var actions = map[string]Kind{"failed": Failed, "delayed": Delayed, "delivered": Arrived, "relayed": Arrived, "expanded": Arrived}

// status reads the fields of RFC 3464 §2: a group about the message, then one for each
// recipient.
func (m *part) status(p *part) (n Notice) {
	body := strings.ReplaceAll(p.text(), "\r", "")
	var groups []map[string]string
	for _, g := range regexpBlank.Split(body, -1) {
		if strings.TrimSpace(g) != "" {
			groups = append(groups, fields([]byte(g)))
		}
	}
	reporter := ""
	if len(groups) > 0 {
		reporter = afterType(groups[0]["reporting-mta"])
	}
	words := m.readable()
	for _, g := range groups {
		if g["final-recipient"] == "" && g["original-recipient"] == "" {
			continue
		}
		r := Recipient{Address: address(g["final-recipient"]), Original: address(g["original-recipient"])}
		if r.Address == "" {
			r.Address = r.Original
		}
		r.Reply = replyOf(afterType(g["diagnostic-code"]))
		if s, ok := relay.ParseStatus(firstStatus.FindString(g["status"])); ok {
			if r.Reply.Status.IsZero() || r.Reply.Status.Subject == 0 {
				r.Reply.Status = s
			}
			if r.Kind = Failed; s.Class == 4 {
				r.Kind = Delayed
			} else if s.Class == 2 {
				r.Kind = Arrived
			}
		}
		if r.Reply.MTA = relay.Sanitize(afterType(g["remote-mta"])); r.Reply.MTA == "" {
			r.Reply.MTA = relay.Sanitize(reporter)
		}
		action, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(g["action"])), " ")
		if k, ok := actions[strings.Trim(action, ";,.()")]; ok {
			r.Kind = k
		}
		if r.Kind == Failed {
			r.classify(near(words, r.Address))
		}
		n.Recipients = append(n.Recipients, r)
	}
	n.Kind = worst(n.Recipients)
	return n
}

// worst is what matters most of several recipients.
func worst(all []Recipient) Kind {
	for _, k := range [...]Kind{Failed, Delayed, Arrived} {
		for i := range all {
			if all[i].Kind == k {
				return k
			}
		}
	}
	return Unknown
}

// regexpBlank is an empty line; some programs put blanks into it.
var regexpBlank = regexp.MustCompile(`\n[ \t]*\n`)

// afterType is the value of a field without "rfc822;", "smtp;" and the like.
func afterType(s string) string {
	if kind, rest, ok := strings.Cut(s, ";"); ok && !strings.ContainsAny(kind, "@<> ") {
		return strings.TrimSpace(rest)
	}
	return strings.TrimSpace(s)
}

// address is the address in a field, "" without one.
func address(s string) string {
	s = afterType(s)
	if i, j := strings.IndexByte(s, '<'), strings.LastIndexByte(s, '>'); i >= 0 && j > i {
		s = s[i+1 : j]
	}
	s = strings.TrimPrefix(strings.Trim(s, " \t<>\"'"), "mailto:")
	if s, _, _ = strings.Cut(s, " "); len(s) > 320 {
		return ""
	}
	return s
}

var (
	firstStatus = regexp.MustCompile(`\b[245]\.\d{1,3}\.\d{1,3}\b`)
	// A code stands before its words or in their middle; a status follows it, as a rule.
	coded    = regexp.MustCompile(`(?:^|[\s:<(#])([45]\d\d)[- ]+(?:[#(]*([45]\.\d{1,3}\.\d{1,3})[):]*)?`)
	statused = regexp.MustCompile(`(?:^|[\s(#:\[<])([45]\.\d{1,3}\.\d{1,3})(?:$|[\s):;>\],])`)
)

// replyOf finds the reply of a server in words.
func replyOf(words string) (r relay.Reply) {
	words = words[:min(len(words), 4096)]
	if f := coded.FindStringSubmatchIndex(words); f != nil {
		r.Code, _ = strconv.Atoi(words[f[2]:f[3]])
		if f[4] >= 0 {
			r.Status, _ = relay.ParseStatus(words[f[4]:f[5]])
		}
	}
	if r.Status.IsZero() {
		if f := statused.FindStringSubmatch(words); f != nil {
			r.Status, _ = relay.ParseStatus(f[1])
		}
	}
	r.Text = words
	return r
}

// complaint reads a report of RFC 5965. What says that mail is wanted, or that a
// signature was not valid, is no complaint.
func (m *part) complaint(p *part) (n Notice) {
	f := fields([]byte(strings.ReplaceAll(p.text(), "\n\n", "\n")))
	switch strings.ToLower(strings.TrimSpace(f["feedback-type"])) {
	case "not-spam", "auth-failure", "dmarc":
		return Notice{Kind: Automatic}
	}
	n.Kind = Complained
	if to := address(f["original-rcpt-to"]); to != "" {
		n.Recipients = []Recipient{{Address: to, Kind: Complained}}
	}
	from := []string{f["original-mail-from"]}
	if h := m.returned(); h != nil {
		from = append(from, h["return-path"], h["sender"], h["from"])
		for _, received := range h {
			if len(n.Recipients) == 0 {
				if at := forAddress.FindStringSubmatch(received); at != nil {
					n.Recipients = []Recipient{{Address: at[1], Kind: Complained}}
				}
			}
		}
	}
	for _, a := range from {
		if a = address(a); a != "" {
			n.Addresses = append(n.Addresses, a)
		}
	}
	return n
}

var forAddress = regexp.MustCompile(`\bfor <([^<> ]+@[^<> ]+)>`)

// near is the words of a notice from where it names an address.
func near(words, address string) string {
	if address == "" {
		return words
	}
	if i := strings.Index(asciiLower(words), asciiLower(address)); i >= 0 {
		return words[i:min(len(words), i+1000)]
	}
	return words[:min(len(words), 2000)]
}
