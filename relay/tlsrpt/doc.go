// Package tlsrpt counts what sessions with other people's hosts showed about
// TLS, by UTC day and policy domain, and writes the reports that those people
// ask for (RFC 8460).
//
// It owns the counters, their files, the form of a report and of the record in
// DNS that asks for it. It makes no lookup and sends nothing: the caller hands
// sessions in and takes finished [Report]s out.
package tlsrpt
