package mxtest

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// signed says whether all of an answer is.
func (d *DNS) signed(m *dns.Msg, q dns.Question) bool {
	bare := func(name string, typ uint16) bool {
		return slices.ContainsFunc(d.unsigned, func(k dnsKey) bool {
			return (trim(name) == k.name || strings.HasSuffix(trim(name), "."+k.name)) && (k.typ == "" || k.typ == dns.TypeToString[typ])
		})
	}
	name := q.Name
	for _, rr := range m.Answer {
		if c, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME {
			if bare(name, dns.TypeCNAME) {
				return false
			}
			name = c.Target
		}
	}
	return !bare(name, q.Qtype)
}

// resolve fills m in from the records, following CNAMEs.
func (d *DNS) resolve(m *dns.Msg, q dns.Question) {
	name := trim(q.Name)
	for range 20 {
		exists, next := false, ""
		for _, rr := range d.records {
			owner := trim(rr.Header().Name)
			exists = exists || owner == name || strings.HasSuffix(owner, "."+name)
			if owner != name {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME {
				m.Answer, next = append(m.Answer, rr), trim(c.Target)
			} else if rr.Header().Rrtype == q.Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if next != "" {
			name = next
			continue
		}
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
		if len(m.Answer) == 0 || !exists || m.Answer[len(m.Answer)-1].Header().Rrtype != q.Qtype {
			m.Ns = append(m.Ns, d.soa(name))
		}
		return
	}
}

// soa is the SOA of the zone around name, or one that forbids remembering.
func (d *DNS) soa(name string) dns.RR {
	for _, rr := range d.records {
		zone := trim(rr.Header().Name)
		if rr.Header().Rrtype == dns.TypeSOA && (name == zone || zone == "" || strings.HasSuffix(name, "."+zone)) {
			return rr
		}
	}
	return &dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET},
		Ns: "ns.test.", Mbox: "hostmaster.test."}
}

// misfit puts a record into an answer that is none to its question.
func misfit(m *dns.Msg, f Fault) {
	h := dns.RR_Header{Name: m.Question[0].Name, Class: dns.ClassINET, Ttl: 60}
	switch m.Rcode, m.Ns = dns.RcodeSuccess, nil; f {
	case OtherOwner:
		for i := range m.Answer {
			m.Answer[i] = dns.Copy(m.Answer[i])
			m.Answer[i].Header().Name = "other." + h.Name
		}
	case OtherType:
		h.Rrtype = dns.TypeTXT
		m.Answer = []dns.RR{&dns.TXT{Hdr: h, Txt: []string{"v=spf1 -all"}}}
	case BareDNAME:
		_, h.Name, _ = strings.Cut(h.Name, ".")
		h.Rrtype = dns.TypeDNAME
		m.Answer = []dns.RR{&dns.DNAME{Hdr: h, Target: "elsewhere.test."}}
	}
}

// forged is an answer with addresses of an attacker's.
func forged(m *dns.Msg, f Fault) *dns.Msg {
	bad := m.Copy()
	for _, rr := range bad.Answer {
		if a, ok := rr.(*dns.A); ok {
			a.A = netip.MustParseAddr("192.0.2.66").AsSlice()
		}
		if mx, ok := rr.(*dns.MX); ok {
			mx.Mx = "attacker.test."
		}
	}
	if f == WrongID {
		bad.Id++
	} else {
		bad.Question[0].Name = "other.test."
	}
	return bad
}

func trim(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
