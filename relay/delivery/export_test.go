package delivery

// Joints is how many messages have notices that wait for each other.
func (d *Dispatcher) Joints() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.joints) + len(d.hushed)
}
