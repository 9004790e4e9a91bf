package mxtest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// DNS is an authoritative and, for CNAMEs within its zone, recursive server
// on one loopback port, UDP and TCP.
type DNS struct {
	udp, tcp *dns.Server
	addr     string

	mu        sync.Mutex
	records   []dns.RR
	faults    map[dnsKey]Fault
	queries   map[dnsKey]int
	authentic bool
	unsigned  []dnsKey
}

type dnsKey struct{ name, typ string } // lower case without final dot; upper case; "" for any

// Fault is how a DNS server misbehaves.
type Fault string

// The faults. With Truncate, NoEDNS, Extra and the forged ones the right
// answer can still be had: by TCP, without EDNS0, by looking closer, by
// waiting for the next packet.
const (
	NoFault    Fault = ""
	ServFail   Fault = "servfail"
	Refused    Fault = "refused"
	Silent     Fault = "timeout"   // no answer
	Truncate   Fault = "truncate"  // over UDP
	NoEDNS     Fault = "formerr"   // to queries with EDNS0
	WrongID    Fault = "wrongid"   // a forged packet before the true one
	WrongName  Fault = "wrongname" // likewise
	Extra      Fault = "extra"     // the answer holds an address of another name, too
	Referral   Fault = "referral"  // NOERROR with NS records of others
	NXDomain   Fault = "nxdomain"  // whatever the zone says
	EmptyReply Fault = "empty"     // NOERROR without records
	Lame       Fault = "lame"      // the same, without recursion
	StrayOPT   Fault = "opt"       // the pseudo-record of EDNS0 is the answer, and no other record
	DropsEDNS  Fault = "dropsedns" // no answer to queries with EDNS0, and no AD bit without
	FailsEDNS  Fault = "failsedns" // SERVFAIL without EDNS0 to queries with it, and no AD bit without
	BareAD     Fault = "baread"    // the AD bit only in answers with EDNS0
	Cut        Fault = "cut"       // truncated over UDP, and no answer over TCP
	OpenAlias  Fault = "openalias" // the first alias alone, without a word about its target

	// No correct resolver answers so: the records with NXDOMAIN, or NOERROR without
	// them and with others.
	NXAnswer   Fault = "nxanswer"
	OtherOwner Fault = "otherowner"
	OtherType  Fault = "othertype"
	BareDNAME  Fault = "baredname" // without the alias that it makes
)

// NewDNS starts a server on a free port of 127.0.0.1 with the records of
// zone: lines of a master file (RFC 1035 §5.1), of which the origin is the
// root and the default TTL 0, so that no resolver remembers what a test is
// going to change.
func NewDNS(zone string) (*DNS, error) { return ListenDNS("127.0.0.1:0", zone) }

// NewZone is a DNS without sockets, for ServePipe.
func NewZone(zone string) (*DNS, error) {
	d := &DNS{faults: make(map[dnsKey]Fault), queries: make(map[dnsKey]int)}
	return d, d.Add(zone)
}

// ListenDNS is NewDNS on a given address.
func ListenDNS(addr, zone string) (*DNS, error) {
	d, err := NewZone(zone)
	if err != nil {
		return nil, err
	}
	var pc net.PacketConn
	var l net.Listener
	// TCP first: ports that ended connections still hold are many there, and
	// none in UDP, so that the port TCP got is seldom taken.
	for range 10 {
		if l, err = net.Listen("tcp", addr); err != nil {
			return nil, fmt.Errorf("DNS server: %w", err)
		}
		if pc, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("DNS server: %w", err)
	}
	d.addr = pc.LocalAddr().String()
	var up sync.WaitGroup
	up.Add(2)
	d.udp = &dns.Server{PacketConn: pc, Handler: d, NotifyStartedFunc: up.Done}
	d.tcp = &dns.Server{Listener: l, Handler: d, NotifyStartedFunc: up.Done}
	for _, s := range []*dns.Server{d.udp, d.tcp} {
		go s.ActivateAndServe() //nolint:errcheck // ends with Close
	}
	up.Wait()
	return d, nil
}

// Addr is "127.0.0.1:port".
func (d *DNS) Addr() string { return d.addr }

// Close stops the server.
func (d *DNS) Close() error {
	err := d.udp.Shutdown()
	if terr := d.tcp.Shutdown(); err == nil {
		err = terr
	}
	return err
}

// Add adds records, in the form of NewDNS.
func (d *DNS) Add(zone string) error {
	p := dns.NewZoneParser(strings.NewReader("$ORIGIN .\n$TTL 0\n"+zone+"\n"), ".", "")
	var add []dns.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		add = append(add, rr)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("DNS zone: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records = append(d.records, add...)
	return nil
}

// Set replaces all records.
func (d *DNS) Set(zone string) error {
	d.mu.Lock()
	d.records = nil
	d.mu.Unlock()
	return d.Add(zone)
}

// Remove takes out the records of a name; of one type, or with "" of all.
func (d *DNS) Remove(name, typ string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var keep []dns.RR
	for _, rr := range d.records {
		same := trim(rr.Header().Name) == trim(name)
		if !same || typ != "" && dns.TypeToString[rr.Header().Rrtype] != strings.ToUpper(typ) {
			keep = append(keep, rr)
		}
	}
	d.records = keep
}

// Fault sets how queries for a name and type fail; "" for name or type means
// all, NoFault ends it. The more exact of several faults counts.
func (d *DNS) Fault(name, typ string, f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := dnsKey{trim(name), strings.ToUpper(typ)}
	if f == NoFault {
		delete(d.faults, k)
		return
	}
	d.faults[k] = f
}

// Authentic sets the AD bit of answers to queries that ask for it.
func (d *DNS) Authentic(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.authentic = on
}

// Unsigned takes the AD bit from answers that hold, or deny, records of a type
// at a name or below it; typ "" is all types.
func (d *DNS) Unsigned(name, typ string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unsigned = append(d.unsigned, dnsKey{trim(name), strings.ToUpper(typ)})
}

// Queries counts the queries seen for a name and type; "" for all.
func (d *DNS) Queries(name, typ string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for k, count := range d.queries {
		if (name == "" || k.name == trim(name)) && (typ == "" || k.typ == strings.ToUpper(typ)) {
			n += count
		}
	}
	return n
}

// ServeDNS answers one query; it is for the DNS library to call.
func (d *DNS) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	if len(req.Question) != 1 {
		return
	}
	_, overUDP := w.LocalAddr().(*net.UDPAddr)
	m, before := d.answer(req, overUDP)
	for _, each := range append(before, m) {
		if each != nil {
			w.WriteMsg(each) //nolint:errcheck // the client is gone
		}
	}
}

// ServePipe answers one query on a connection and closes it: with network
// "tcp" framed as over TCP, else a packet a read and a write. A query without an
// answer fails at once, or, if c's Close does nothing, when the client gives up.
// It is for tests under fake time, and where no time-out may be waited for.
func (d *DNS) ServePipe(c net.Conn, network string) {
	defer c.Close()
	conn := &dns.Conn{Conn: c}
	if network != "tcp" {
		conn.Conn = packets{c}
	}
	req, err := conn.ReadMsg()
	if err != nil || len(req.Question) != 1 {
		return
	}
	m, before := d.answer(req, network != "tcp")
	for _, each := range append(before, m) {
		if each != nil {
			conn.WriteMsg(each) //nolint:errcheck // the client is gone
		}
	}
}

// packets makes the library take a pipe for a packet connection.
type packets struct{ net.Conn }

func (packets) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }
func (packets) WriteTo([]byte, net.Addr) (int, error)  { return 0, net.ErrClosed }

// answer is the reply, and forged ones to send before it.
func (d *DNS) answer(req *dns.Msg, overUDP bool) (m *dns.Msg, before []*dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := req.Question[0]
	k := dnsKey{trim(q.Name), dns.TypeToString[q.Qtype]}
	d.queries[k]++
	m = new(dns.Msg).SetReply(req)
	m.RecursionAvailable = true
	edns := req.IsEdns0()
	if edns != nil {
		m.SetEdns0(1232, false)
	}
	fault := d.fault(k)
	switch fault {
	case Silent:
		return nil, nil
	case Lame:
		m.RecursionAvailable = false
		return m, nil
	case StrayOPT:
		m.Answer = []dns.RR{new(dns.Msg).SetEdns0(1232, false).IsEdns0()}
		return m, nil
	case DropsEDNS:
		if edns != nil {
			return nil, nil
		}
	case FailsEDNS:
		if edns != nil {
			return new(dns.Msg).SetRcode(req, dns.RcodeServerFailure), nil
		}
	case ServFail:
		m.Rcode = dns.RcodeServerFailure
		return m, nil
	case Refused:
		m.Rcode = dns.RcodeRefused
		return m, nil
	case NXDomain:
		m.Rcode = dns.RcodeNameError
		return m, nil
	case EmptyReply:
		return m, nil
	case Referral:
		m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "a.root-servers.test."}}
		return m, nil
	case NoEDNS:
		if edns != nil {
			m = new(dns.Msg).SetRcode(req, dns.RcodeFormatError)
			return m, nil
		}
	case Cut:
		if !overUDP {
			return nil, nil
		}
		m.Truncated = true
		return m, nil
	case Truncate:
		if overUDP {
			m.Truncated = true
			return m, nil
		}
	}
	d.resolve(m, q)
	m.AuthenticatedData = d.authentic && d.signed(m, q) && (req.AuthenticatedData || edns != nil && edns.Do())
	switch fault {
	case BareAD, DropsEDNS, FailsEDNS:
		m.AuthenticatedData = m.AuthenticatedData && edns != nil
	case NXAnswer:
		m.Rcode = dns.RcodeNameError
	case OtherOwner, OtherType, BareDNAME:
		misfit(m, fault)
	case OpenAlias:
		m.Answer, m.Ns = m.Answer[:min(1, len(m.Answer))], nil
	case Extra:
		m.Answer = append([]dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "other.test.", Rrtype: dns.TypeA, Class: dns.ClassINET},
			A: netip.MustParseAddr("192.0.2.66").AsSlice()}}, m.Answer...)
	}
	if fault == WrongID || fault == WrongName {
		before = append(before, forged(m, fault))
	}
	size := dns.MinMsgSize
	if edns != nil {
		size = int(edns.UDPSize())
	}
	if overUDP {
		m.Truncate(size)
	}
	return m, before
}

func (d *DNS) fault(k dnsKey) Fault {
	for _, try := range []dnsKey{k, {k.name, ""}, {"", k.typ}, {}} {
		if f, ok := d.faults[try]; ok {
			return f
		}
	}
	return NoFault
}
