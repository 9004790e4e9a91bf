// Package mxtest has the other side of deliveries, on loopback: a DNS server
// that answers from a zone and misbehaves on demand ([DNS]), an SMTP server
// that follows a script ([Server]) and a certificate authority ([CA]). Unit
// tests, end-to-end scripts and `dawk demo` use it. Everything can be said in
// strings as well as in Go, and changed while it runs.
//
//	dns, err := mxtest.NewDNS("b.test. MX 10 mx.b.test.\nmx.b.test. A 127.0.0.1")
//	dns.Fault("c.test", "MX", mxtest.ServFail)
//
//	srv, err := mxtest.NewServer(mxtest.Config{})
//	srv.Script("rcpt:deferred@b.test", "450 4.2.1 try later", 1)
//	messages, err := srv.Wait(ctx, 2)
package mxtest
