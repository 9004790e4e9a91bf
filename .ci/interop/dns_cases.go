package main

import (
	"dawk/.ci/interop/lab"
	"fmt"
	"strings"
)

// dnsCases: name servers that do not resolve, or not all. NSD answers for its own
// zones and refuses the rest, unbound resolves.
func dnsCases() []lab.TestCase {
	const relayed, delayed = "msg=relayed ", `msg=delayed .*status=4\.4\.3 `
	nsd := func(l *lab.Laboratory) int { return l.Authority }
	unbound := func(l *lab.Laboratory) int { return l.Dns }
	var cases []lab.TestCase
	for _, c := range []struct {
		name, domain, want string
		servers            []func(*lab.Laboratory) int
	}{
		{"a server that refuses the name, then one that resolves", lab.ElseDomain, relayed, []func(*lab.Laboratory) int{nsd, unbound}},
		{"a server that refuses the name, alone", lab.ElseDomain, delayed, []func(*lab.Laboratory) int{nsd}},
		{"an alias that leads out of what a server knows, then one that resolves", "away." + lab.PlainDomain, relayed, []func(*lab.Laboratory) int{nsd, unbound}},
		{"an alias that leads out of what a server knows, alone", "away." + lab.PlainDomain, delayed, []func(*lab.Laboratory) int{nsd}},
		{"a chain of ten aliases", "chain." + lab.PlainDomain, relayed, []func(*lab.Laboratory) int{unbound}},
		{"a chain of ten aliases, of a server that does not resolve", "chain." + lab.PlainDomain, relayed, []func(*lab.Laboratory) int{nsd}},
		{"a name that does not exist", "none." + lab.PlainDomain, `msg=failed .*status=5\.1\.2 `, []func(*lab.Laboratory) int{unbound}},
		{"a domain without MX and address", "_tcp.mx-wrong." + lab.PlainDomain, `msg=failed .*status=5\.4\.4 `, []func(*lab.Laboratory) int{unbound}},
	} {
		cases = append(cases, lab.TestCase{Name: c.name, Run: func(t *lab.T, w *lab.World) {
			l := w.Laboratory(t)
			var servers []string
			for _, port := range c.servers {
				servers = append(servers, fmt.Sprintf("\"127.0.0.1:%d\"", port(l)))
			}
			r, err := w.NewRelay("dns", []string{lab.Trusted}, fmt.Sprintf("[queue]\nretry = [\"1m\"]\n\n[dns]\nservers = [%s]\n\n[delivery]\nport = %d\nallow_networks = [\"127.0.0.0/8\"]\n",
				strings.Join(servers, ", "), w.Postfix.Port))
			t.Must("configure", err)
			t.Must("start", r.Up())
			defer r.Close()
			marker := newMarker()
			asker := &lab.Laboratory{Relay: r}
			id := asker.Hand(t, "", []string{marker + "@" + c.domain}, string(lab.SimpleMessage(marker)))
			asker.Tells(t, id, c.want)
			if c.want == relayed {
				w.Arrived(t, w.Postfix, marker, 1)
			}
		}})
	}
	return cases
}
