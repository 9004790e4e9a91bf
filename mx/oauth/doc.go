// Package oauth gets the credentials that a route logs in with at a smart
// host: OAuth2 access tokens by several flows, and passwords from files.
//
// It owns token requests and what their answers mean ([Error]), the refresh
// before expiry, and refresh tokens at rest. It does not speak SMTP: package
// mx asks a [Source] for the secret of the moment, and tells it when the
// server refused one.
//
// The life of a token: [Source.Token] looks whether a file has changed, gives
// the token at hand while it lasts, else fetches one; however many connections
// wait, there is one request. A refresh token that the provider replaces is on
// stable storage, encrypted, before the old one is forgotten. [Source.Run]
// fetches early and while no mail flows, since a refresh token that nobody
// uses expires.
package oauth
