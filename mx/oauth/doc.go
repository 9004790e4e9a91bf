// Package oauth gets the credentials that a route logs in with at a smart
// host: OAuth2 access tokens by several flows, and passwords from files.
//
// It owns token requests and the meaning of their answers ([Error]), the refresh before expiry, and
// stored refresh tokens. It does not speak SMTP: package mx asks a [Source] for the secret that is
// valid now, and reports a secret that the server refused.
//
// The life of a token: [Source.Token] looks whether a file has changed, returns the present token
// while it lasts, and else fetches one; however many connections wait, there is one request. A
// refresh token that the provider replaces is on stable storage, encrypted, before the old one is
// forgotten. [Source.Run] fetches early and while no mail flows, since a refresh token that nobody
// uses expires.
package oauth
