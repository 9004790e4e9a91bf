package dns

// This is the only file that uses the DNS library. The library's first version gets only fixes and
// its second has another import path; a move to it changes this file alone.

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	typeA     = dns.TypeA
	typeAAAA  = dns.TypeAAAA
	typeMX    = dns.TypeMX
	typePTR   = dns.TypePTR
	typeTXT   = dns.TypeTXT
	typeTLSA  = dns.TypeTLSA
	typeCNAME = dns.TypeCNAME

	ednsSize = 1232 // octets; fits the IPv6 minimum MTU unfragmented
)

func typeName(t uint16) string { return dns.TypeToString[t] }

// systemServers reads the name servers of a resolv.conf, as written there.
func systemServers(file string) ([]string, error) {
	c, err := dns.ClientConfigFromFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	return c.Servers, nil
}

// root is a question that every resolver can answer.
var root = question{"", dns.TypeNS}

func isName(s string) bool {
	_, ok := dns.IsDomainName(s)
	return ok && s != ""
}

func reverseName(a netip.Addr) string {
	name, err := dns.ReverseAddr(a.String())
	if err != nil {
		return "invalid" // a netip.Addr that prints cannot fail to parse
	}
	return strings.TrimSuffix(name, ".")
}

// try asks one server once: with EDNS0 as far as the server takes it, by TCP when the answer was
// truncated. again: the server did not answer in the previous round.
func (r *Resolver) try(ctx context.Context, q question, server string, again bool) result {
	fail := func(t Trouble, format string, args ...any) result {
		return result{err: &Error{Name: q.name, Type: typeName(q.typ), Trouble: t, Detail: fmt.Sprintf(format, args...)}}
	}
	ctx, cancel := context.WithTimeout(ctx, 4*r.timeout) // twice UDP, then TCP
	defer cancel()
	reply, doubt, err := r.converse(ctx, q, server, again)
	switch {
	case err != nil:
		return fail(Timeout, "%s: %v", server, err)
	case strayOPT(reply):
		return fail(ServFail, "%s: the answer is malformed", server)
	case lame(reply):
		return fail(ServFail, "%s does not resolve for us (no recursion)", server)
	case referral(reply):
		// If this counted as NODATA, mail would bounce because of a fault of the resolver.
		return fail(ServFail, "%s does not resolve, it only refers to other servers", server)
	case reply.Rcode == dns.RcodeNameError || reply.Rcode == dns.RcodeSuccess:
		res := r.read(q, reply)
		if res.doubt = doubt; res.err != nil {
			res.err.Doubt = doubt
		}
		return res
	}
	return fail(ServFail, "%s: %s", server, dns.RcodeToString[reply.Rcode])
}

// converse asks with EDNS0, or without where the server has kept silent or is
// known to want that.
//
// Some resolvers set the AD bit only in answers with EDNS0, and an attacker who delays packets can
// make it look as if the server dropped such questions: DANE would be lost. So a trusted server
// that answers without EDNS0 and without the AD bit is asked with EDNS0 for the root, which every
// resolver knows. If it does not answer, it does not support EDNS0, nor DNSSEC. Otherwise it is
// asked the question with EDNS0 once more: by now it knows the answer. If it does not answer that,
// it is in doubt whether the answer is signed.
func (r *Resolver) converse(ctx context.Context, q question, server string, again bool) (reply *dns.Msg, doubt bool, err error) {
	plain := r.manners.plain(server)
	if !plain && !again {
		reply, err := r.withEDNS(ctx, q, server)
		if !errors.Is(err, errEDNS) {
			return reply, false, err
		}
	}
	reply, err = r.exchange(ctx, server, q, false)
	if err != nil || plain {
		return reply, false, err
	}
	if doubt = r.Trusted() && !reply.AuthenticatedData; doubt {
		_, err := r.withEDNS(ctx, root, server)
		doubt = err == nil
	}
	switch {
	case doubt && again:
		ctx, cancel := context.WithTimeout(ctx, min(r.timeout, knownAnswer))
		defer cancel()
		if full, err := r.withEDNS(ctx, q, server); err == nil {
			return full, false, nil
		}
	case !doubt && (again || !r.Trusted()): // a trusted server may have refused only this question
		r.manners.learn(server, false)
	}
	return reply, doubt, nil
}

// knownAnswer is how long a resolver may take for an answer that it has just given.
const knownAnswer = time.Second

// withEDNS asks with EDNS0; errEDNS: the server did not accept it.
func (r *Resolver) withEDNS(ctx context.Context, q question, server string) (*dns.Msg, error) {
	reply, err := r.exchange(ctx, server, q, true)
	switch {
	case err != nil:
		return nil, err
	case noEDNS(reply) || strayOPT(reply) || failsWithEDNS(reply):
		return nil, errEDNS
	}
	r.manners.learn(server, true)
	return reply, nil
}

var errEDNS = errors.New("the server does not take EDNS0")

// noEDNS says whether a server refused the query for its EDNS0 (RFC 6891 §7).
func noEDNS(m *dns.Msg) bool {
	return m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented || m.Rcode == dns.RcodeBadVers
}

// failsWithEDNS says whether a server may have failed a query because of its EDNS0, or left records
// out because of it: a server that supports EDNS0 shows that in its answer (RFC 6891 §6.1.1).
func failsWithEDNS(m *dns.Msg) bool {
	fails := m.Rcode == dns.RcodeServerFailure || m.Rcode == dns.RcodeRefused
	return (fails || len(m.Answer)+len(m.Ns) == 0) && m.IsEdns0() == nil
}

// referral says whether the answer is from a server that does not resolve and names other servers
// to ask.
func referral(m *dns.Msg) bool {
	return m.Rcode == dns.RcodeSuccess && !m.Authoritative && len(m.Answer) == 0 &&
		slices.ContainsFunc(m.Ns, isType(dns.TypeNS)) && !slices.ContainsFunc(m.Ns, isType(dns.TypeSOA))
}

func isType(t uint16) func(dns.RR) bool {
	return func(rr dns.RR) bool { return rr.Header().Rrtype == t }
}

// strayOPT says whether the pseudo-record of EDNS0 stands among the answers,
// where no correct resolver puts it.
func strayOPT(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Answer, isType(dns.TypeOPT))
}

// lame says whether an answer without records is from a server that neither resolves nor knows the
// zone: taken for NODATA, it would bounce mail because of a fault of the server.
func lame(m *dns.Msg) bool {
	return len(m.Answer) == 0 && !m.Authoritative && !m.RecursionAvailable &&
		(m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError)
}

// exchange asks a question over UDP, and over TCP if the answer was truncated.
func (r *Resolver) exchange(ctx context.Context, server string, q question, edns bool) (*dns.Msg, error) {
	reply, err := r.send(ctx, "udp", server, q, edns)
	if err == nil && reply.Truncated {
		return r.send(ctx, "tcp", server, q, edns)
	}
	return reply, err
}

// send sends one query and waits for its answer. The socket is connected
// and new, so a forger must guess its port as well as the ID.
func (r *Resolver) send(ctx context.Context, network, server string, q question, edns bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(q.name), q.typ)
	// AD in a query asks for AD in the answer without the signatures that DO
	// would bring (RFC 6840 §5.7).
	query.AuthenticatedData = true
	if edns {
		query.SetEdns0(ednsSize, false)
	}
	packet, err := query.Pack()
	if err != nil {
		return nil, err
	}
	conn, err := r.dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if network == "tcp" {
		return overTCP(conn, query, packet)
	}
	return overUDP(conn, query, packet)
}

// overUDP ignores packets that are no answer to query until the deadline: if the first forged
// packet were an error, an attacker could stop our mail.
func overUDP(conn net.Conn, query *dns.Msg, packet []byte) (*dns.Msg, error) {
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	buf := make([]byte, 65535)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		reply := new(dns.Msg)
		if err := reply.Unpack(buf[:n]); err != nil && !reply.Truncated {
			continue
		}
		if answers(query, reply) {
			return reply, nil
		}
	}
}

func overTCP(conn net.Conn, query *dns.Msg, packet []byte) (*dns.Msg, error) {
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	if _, err := conn.Write(framed); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(buf); err != nil {
		return nil, err
	}
	if !answers(query, reply) || reply.Truncated {
		return nil, errors.New("the answer belongs to another question")
	}
	return reply, nil
}

// answers says whether reply is an answer to query: the library compares
// nothing but the ID, and that only in its own client.
func answers(query, reply *dns.Msg) bool {
	if reply.Id != query.Id || !reply.Response || reply.Opcode != dns.OpcodeQuery {
		return false
	}
	if noEDNS(reply) && len(reply.Question) == 0 { // an old server may return the bare header (RFC 6891 §7)
		return true
	}
	if len(reply.Question) != 1 {
		return false
	}
	got, want := reply.Question[0], query.Question[0]
	return strings.EqualFold(got.Name, want.Name) && got.Qtype == want.Qtype && got.Qclass == want.Qclass
}

// read follows the CNAMEs of an answer and takes the records at their end; records of other names
// are ignored.
func (r *Resolver) read(q question, m *dns.Msg) result {
	res := result{name: q.name, secure: r.Trusted() && m.AuthenticatedData, ttl: maxTTL}
	bad := func(t Trouble, detail string) result {
		return result{name: res.name, ttl: failureTTL, err: &Error{Name: q.name, Type: typeName(q.typ), Trouble: t, Detail: detail, Secure: res.secure}}
	}
	chain := []string{res.name}
	for range maxCNAMEs {
		i := slices.IndexFunc(m.Answer, func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeCNAME && owner(rr) == res.name && q.typ != dns.TypeCNAME
		})
		if i < 0 {
			res.collect(q.typ, m.Answer)
			if m.Rcode == dns.RcodeSuccess && len(res.mx)+len(res.addrs)+len(res.texts)+len(res.tlsa) > 0 {
				return res
			}
			if unfit(m.Answer, chain) {
				return bad(ServFail, "the answer has records that do not fit the question")
			}
			none := bad(NoData, "")
			if m.Rcode == dns.RcodeNameError {
				none.err.Trouble = NXDomain
			}
			none.ttl = min(negativeTTL(m.Ns), res.ttl)
			none.open = res.name != q.name && m.Rcode == dns.RcodeSuccess && !slices.ContainsFunc(m.Ns, isType(dns.TypeSOA))
			return none
		}
		cname := m.Answer[i].(*dns.CNAME)
		res.name = clean(cname.Target)
		chain = append(chain, res.name)
		res.ttl = min(res.ttl, seconds(cname.Hdr.Ttl))
	}
	return bad(ServFail, "a chain of CNAMEs without end")
}

// unfit says whether an answer without the records that were asked for has records other than the
// aliases of chain and their signatures. Such an answer is incomplete or about something else, so
// it does not prove that there are no records. Taken for such a proof, it would bounce mail or
// disable DANE.
func unfit(answer []dns.RR, chain []string) bool {
	aliases := chain[:len(chain)-1]
	return slices.ContainsFunc(answer, func(rr dns.RR) bool {
		switch rr.Header().Rrtype {
		case dns.TypeCNAME:
			return !slices.Contains(aliases, owner(rr))
		case dns.TypeDNAME: // of a zone that an alias leaves (RFC 6672 §3.1)
			beneath := func(name string) bool { return strings.HasSuffix(name, "."+owner(rr)) }
			return !slices.ContainsFunc(aliases, beneath) || beneath(chain[len(chain)-1])
		case dns.TypeRRSIG:
			return false
		}
		return true
	})
}

func (r *result) collect(typ uint16, answer []dns.RR) {
	for _, rr := range answer {
		if rr.Header().Rrtype != typ || rr.Header().Class != dns.ClassINET || owner(rr) != r.name {
			continue
		}
		switch rr := rr.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				r.addrs = append(r.addrs, a)
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
				r.addrs = append(r.addrs, a)
			}
		case *dns.MX:
			r.mx = append(r.mx, MX{Host: clean(rr.Mx), Preference: rr.Preference})
		case *dns.CNAME:
			r.texts = append(r.texts, clean(rr.Target))
		case *dns.PTR:
			r.texts = append(r.texts, clean(rr.Ptr))
		case *dns.TXT:
			r.texts = append(r.texts, strings.Join(rr.Txt, ""))
		case *dns.TLSA:
			if data, err := hex.DecodeString(rr.Certificate); err == nil {
				r.tlsa = append(r.tlsa, TLSA{rr.Usage, rr.Selector, rr.MatchingType, data})
			}
		}
		r.ttl = min(r.ttl, seconds(rr.Header().Ttl))
	}
}

// negativeTTL is the lesser of the SOA's TTL and its MINIMUM (RFC 2308 §5).
func negativeTTL(authority []dns.RR) time.Duration {
	for _, rr := range authority {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(seconds(soa.Hdr.Ttl), seconds(soa.Minttl), maxNegative)
		}
	}
	return failureTTL
}

func owner(rr dns.RR) string { return clean(rr.Header().Name) }

func clean(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// seconds reads a TTL; one with the top bit set is 0 (RFC 2181 §8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}
