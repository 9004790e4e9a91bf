package connpool

import (
	"strings"

	"dawk/mx/smtpclient"
	"dawk/relay"
)

// OfSession is the trouble of a host whose refusal r speaks of the session and
// not of the mail: it wants TLS, or a login that mail to an MX host never has.
// Another host, or another attempt, may do better. It is zero for any other reply.
func (c *Conn) OfSession(r relay.Reply) relay.Reply {
	switch {
	case r.Code < 500:
		return relay.Reply{}
	case c.NoTLS != "" && (wantsTLS(r) || mentions(r, "starttls")):
		return c.Named(relay.Failure(relay.StageTLS, smtpclient.StatusNoTLS,
			"TLS failed (%s), and without it the server takes no mail: %s", c.NoTLS, r.String()))
	case r.Stage != relay.StageMail && r.Stage != relay.StageRcpt && r.Stage != relay.StageData:
		return relay.Reply{}
	case c.TLS == "" && wantsTLS(r) && !c.wantsLogin(r):
		return c.Named(relay.Failure(relay.StageTLS, smtpclient.StatusNoTLS,
			"the session is in the clear, and so the server takes no mail: %s", r.String()))
	case c.Key.Account == "" && (r.Code == 530 || r.Code == 535 || r.Code == 538): // found by MX
		return c.Named(relay.Failure(r.Stage, relay.Status{Class: 4, Subject: 7, Detail: 0},
			"the server demands a login, which an MX host must not: %s", r.String()))
	}
	return relay.Reply{}
}

// wantsTLS says whether r may be for want of TLS (RFC 3207 §4, RFC 5248).
func wantsTLS(r relay.Reply) bool {
	needed := r.Status.Subject == 7 && (r.Status.Detail == 10 || r.Status.Detail == 11)
	return r.Code == 530 || r.Code == 523 || r.Code == 538 || needed
}

// wantsLogin says whether a 530 is about a login (RFC 4954 §6), whose code it
// shares. A smart host's word on our account must be left to what holds its route.
func (c *Conn) wantsLogin(r relay.Reply) bool {
	return r.Code == 530 && !mentions(r, "starttls") &&
		(mentions(r, "authenticat") || mentions(r, "smtp auth") || mentions(r, "auth command") || mentions(r, "log in") || mentions(r, "login"))
}

func mentions(r relay.Reply, word string) bool {
	return strings.Contains(strings.ToLower(r.Text), word)
}
