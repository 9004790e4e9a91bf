// Package dkim signs mail (RFC 6376, RFC 8463) once, when it is accepted, and
// the notices that dawk writes itself.
//
// It owns the choice of the key, the list of what is signed, the key files and
// the form of the record in DNS. The key is chosen by the domain of the one
// mailbox in From, exactly: receivers compare that domain (RFC 7489 §3.1.1),
// and a subdomain may belong to somebody else. Without a key for it the
// message goes unsigned.
//
// It does not change the message: the caller puts the fields that [Signer.Sign]
// returns in front of it.
package dkim
