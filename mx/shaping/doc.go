// Package shaping knows what receivers and smart hosts let us send: the rules of providers and
// whose MX hosts are whose ([Shaping]), the provider of each domain as it was last found
// ([Memory]), how to speak to each host ([Hosts]), the budget of each mailbox at a smart host
// ([Meter]), kept in a file by the [Book], whether the mail of a route is held because of its
// account ([Gate]), and which hosts of a route failed lately ([Health]).
//
// A Shaping never changes and needs no lock; Memory, Hosts, each Meter and each
// Gate have one. The Book has one goroutine, which writes what changes until Close.
//
// Begin reading at [New] and [Shaping.Provider] for providers, at
// [Meter.Reserve] for budgets.
package shaping
