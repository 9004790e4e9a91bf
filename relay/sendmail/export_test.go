package sendmail

// LookAtAll ends the waiting of files that were passed over.
func (c *Collector) LookAtAll() { c.waiting = nil }
