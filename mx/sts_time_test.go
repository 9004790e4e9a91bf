package mx_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/mx"
	"dawk/mx/dns"
)

// names answers every question about b.test, without sockets.
type names struct{}

func (names) LookupMX(context.Context, string) (dns.Answer[dns.MX], error) {
	return dns.Answer[dns.MX]{Records: []dns.MX{{Host: "mx.b.test", Preference: 10}}}, nil
}

func (names) LookupAddrs(context.Context, string, string) (dns.Answer[netip.Addr], error) {
	return dns.Answer[netip.Addr]{Records: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, nil
}

func (names) LookupCNAME(context.Context, string) (dns.Answer[string], error) {
	return dns.Answer[string]{}, &dns.Error{Trouble: dns.NoData}
}

func (names) LookupTXT(context.Context, string) (dns.Answer[string], error) {
	return dns.Answer[string]{Records: []string{"v=STSv1; id=1;"}}, nil
}

func (names) LookupTLSA(context.Context, string, uint16) (dns.Answer[dns.TLSA], error) {
	return dns.Answer[dns.TLSA]{}, &dns.Error{Trouble: dns.NoData}
}

// A policy host that takes the connection and says nothing, or next to nothing,
// costs a delivery ten seconds at most, once in five minutes.
func TestSTSFetchTime(t *testing.T) {
	for name, answer := range map[string]func(context.Context) (net.Conn, error){
		"says nothing": func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { io.Copy(io.Discard, theirs); theirs.Close() }()
			return ours, nil
		},
		"an octet a second": func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			go func() {
				defer theirs.Close()
				for {
					if _, err := theirs.Write([]byte{22}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			return ours, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := mx.Config{Hostname: "relay.example.org", Resolver: names{}, MTASTS: true,
					Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
						if strings.HasSuffix(addr, ":443") {
							return answer(ctx)
						}
						return nil, errors.New("refused")
					}}
				tr, err := mx.NewTransport(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer tr.Close()
				for _, c := range []struct {
					after, most time.Duration
					fetched     bool
				}{{0, 10 * time.Second, true}, {time.Minute, 0, false}, {5 * time.Minute, 10 * time.Second, true}} {
					time.Sleep(c.after)
					began := time.Now()
					res := tr.Deliver(t.Context(), task(t, letter, "x@b.test"))
					if res.Replies[0].Permanent() {
						t.Errorf("%+v", res.Replies[0])
					}
					if took := time.Since(began); took > c.most || c.fetched == (took == 0) {
						t.Errorf("after %v: %v, at most %v", c.after, took, c.most)
					}
				}
				time.Sleep(2 * time.Second) // the host finds out that we are gone
			})
		})
	}
}
