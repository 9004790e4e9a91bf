package connpool

import (
	"dawk/mx/smtpclient"
	"dawk/relay"
	"dawk/relay/replies"
)

// OfSession is the trouble of a host whose refusal r speaks of the session and
// not of the mail: it wants TLS, or a login that mail to an MX host never has.
// Another host, or another attempt, may do better. It is zero for any other reply.
func (c *Conn) OfSession(r relay.Reply) relay.Reply {
	switch {
	case r.Code < 500:
		return relay.Reply{}
	case c.NoTLS != "" && replies.WantsTLS(r):
		return c.Named(relay.Failure(relay.StageTLS, smtpclient.StatusNoTLS,
			"TLS failed (%s), and without it the server takes no mail: %s", c.NoTLS, r.String()))
	case r.Stage != relay.StageMail && r.Stage != relay.StageRcpt && r.Stage != relay.StageData:
		return relay.Reply{}
	case c.TLS == "" && replies.WantsTLSNotLogin(r):
		return c.Named(relay.Failure(relay.StageTLS, smtpclient.StatusNoTLS,
			"the session is in the clear, and so the server takes no mail: %s", r.String()))
	case c.Key.Account == "" && (r.Code == 530 || r.Code == 535 || r.Code == 538): // found by MX
		return c.Named(relay.Failure(r.Stage, relay.Status{Class: 4, Subject: 7, Detail: 0},
			"the server demands a login, which an MX host must not: %s", r.String()))
	}
	return relay.Reply{}
}
