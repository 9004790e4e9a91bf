package relay

// DigestRow is what one settlement has to tell a sender who already gets as
// many notices as the limit allows. It waits in the store until one list of
// all such rows is sent (DigestRow.ID in Settlement.Listed).
type DigestRow struct {
	ID   QueueID // from the same sequence as messages; never reused
	Data []byte  // as package relay/delivery/notices encodes it; opaque to stores
}
