package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/emersion/go-smtp"
	mdns "github.com/miekg/dns"
)

// receiver is the one mail server of the demo. It keeps what it takes, and
// treats the domains of recipients differently: see refusal.
type receiver struct {
	server *smtp.Server
	l      net.Listener
	served chan error // Serve has returned

	news
	got    []received
	greyed map[string]bool // recipients that were deferred once
}

// received is a message that the receiver took.
type received struct {
	from string
	to   []string
	data []byte
}

func newReceiver(hostname string) (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{l: l, served: make(chan error, 1), news: newNews(), greyed: map[string]bool{}}
	r.server = smtp.NewServer(r)
	r.server.Domain, r.server.EnableSMTPUTF8, r.server.EnableDSN = hostname, true, true
	go func() { r.served <- r.server.Serve(l) }()
	return r, nil
}

func (r *receiver) close() {
	r.l.Close() // the server closes only what it has begun to serve
	r.server.Close()
	<-r.served
}

func (r *receiver) addr() netip.AddrPort { return r.l.Addr().(*net.TCPAddr).AddrPort() }

// refusal is the receiver's answer to RCPT; nil: it takes the mail.
func (r *receiver) refusal(to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch _, domain, _ := strings.Cut(to, "@"); domain {
	case "greylist.test":
		if !r.greyed[to] {
			r.greyed[to] = true
			return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Greylisted, please come back in a moment"}
		}
	case "strict.test":
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "There is nobody by that name here"}
	case "stuck.test":
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Our disk is full, somebody is looking at it"}
	}
	return nil
}

// wait waits until the receiver has n messages, or ctx ends, and gives what it
// has by then.
func (r *receiver) wait(ctx context.Context, n int) ([]received, error) {
	var got []received
	err := r.until(ctx, func() bool {
		got = r.got[:len(r.got):len(r.got)]
		return len(got) >= n
	})
	return got, err
}

// NewSession implements smtp.Backend.
func (r *receiver) NewSession(*smtp.Conn) (smtp.Session, error) { return &visit{r: r}, nil }

// visit is one session with the receiver. It implements smtp.Session.
type visit struct {
	r   *receiver
	now received
}

func (v *visit) Mail(from string, _ *smtp.MailOptions) error {
	v.now = received{from: from}
	return nil
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := v.r.refusal(to); err != nil {
		return err
	}
	v.now.to = append(v.now.to, to)
	return nil
}

func (v *visit) Data(body io.Reader) (err error) {
	if v.now.data, err = io.ReadAll(body); err != nil {
		return err
	}
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	v.r.got = append(v.r.got, v.now)
	v.r.tell()
	return nil
}

func (v *visit) Reset() { v.now = received{} }

func (v *visit) Logout() error { return nil }

// zone is the DNS server of the demo, over UDP.
type zone struct {
	server  *mdns.Server
	records []mdns.RR
	served  chan error
}

func newZone(text string) (*zone, error) {
	z := &zone{served: make(chan error, 1)}
	parser := mdns.NewZoneParser(strings.NewReader(text), ".", "")
	parser.SetDefaultTTL(0)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		z.records = append(z.records, rr)
	}
	if err := parser.Err(); err != nil {
		return nil, err
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	started := make(chan struct{})
	z.server = &mdns.Server{PacketConn: pc, Handler: z, NotifyStartedFunc: func() { close(started) }}
	go func() { z.served <- z.server.ActivateAndServe() }()
	select {
	case <-started:
		return z, nil
	case err := <-z.served:
		return nil, errors.Join(err, pc.Close())
	}
}

func (z *zone) addr() string { return z.server.PacketConn.LocalAddr().String() }

func (z *zone) close() {
	z.server.Shutdown()
	<-z.served
}

// ServeDNS implements dns.Handler: it answers with the records of the zone, and
// NXDOMAIN for names that have none.
func (z *zone) ServeDNS(w mdns.ResponseWriter, query *mdns.Msg) {
	reply := new(mdns.Msg).SetReply(query)
	reply.Authoritative, reply.Rcode = true, mdns.RcodeNameError
	for _, rr := range z.records {
		if q := query.Question[0]; strings.EqualFold(rr.Header().Name, q.Name) {
			reply.Rcode = mdns.RcodeSuccess
			if rr.Header().Rrtype == q.Qtype {
				reply.Answer = append(reply.Answer, rr)
			}
		}
	}
	w.WriteMsg(reply) //nolint:errcheck // who asked asks again
}
