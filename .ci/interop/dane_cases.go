package main

import (
	"dawk/.ci/interop/lab"
	"strings"
)

// daneCases: what a signed zone says of Postfix's certificate decides, as a
// resolver that is not ours validates it (RFC 7672).
func daneCases() []lab.TestCase {
	const relayed, delayed = "msg=relayed ", "msg=delayed "
	var cases []lab.TestCase
	for _, c := range []struct{ name, domain, want, probe string }{
		{"3 1 1 that matches", "good." + lab.DaneDomain, relayed + `.*tls=TLS1\.3 tls_level=verified tls_policy=dane `, "verified by DANE"},
		{"3 1 1 that does not match", "wrong." + lab.DaneDomain, delayed + `.*tls_policy=dane .*status=4\.7\.5 .*none of those that DNS names`, "none of those that DNS names"},
		{"2 1 1 of the authority", "authority." + lab.DaneDomain, relayed + `.*tls=TLS1\.3 tls_level=verified tls_policy=dane `, "verified by DANE"},
		{"2 1 1 of another authority", "stranger." + lab.DaneDomain, delayed + `.*tls_policy=dane .*status=4\.7\.5 `, "none of those that DNS names"},
		{"a record changed under its signature", "bogus." + lab.DaneDomain, delayed + `.*status=4\.4\.3 .*cannot look up the TLSA records`, "cannot look up the TLSA records"},
		{"a signed zone without a record", "none." + lab.DaneDomain, relayed + `.*tls=TLS1\.3 tls_level=unverified attempt=`, "nobody checks"},
		{"a signed alias into a zone that is not", "alias." + lab.DaneDomain, relayed + `.*tls=TLS1\.3 tls_level=verified tls_policy=dane `, "verified by DANE"},
		{"a signed alias into a zone that is not, with a wrong record", "alias-wrong." + lab.DaneDomain, delayed + `.*tls_policy=dane .*status=4\.7\.5 .*none of those that DNS names`, "none of those that DNS names"},
		{"a wrong record in a zone that is not signed", "wrong." + lab.PlainDomain, relayed + `.*tls=TLS1\.3 tls_level=unverified attempt=`, "nobody checks"},
	} {
		cases = append(cases, lab.TestCase{Name: c.name, Run: func(t *lab.T, w *lab.World) {
			l := w.Laboratory(t)
			marker := newMarker()
			id := l.Hand(t, "", []string{marker + "@" + c.domain}, string(lab.SimpleMessage(marker)))
			l.Tells(t, id, c.want)
			if strings.HasPrefix(c.want, relayed) {
				w.Arrived(t, w.Postfix, marker, 1)
			} else {
				out, err := l.Command("", "queue", "delete", id)
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
				if got, err := w.Postfix.Arrivals(func(b []byte) bool { return strings.Contains(string(b), marker) }); err != nil || len(got) > 0 {
					t.Errorf("%d arrived all the same: %v", len(got), err)
				}
			}
			// dawk probe foretells the same.
			out, err := l.Command("", "probe", c.domain)
			if (err == nil) != strings.HasPrefix(c.want, relayed) || !strings.Contains(out, c.probe) {
				t.Errorf("dawk probe: %v\n%s", err, out)
			}
		}})
	}
	return cases
}
