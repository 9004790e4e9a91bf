package queue

// For tests: wait for the sweep and the removals under way, and look at the
// disk now instead of within a second.

func (q *Queue) WaitTasks()   { q.tasks.Wait() }
func (q *Queue) LookAtSpace() { q.space.look() }
func (q *Queue) KeepReserve() { q.space.keepReserve() }
func (q *Queue) DropCache()   { q.cache.forgetAll() }

func (c *cache) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.byID {
		c.drop(f)
	}
}

// PageBytes is what bbolt wrote: its pages, and one meta page a commit.
func (q *Queue) PageBytes() int64 {
	st := q.db.Stats().TxStats
	return st.GetPageAlloc() + pageSize*q.counts.commits.Load()
}

// Handed is how many operations wait for the writer.
func (q *Queue) Handed() int { return len(q.w.in) }
