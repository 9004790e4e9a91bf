package smtpclient

import "time"

// Timeouts are the limits of a conversation (RFC 5321 §4.5.3.2). Only Block
// renews while bytes move; the others cover a whole reply, so that a server
// that sends an octet a second cannot hold a worker. 0: the default.
type Timeouts struct {
	Connect  time.Duration // one address; 30 s
	Greeting time.Duration // 5 min
	Command  time.Duration // the reply to EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET, and a TLS handshake; 5 min
	Data     time.Duration // the reply to DATA; 2 min
	Block    time.Duration // one write of content; 3 min
	FinalDot time.Duration // the reply to the final dot; 10 min
	Session  time.Duration // one attempt in all, without the time of a body that moves at 1 KiB/s or more; 30 min
}

func (t Timeouts) WithDefaults() Timeouts {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&t.Connect, 30 * time.Second}, {&t.Greeting, 5 * time.Minute}, {&t.Command, 5 * time.Minute},
		{&t.Data, 2 * time.Minute}, {&t.Block, 3 * time.Minute}, {&t.FinalDot, 10 * time.Minute},
		{&t.Session, 30 * time.Minute},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	return t
}

// AtMost is t with every single step limited to d.
func (t Timeouts) AtMost(d time.Duration) Timeouts {
	for _, step := range []*time.Duration{&t.Connect, &t.Greeting, &t.Command, &t.Data, &t.Block, &t.FinalDot} {
		*step = min(*step, d)
	}
	return t
}
