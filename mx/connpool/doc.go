// Package connpool keeps idle connections to servers for a short while, and
// counts the connections to each provider or mailbox, idle and departing ones
// included, so that none sees more than it allows.
//
// A [Pool] has one lock. Its only goroutines are farewells (QUIT), which run in a
// [Background] that Close waits for. Begin reading at [Pool.Get], [Pool.Put] and
// [Pool.Room].
package connpool
