// Package session opens sessions with hosts: it connects, or takes whichever of
// several addresses answers first, and brings the session to where MAIL may be said:
// greeting, EHLO, STARTTLS, EHLO, AUTH. TLS that fails is tried once more in another
// way, then without, where the [Policy] allows it.
//
// [Opener.Open] is for mail, [Opener.Look] for people who ask what a host shows.
// Failures are Replies. What a session showed about TLS goes to Opener.OnTLS.
//
// An Opener has no lock of its own. The connections of a race that lost end in
// Shared.Bg, whose Close waits for them.
package session
