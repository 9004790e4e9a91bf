package migrate

import (
	"fmt"
	"maps"
	"strings"

	"dawk/relay"
)

// service is one line of master.cf (master(5)).
type service struct {
	name, kind, command string
	over                map[string]param // -o
	where               string
}

func (m *migration) readMaster() error {
	data, err := m.read("master.cf")
	if err != nil {
		return fmt.Errorf("%w: it belongs beside main.cf, and says on which ports Postfix listens", err)
	}
	for _, l := range logicalLines(data) {
		f := list(strings.ReplaceAll(l.text, ",", "\x00")) // a comma separates nothing here
		if len(f) < 8 {
			return fmt.Errorf("master.cf:%d: %q has fewer than eight fields; mend the line, and try again", l.line, relay.Clip(l.text))
		}
		for i := range f {
			f[i] = strings.ReplaceAll(f[i], "\x00", ",")
		}
		s := service{name: f[0], kind: f[1], command: f[7], over: map[string]param{}, where: fmt.Sprintf("master.cf:%d", l.line)}
		for i := 8; i < len(f); i++ {
			text, attached := strings.CutPrefix(f[i], "-o")
			if !attached {
				continue
			}
			if text == "" && i+1 < len(f) {
				i++
				text = f[i]
			}
			if strings.HasPrefix(text, "{") { // -o { name = value }
				text = strings.TrimSuffix(text[1:], "}")
			}
			name, value, _ := strings.Cut(text, "=")
			s.over[strings.TrimSpace(name)] = param{strings.TrimSpace(value), s.where}
		}
		m.services = append(m.services, s)
	}
	return nil
}

// with is the settings of a service.
func (m *migration) with(s service) settings {
	return settings{params: m.params, over: s.over, used: m.used}
}

// transport is the service that delivers under a name, and whether it speaks SMTP
// by Postfix's client.
func (m *migration) transport(name string) (s service, smtp bool) {
	for _, s := range m.services {
		if s.name == name && s.kind == "unix" {
			m.delivers[name] = true
			return s, s.command == "smtp" || s.command == "lmtp"
		}
	}
	return service{name: name, command: name}, name == "smtp" || name == "relay" || name == "lmtp"
}

// smtpServices are those that take mail over SMTP. Behind postscreen the settings
// of the smtpd that it hands connections to hold as well.
func (m *migration) smtpServices() (found []service) {
	for _, s := range m.services {
		switch {
		case s.kind != "inet":
		case s.command == "smtpd":
			found = append(found, s)
		case s.command == "postscreen":
			for _, behind := range m.services {
				if behind.kind == "pass" && behind.command == "smtpd" {
					s.over = maps.Clone(s.over)
					maps.Copy(s.over, behind.over)
				}
			}
			m.item(s.where, "postscreen", "dawk serves only those who may send, and needs no screen against strangers; mail that comes in from the internet needs another server")
			found = append(found, s)
		}
	}
	return found
}
