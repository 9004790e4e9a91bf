package recent_test

import (
	"testing"
	"time"

	"dawk/queue/recent"
	"dawk/relay"
)

// message has a content of size octets and two Deliveries with one open recipient each.
func message(key uint64, size int) *recent.Message {
	jobs := make(map[uint16]*relay.Delivery)
	for job := range uint16(2) {
		jobs[job] = &relay.Delivery{Open: []relay.Open{{Recipient: int(job)}}}
	}
	return &recent.Message{Msg: &relay.Message{ID: relay.QueueID{Key: key}}, Head: make([]byte, size), Jobs: jobs}
}

// TestDeliveriesAreCopies: what a caller does to a Delivery does not reach the next
// one, and a Delivery that was settled is not given again.
func TestDeliveriesAreCopies(t *testing.T) {
	c := recent.New(1 << 20)
	c.Add(message(1, 100), time.Now())
	_, d := c.Get(1, 0)
	d.Open[0].Recipient, d.Attempts = 7, 7
	if f, d := c.Get(1, 0); f == nil || d.Open[0].Recipient != 0 || d.Attempts != 0 {
		t.Errorf("%+v, %+v", f, d)
	}
	c.Settled(1, 0)
	if f, _ := c.Get(1, 0); f != nil {
		t.Error("a Delivery that was settled is there")
	}
	if f, _ := c.Get(1, 1); f == nil {
		t.Error("the other Delivery is gone")
	}
	c.Settled(1, 1)
	c.Settled(1, 1) // no harm
	if n := c.Used(); n != 0 {
		t.Errorf("%d octets for nothing", n)
	}
}

// TestOldestStaysUntilItIsOld: a full cache turns new mail away, since the oldest is
// what is needed next; only what has waited long makes room.
func TestOldestStaysUntilItIsOld(t *testing.T) {
	c := recent.New(64 << 10)
	began := time.Now()
	for key := range uint64(2) {
		c.Add(message(key, 28<<10), began)
	}
	c.Add(message(2, 28<<10), began.Add(9*time.Second))
	has := func(key uint64) bool { f, _ := c.Get(key, 0); return f != nil }
	if !has(0) || !has(1) || has(2) {
		t.Errorf("within ten seconds: %v %v %v", has(0), has(1), has(2))
	}
	c.Add(message(2, 28<<10), began.Add(10*time.Second))
	if has(0) || !has(1) || !has(2) {
		t.Errorf("after ten seconds: %v %v %v", has(0), has(1), has(2))
	}
	c.Add(message(3, 64<<10), began.Add(time.Hour)) // larger than all there is
	if n := c.Used(); has(3) || n > 64<<10 {
		t.Errorf("%v, %d octets", has(3), n)
	}
	c.Forget(1)
	c.Forget(2)
	if n := c.Used(); n != 0 {
		t.Errorf("%d octets for nothing", n)
	}
}
