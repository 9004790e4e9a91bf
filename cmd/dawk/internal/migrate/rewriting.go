package migrate

import (
	"regexp"
	"strings"
)

// rewriting converts the checks and maps that change mail, where dawk does the same.
func (m *migration) rewriting() error {
	for _, name := range []string{"header_checks", "smtp_header_checks", "mime_header_checks", "nested_header_checks", "body_checks"} {
		value, where, _ := m.written(name)
		entries, err := m.lookups(value, where)
		if err != nil {
			return err
		}
		for _, e := range entries {
			m.headerCheck(e)
		}
	}
	for _, name := range []string{"sender_canonical_maps", "smtp_generic_maps", "canonical_maps"} {
		value, where, _ := m.written(name)
		entries, err := m.lookups(value, where)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if key, ok := e.plain(); ok && key == "*" && name == "sender_canonical_maps" && m.alwaysFrom(e.value, e.where) {
				continue
			}
			m.item(e.where, name+": "+e.key+" "+e.value, "dawk changes a sender by `rewrite_from`: of a [[user]], or of a [[route]] whose `user` is the mailbox that sends")
		}
	}
	return nil
}

var (
	removed  = regexp.MustCompile(`(?i)^\^?[(]?(bcc|resent-bcc|return-path)([|](bcc|resent-bcc|return-path))*[)]?:`)
	hidden   = regexp.MustCompile(`(?i)^\^?received:.*authenticated sender`)
	fromLine = regexp.MustCompile(`(?i)^\^?from:`)
	angle    = regexp.MustCompile(`<([^<>]+)>`)
)

// headerCheck converts one line, or lists it.
func (m *migration) headerCheck(e entry) {
	action, text, _ := strings.Cut(e.value, " ")
	action = strings.ToUpper(action)
	switch {
	case action == "IGNORE" && removed.MatchString(e.key):
		m.note("%s: dawk takes these fields out of all mail.", e.where)
		return
	case (action == "IGNORE" || action == "REPLACE") && hidden.MatchString(e.key):
		m.note("%s: dawk hides the address of clients that logged in (received_client = \"hidden\").", e.where)
		return
	case action == "REPLACE" && fromLine.MatchString(e.key):
		if _, from, ok := strings.Cut(text, ":"); ok && m.alwaysFrom(from, e.where) {
			return
		}
	}
	m.item(e.where, "/"+e.key+"/ "+e.value, headerRemedy(action))
}

func headerRemedy(action string) string {
	switch action {
	case "IGNORE":
		return "dawk takes out only Bcc and Return-Path, and hides the address of clients that logged in; let the program leave the field out"
	case "REPLACE", "PREPEND":
		return "dawk writes no fields by rules; `rewrite_from` of a [[user]] or a [[route]] changes From"
	case "REDIRECT", "BCC":
		return "dawk sends mail elsewhere by `redirect` of a [[user]]"
	case "HOLD":
		return "`hold = true` of a [[user]] holds its mail"
	case "FILTER":
		return "a [[route]] chooses the way by recipient, sender and identity"
	}
	return "dawk looks for no words in mail; what must not leave is refused by a filter before it"
}

// alwaysFrom sets rewrite_from of the routes whose login is the mailbox that all
// mail is to come from; false if there is none.
func (m *migration) alwaysFrom(address, where string) (done bool) {
	address = strings.TrimSpace(address)
	if f := angle.FindStringSubmatch(address); f != nil {
		address = f[1]
	}
	for _, s := range m.sections {
		if s.header != "[[route]]" || !strings.Contains(address, "@") {
			continue
		}
		for _, k := range s.keys {
			if strings.HasPrefix(k, "user = "+literal(strings.ToLower(address))) || strings.HasPrefix(k, "user = "+literal(address)) {
				s.set("rewrite_from", "always", where)
				s.set("send_as", []string{}, where)
				done = true
				break
			}
		}
	}
	return done
}
