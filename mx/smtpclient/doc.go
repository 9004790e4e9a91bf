// Package smtpclient speaks SMTP and LMTP as a client, on a connection that somebody else has made.
// It owns the reading of replies (reply.go), EHLO and STARTTLS (hello.go, ehlo.go), logins
// (auth.go, scram.go), the commands of the envelope (params.go), the transaction with or without
// PIPELINING (transact.go) and the content on the wire (body.go, pace.go). It does not choose
// hosts, keep connections or decide what TLS a session must have.
//
// Begin reading at [Conn] and [Conn.Transact]. A Conn belongs to one goroutine
// at a time and has no lock. The only goroutine is the writer of an envelope
// too long for the socket's buffer; the transaction waits for it.
//
// No failure is an error value: each step gives a [relay.Reply], which is zero
// when all is well.
package smtpclient
