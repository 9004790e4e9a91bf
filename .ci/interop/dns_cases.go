package main

import (
	"fmt"
	"strings"
)

// dnsCases: name servers that do not resolve, or not all. NSD answers for its own
// zones and refuses the rest, unbound resolves.
func dnsCases() []testCase {
	const relayed, delayed = "msg=relayed ", `msg=delayed .*status=4\.4\.3 `
	nsd := func(l *laboratory) int { return l.authority }
	unbound := func(l *laboratory) int { return l.dns }
	var cases []testCase
	for _, c := range []struct {
		name, domain, want string
		servers            []func(*laboratory) int
	}{
		{"a server that refuses the name, then one that resolves", elseDomain, relayed, []func(*laboratory) int{nsd, unbound}},
		{"a server that refuses the name, alone", elseDomain, delayed, []func(*laboratory) int{nsd}},
		{"an alias that leads out of what a server knows, then one that resolves", "away." + plainDomain, relayed, []func(*laboratory) int{nsd, unbound}},
		{"an alias that leads out of what a server knows, alone", "away." + plainDomain, delayed, []func(*laboratory) int{nsd}},
		{"a chain of ten aliases", "chain." + plainDomain, relayed, []func(*laboratory) int{unbound}},
		{"a chain of ten aliases, of a server that does not resolve", "chain." + plainDomain, relayed, []func(*laboratory) int{nsd}},
		{"a name that does not exist", "none." + plainDomain, `msg=failed .*status=5\.1\.2 `, []func(*laboratory) int{unbound}},
		{"a domain without MX and address", "_tcp.mx-wrong." + plainDomain, `msg=failed .*status=5\.4\.4 `, []func(*laboratory) int{unbound}},
	} {
		cases = append(cases, testCase{c.name, func(t *T, w *world) {
			l := w.laboratory(t)
			var servers []string
			for _, port := range c.servers {
				servers = append(servers, fmt.Sprintf("\"127.0.0.1:%d\"", port(l)))
			}
			r, err := w.newRelay("dns", []string{trusted}, fmt.Sprintf("[queue]\nretry = [\"1m\"]\n\n[dns]\nservers = [%s]\n\n[delivery]\nport = %d\nallow_networks = [\"127.0.0.0/8\"]\n",
				strings.Join(servers, ", "), w.postfix.port))
			t.must("configure", err)
			t.must("start", r.up())
			defer r.close()
			marker := newMarker()
			asker := &laboratory{relay: r}
			id := asker.hand(t, "", []string{marker + "@" + c.domain}, string(simpleMessage(marker)))
			asker.tells(t, id, c.want)
			if c.want == relayed {
				w.arrived(t, w.postfix, marker, 1)
			}
		}})
	}
	return cases
}
