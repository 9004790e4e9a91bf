package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
)

// nameServer answers on loopback that every domain has one MX host of its own,
// and that every host is at 127.0.0.1: any number of destinations with one sink.
type nameServer struct {
	server *dns.Server
	addr   string
}

const nameTTL = 3600 // seconds: what is measured is the relay and not this

func newNameServer() (*nameServer, error) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &nameServer{addr: pc.LocalAddr().String()}
	n.server = &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(answer)}
	started := make(chan struct{})
	n.server.NotifyStartedFunc = func() { close(started) }
	failed := make(chan error, 1)
	go func() { failed <- n.server.ActivateAndServe() }()
	select {
	case <-started:
		return n, nil
	case err := <-failed:
		return nil, fmt.Errorf("name server: %w", err)
	}
}

func (n *nameServer) close() error { return n.server.Shutdown() }

func answer(w dns.ResponseWriter, q *dns.Msg) {
	r := new(dns.Msg).SetReply(q)
	r.Authoritative = true
	if len(q.Question) == 1 {
		name := q.Question[0].Name
		h := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: nameTTL, Rrtype: q.Question[0].Qtype}
		switch h.Rrtype {
		case dns.TypeMX:
			r.Answer = append(r.Answer, &dns.MX{Hdr: h, Preference: 10, Mx: "mx." + name})
		case dns.TypeA:
			r.Answer = append(r.Answer, &dns.A{Hdr: h, A: net.IPv4(127, 0, 0, 1)})
		default:
			r.Ns = append(r.Ns, &dns.SOA{Hdr: dns.RR_Header{Name: zone(name), Class: dns.ClassINET, Ttl: nameTTL, Rrtype: dns.TypeSOA},
				Ns: "ns." + zone(name), Mbox: "hostmaster." + zone(name), Minttl: nameTTL})
		}
	}
	_ = w.WriteMsg(r) // the resolver asks again
}

// zone is the organisation that a name belongs to: its last two labels.
func zone(name string) string {
	labels := dns.SplitDomainName(name)
	return dns.Fqdn(strings.Join(labels[max(0, len(labels)-2):], "."))
}
