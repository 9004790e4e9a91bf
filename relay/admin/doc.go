// Package admin is the operator's hand on a running relay: JSON over HTTP on
// unix sockets and TCP, for dawk's own commands, for pages and for programs. Who
// asks is in the request's context (package operator); package door puts it there.
//
// Paths carry a version (/v1/…). Within a version fields are added, never
// renamed; clients ignore what they do not know. The table of paths in paths.go,
// with those of package acts and of [Config.More], is what is served, who may ask
// for it, and what GET /v1/openapi.json says: see package api.
//
// A list is streamed while it is read, so that a million Deliveries are never
// in memory at once (package queued). A streamed answer without a final End is
// truncated and must not be believed. Errors are problem details: see [Problem].
//
// The package stores and schedules nothing: it asks the store and the
// dispatcher through the interfaces [Queue] and [Dispatcher]. What is finished
// it knows only from package past, a bounded memory of the last messages.
package admin
