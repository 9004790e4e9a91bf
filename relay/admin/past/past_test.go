package past

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
)

// gone is a queue that has nothing any more.
type gone struct{}

func (gone) Item(relay.QueueID) (*relay.Item, error) { return nil, relay.ErrNotFound }

// Between the commit that ends a message and the moment when the history hears of it, both
// know the whole of it, however long that takes; what nobody works on is unknown at once.
func TestMessageThatLeavesIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, id := NewHistory(10, nil), relay.QueueID{Key: uint64(time.Now().UnixMicro()), Dir: 1}
		h.Observe(relay.Event{Kind: relay.EventRelayed, ID: id, Time: time.Now()}) // of its first recipient
		ends := time.Now().Add(3 * time.Second)
		go func() {
			time.Sleep(time.Until(ends))
			h.Observe(relay.Event{Kind: relay.EventFailed, ID: id, Time: time.Now()})
		}()
		held := func() bool { return time.Now().Before(ends.Add(time.Millisecond)) }
		if st, err := MessageStatus(gone{}, h, id, held); err != nil || len(st.Recipients) != 2 || st.Recipients[1].State != string(relay.ActionFailed) {
			t.Errorf("%+v, %v", st, err)
		}
		began := time.Now()
		if _, err := MessageStatus(gone{}, h, relay.QueueID{Key: 1}, func() bool { return false }); !errors.Is(err, relay.ErrNotFound) || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := MessageStatus(gone{}, h, relay.QueueID{Key: 1}, func() bool { return true }); !errors.Is(err, relay.ErrNotFound) {
			t.Error(err) // somebody hangs
		}
	})
}
