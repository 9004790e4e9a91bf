package connpool

import (
	"sync"

	"dawk/mx/smtpclient"
)

// Background runs the farewells, and what else nobody waits for but Close.
type Background struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func (b *Background) Quit(c *smtpclient.Conn) {
	if !b.Run(c.Quit) {
		c.Quit()
	}
}

// Run starts f beside everything else; false after Close.
func (b *Background) Run(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.wg.Go(f)
	}
	return !b.closed
}

func (b *Background) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wg.Wait()
}
