package queue

// FileUse is the size of the queue file and of its pages that hold nothing, in
// octets, measured now; Stats has them as of the last second.
func (q *Queue) FileUse() (size, free int64) { return q.fileUse() }
