// Package admin is the operator's hand on a running relay: JSON over HTTP on
// a unix socket, for dawk's own commands and for whoever has its owner's
// rights. There is no other login: the socket has mode 0600.
//
// Paths carry a version (/v1/…). Within a version fields are added, never
// renamed; clients ignore what they do not know.
//
//	GET  /v1/queue?filter=&limit=      Deliveries, one Line of JSON each, then the End
//	GET  /v1/queue/{id}                one message with its attempts (relay.Item)
//	GET  /v1/queue/{id}/why            why it is still here, or what became of it (Why)
//	GET  /v1/queue/{id}/content?part=  its octets; part=headers for the header section
//	POST /v1/queue/act                 ActRequest: do a verb to what a filter picks
//	GET  /v1/shape?by=&filter=         how many, by destination or identity and by age (Shape)
//	GET  /v1/providers                 what providers take now (Providers)
//	GET  /v1/explain?from=&to=&identity= what would happen to a message (Explanation)
//	GET  /v1/oauth                     routes with a login (LoginStatus)
//	GET  /v1/config                    what is in force, and where it comes from (Configuration)
//	POST /v1/reload                    read the configuration again (Reloaded)
//	POST /v1/oauth/test?route=         log in, and send nothing (LoginTest)
//	GET  /v1/budgets                   what routes with a budget have used of it
//	GET  /v1/status                    is mail flowing (Status)
//	GET  /v1/stats                     counts that cost nothing to ask (Stats)
//	GET  /v1/health                    is the relay working (Health); 503 if it is not
//	GET  /v1/devices                   who came to the listeners for devices (Device)
//	GET  /v1/holds                     users on hold (UserHold)
//	POST /v1/holds/release?name=       end the hold of a user
//	POST /v1/store/verify              check every invariant of the store (Report)
//	POST /v1/store/compact             give free pages back to the file system (Report)
//	GET  /v1/store/backup              a consistent copy, as a stream
//
// A list is streamed while it is read, so that a million Deliveries are never
// in memory at once. A streamed answer without a final End is truncated
// and must not be believed. Errors are {"error": "a sentence"}.
//
// The package stores and schedules nothing: it asks the store and the
// dispatcher through the interfaces [Queue] and [Dispatcher]. What is finished
// it knows only from [History], a bounded memory of the last messages.
package admin
