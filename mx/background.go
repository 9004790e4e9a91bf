package mx

import (
	"dawk/mx/smtpclient"
	"sync"
)

// background runs the farewells, and what else nobody waits for but Close.
type background struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func (b *background) Quit(c *smtpclient.Conn) {
	if !b.run(c.Quit) {
		c.Quit()
	}
}

// run starts f beside everything else; false after Close.
func (b *background) run(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.wg.Go(f)
	}
	return !b.closed
}

func (b *background) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wg.Wait()
}
