package dns

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Config configures a Resolver; the zero value is useful.
type Config struct {
	Servers []string      // "host:port" or "ip"; empty: those of File
	File    string        // a resolv.conf, read again when it changes; "": /etc/resolv.conf
	Trusted *bool         // believe the AD bit; nil: only if every server is on a loopback address
	Timeout time.Duration // of one try at one server; 0: 3 s
	Rounds  int           // how often each server is asked; 0: 2
	Size    int           // answers kept; 0: 10,000
	Log     *slog.Logger  // lines of File that are skipped, and outages; nil: not logged
	// Dial connects to a server; nil: a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Resolver is a caching stub resolver. It is safe for use by many goroutines.
type Resolver struct {
	servers *servers
	trusted *bool // nil: as the servers are
	timeout time.Duration
	rounds  int
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)

	manners manners
	outages outages

	first  atomic.Uint32 // index of the server that answered last, which is asked first: the time-out of a dead one is spent once
	cache  *cache
	flight singleflight.Group
	slots  chan struct{} // bounds the questions under way
}

const (
	maxInFlight   = 256
	maxLookup     = 30 * time.Second // of one lookup: all servers, rounds and aliases together
	maxTTL        = 24 * time.Hour
	maxNegative   = 3 * time.Hour   // RFC 2308 §5
	failureTTL    = 5 * time.Second // SERVFAIL, time-outs, negative answers without SOA (RFC 9520 asks for 1 s to 5 min)
	maxCNAMEs     = 16              // in one answer; BIND follows 11, or 16 before 9.18.28, unbound 12
	maxChases     = 4               // questions about where an answer's aliases end
	resolvConf    = "/etc/resolv.conf"
	fallbackDNS   = "127.0.0.1:53" // resolv.conf(5): when it names no server
	defaultTry    = 3 * time.Second
	defaultRounds = 2
)

// NewResolver reads resolv.conf when cfg names no server.
func NewResolver(cfg Config) (*Resolver, error) {
	r := &Resolver{trusted: cfg.Trusted, timeout: cfg.Timeout, rounds: cfg.Rounds, dial: cfg.Dial, slots: make(chan struct{}, maxInFlight)}
	var err error
	r.outages.log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if r.servers, err = newServers(cfg.Servers, cmp.Or(cfg.File, resolvConf), r.outages.log); err != nil {
		return nil, err
	}
	if r.timeout <= 0 {
		r.timeout = defaultTry
	}
	if r.rounds <= 0 {
		r.rounds = defaultRounds
	}
	if r.dial == nil {
		r.dial = new(net.Dialer).DialContext
	}
	size := cfg.Size
	if size <= 0 {
		size = 10_000
	}
	r.cache = newCache(size)
	return r, nil
}

// Servers are the servers asked, "host:port".
func (r *Resolver) Servers() []string {
	list, _ := r.servers.get()
	return list
}

// Trusted says whether the AD bit of the servers is believed.
func (r *Resolver) Trusted() bool {
	if r.trusted != nil {
		return *r.trusted
	}
	_, loopback := r.servers.get()
	return loopback
}

// Answer is a positive answer.
type Answer[T any] struct {
	Records []T
	Secure  bool   // DNSSEC: AD from a trusted server, for the whole chain
	Mixed   bool   // of addresses: those of one family alone are Secure
	Doubt   bool   // a trusted server could not say whether it is Secure
	Name    string // of the records, after CNAMEs; lower case, no final dot
}

// MX is an MX record. The host of a null MX (RFC 7505) is "".
type MX struct {
	Host       string // lower case, no final dot
	Preference uint16
}

// TLSA is a record of RFC 6698.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// String is the record as a zone file has it.
func (r TLSA) String() string {
	return fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.Matching, hex.EncodeToString(r.Data))
}

// Trouble is what kind of non-answer DNS gave: the DSN codes differ.
type Trouble string

// The kinds.
const (
	NXDomain Trouble = "NXDOMAIN" // the name does not exist
	NoData   Trouble = "NODATA"   // it does, without records of this type
	ServFail Trouble = "SERVFAIL" // the servers failed or refused, or DNSSEC is bogus
	Timeout  Trouble = "timeout"  // no server answered
)

// Error is any answer without records.
type Error struct {
	Name, Type string
	Trouble    Trouble
	Secure     bool   // of NXDOMAIN and NODATA
	Doubt      bool   // likewise: as in Answer
	Detail     string // more for people; may be ""
}

func (e *Error) Error() string {
	s := fmt.Sprintf("DNS: %s for %s %s", e.Trouble, e.Name, e.Type)
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// Temporary says whether asking again later may help. What is not a Error
// is temporary, too.
func Temporary(err error) bool {
	var e *Error
	return err != nil && (!errors.As(err, &e) || e.Trouble == ServFail || e.Trouble == Timeout)
}

// question and result are a lookup in the terms of wire.go. A result has records of the type that
// was asked for only.
type question struct {
	name string // lower case, no final dot
	typ  uint16
}

type result struct {
	name   string
	mx     []MX
	addrs  []netip.Addr
	texts  []string // TXT, or names of PTR and CNAME
	tlsa   []TLSA
	secure bool
	doubt  bool // see Answer
	open   bool // err is NoData, and the answer ends with an alias and says nothing about its target
	ttl    time.Duration
	err    *Error
}

// LookupMX asks for MX records, in no order. No record is a NoData error; the
// caller decides on the implicit MX.
func (r *Resolver) LookupMX(ctx context.Context, domain string) (Answer[MX], error) {
	res, err := r.lookup(ctx, domain, typeMX)
	return answerOf(res, res.mx), err
}

// LookupAddrs asks for the addresses of host: ip "4" for A, "6" for AAAA, "both" or "" for both;
// IPv6 and IPv4 take turns. An error of one family is returned only if the other has no addresses
// either.
func (r *Resolver) LookupAddrs(ctx context.Context, host, ip string) (Answer[netip.Addr], error) {
	var res6, res4 result
	var err6, err4 error
	var wg sync.WaitGroup
	if ip != "4" {
		wg.Go(func() { res6, err6 = r.lookup(ctx, host, typeAAAA) })
	}
	if ip != "6" {
		res4, err4 = r.lookup(ctx, host, typeA)
	}
	wg.Wait()
	switch ip {
	case "4":
		return answerOf(res4, shuffled(res4.addrs)), r.leftOut(ctx, host, ip, typeAAAA, err4)
	case "6":
		return answerOf(res6, shuffled(res6.addrs)), r.leftOut(ctx, host, ip, typeA, err6)
	}
	switch {
	case err6 != nil && err4 != nil:
		if Temporary(err6) && !Temporary(err4) { // one may still have addresses
			return Answer[netip.Addr]{}, err6
		}
		return Answer[netip.Addr]{}, err4
	case err6 != nil:
		res6 = result{secure: res4.secure, doubt: res4.doubt, name: res4.name}
	case err4 != nil:
		res4 = result{secure: res6.secure, doubt: res6.doubt, name: res6.name}
	}
	all := answerOf(res4, interleave(shuffled(res6.addrs), shuffled(res4.addrs)))
	all.Secure = res6.secure && res4.secure
	all.Mixed, all.Doubt = res6.secure != res4.secure, res6.doubt || res4.doubt
	return all, nil
}

// leftOut is the error of a lookup of one family; it says whether host has addresses of the other.
func (r *Resolver) leftOut(ctx context.Context, host, ip string, other uint16, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Trouble != NoData {
		return err
	}
	switch _, wrong := r.lookup(ctx, host, other); {
	case wrong == nil:
		return LeftOut(e.Name, ip)
	case Temporary(wrong): // it is not known yet which error to return
		return wrong
	}
	return err
}

// LeftOut is why a host cannot be used whose addresses are of another family than
// ip, "4" or "6".
func LeftOut(host, ip string) error {
	return &Error{Name: host, Type: "address", Trouble: NoData, Detail: "the setting ip = \"" + ip + "\" of this relay leaves out the family of its addresses"}
}

// LookupPTR asks for the names of an address.
func (r *Resolver) LookupPTR(ctx context.Context, addr netip.Addr) (Answer[string], error) {
	res, err := r.lookup(ctx, reverseName(addr.Unmap()), typePTR)
	return answerOf(res, res.texts), err
}

// LookupCNAME asks for the alias itself, and does not follow it.
func (r *Resolver) LookupCNAME(ctx context.Context, name string) (Answer[string], error) {
	res, err := r.lookup(ctx, name, typeCNAME)
	return answerOf(res, res.texts), err
}

// LookupTXT asks for TXT records, the strings of each joined.
func (r *Resolver) LookupTXT(ctx context.Context, name string) (Answer[string], error) {
	res, err := r.lookup(ctx, name, typeTXT)
	return answerOf(res, res.texts), err
}

// LookupTLSA asks for the TLSA records of a TCP service.
func (r *Resolver) LookupTLSA(ctx context.Context, host string, port uint16) (Answer[TLSA], error) {
	res, err := r.lookup(ctx, fmt.Sprintf("_%d._tcp.%s", port, host), typeTLSA)
	return answerOf(res, res.tlsa), err
}

func answerOf[T any](r result, records []T) Answer[T] {
	return Answer[T]{Records: records, Secure: r.secure, Doubt: r.doubt, Name: r.name}
}

// lookup answers from the cache, or joins or starts a question. The question continues when a
// caller gives up: others may wait for the same answer.
func (r *Resolver) lookup(ctx context.Context, name string, typ uint16) (result, error) {
	q := question{strings.ToLower(strings.TrimSuffix(name, ".")), typ}
	if res, ok := r.cache.get(q); ok {
		return res.answer()
	}
	wire := context.WithoutCancel(ctx)
	ch := r.flight.DoChan(fmt.Sprint(typ, " ", q.name), func() (any, error) {
		r.slots <- struct{}{}
		defer func() { <-r.slots }()
		wire, cancel := context.WithTimeout(wire, maxLookup)
		defer cancel()
		res := r.resolve(wire, q)
		r.cache.put(q, res)
		return res, nil
	})
	select {
	case got := <-ch:
		return got.Val.(result).answer()
	case <-ctx.Done():
		return result{}, &Error{Name: q.name, Type: typeName(typ), Trouble: Timeout, Detail: "the lookup was stopped"}
	}
}

func (r result) answer() (result, error) {
	if r.err != nil {
		return result{}, r.err
	}
	return r, nil
}

// resolve calls ask, and follows aliases that the servers did not: an answer that ends with an
// alias, and does not deny that its target has records, is not complete.
func (r *Resolver) resolve(ctx context.Context, q question) result {
	res := r.ask(ctx, q)
	for chased := 0; res.open; chased++ {
		if chased == maxChases {
			return result{ttl: failureTTL, err: &Error{Name: q.name, Type: typeName(q.typ), Trouble: ServFail, Detail: "a chain of CNAMEs without end"}}
		}
		next := r.ask(ctx, question{res.name, q.typ})
		next.ttl = min(next.ttl, res.ttl)
		next.secure = next.secure && res.err.Secure
		next.doubt = next.doubt || res.doubt
		if next.err != nil {
			next.err.Secure, next.err.Doubt = next.err.Secure && res.err.Secure, next.doubt
		}
		res = next
	}
	return res
}

// ask asks the servers in turn until one gives a usable answer. After SERVFAIL or REFUSED the next
// server is asked.
func (r *Resolver) ask(ctx context.Context, q question) result {
	if !isName(q.name) {
		return result{err: &Error{Name: q.name, Type: typeName(q.typ), Trouble: NXDomain, Detail: "not a domain name"}}
	}
	var worst result
	servers := r.Servers()
	first := int(r.first.Load())
	for round := range r.rounds {
		silent := false
		for i := range servers {
			n := (first + i) % len(servers)
			res := r.try(ctx, q, servers[n], round > 0)
			if res.err == nil || res.err.Trouble == NXDomain || res.err.Trouble == NoData {
				r.first.Store(uint32(n))
				r.outages.answered()
				return res
			}
			silent = silent || res.err.Trouble == Timeout
			if worst.err == nil || worst.err.Trouble == Timeout { // an answer says more than a time-out
				worst = res
			}
		}
		if !silent {
			break // every server has answered: asking again changes nothing
		}
	}
	worst.ttl = failureTTL
	r.failed(ctx, q, worst.err)
	return worst
}

func interleave[T any](a, b []T) []T {
	out := make([]T, 0, len(a)+len(b))
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			out = append(out, a[i])
		}
		if i < len(b) {
			out = append(out, b[i])
		}
	}
	return out
}

// shuffled returns a shuffled copy, since the cached slice is shared.
func shuffled[T any](s []T) []T {
	c := append([]T(nil), s...)
	rand.Shuffle(len(c), func(i, j int) { c[i], c[j] = c[j], c[i] })
	return c
}
