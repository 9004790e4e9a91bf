package mx

import (
	"errors"

	"dawk/mx/connpool"
	"dawk/relay"
)

// sevenBit is what an attempt knows of its content without 8-bit octets: made
// when the first host wants it, and kept for the others.
type sevenBit struct {
	tried   bool
	content relay.Content // nil: there is none
	why     relay.Reply   // then
}

// Close forgets it; the next host that wants it gets it made anew.
func (s *sevenBit) Close() {
	if s.content != nil {
		s.content.Close() //nolint:errcheck // nobody reads it any more
	}
	*s = sevenBit{}
}

// contentFor is the content as this server may be given it, or why it cannot
// be (RFC 6152 §3).
func (a *attempt) contentFor(c *connpool.Conn) (relay.Content, relay.Reply) {
	if c.Ext.EightBitMIME || !a.msg.EightBit {
		return a.content, relay.Reply{}
	}
	s := &a.seven
	if !s.tried {
		s.tried = true
		s.make(a.t.cfg.SevenBit, a.msg, a.content)
		if s.content != nil {
			a.t.cfg.Log.Debug("8-bit content is converted", "host", c.Peer.Host, "qid", a.msg.ID, "octets", s.content.Size())
		}
	}
	if s.content == nil {
		return nil, c.Named(s.why)
	}
	return s.content, relay.Reply{}
}

func (s *sevenBit) make(convert func(*relay.Message, relay.Content) (relay.Content, error), m *relay.Message, from relay.Content) {
	const no = "the server takes no 8-bit content (8BITMIME), and "
	// RFC 3463: conversion required but not supported, or prohibited.
	s.why = relay.Failure(relay.StageMail, relay.Status{Class: 5, Subject: 6, Detail: 3}, no+"the message has some")
	if convert == nil {
		return
	}
	content, err := convert(m, from)
	switch {
	case err == nil:
		s.content = content
	case errors.Is(err, relay.ErrNotSevenBit):
		s.why.Text = relay.Sanitize(no + err.Error())
	default:
		s.why = relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 3, Detail: 0}, "cannot convert the message for a server without 8BITMIME: %v", err)
	}
}
