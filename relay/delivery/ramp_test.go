package delivery_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
)

// After a start with much mail for one provider, whose hosts are 50 ms away, all of its
// connections are in use within ten seconds, also with a hundred of them: a message
// takes four round trips with its commit, and six more where the connection is new.
func TestFullRateSoonAfterAStart(t *testing.T) {
	const trip = 50 * time.Millisecond
	for _, connections := range []int{10, 20, 50, 100} {
		t.Run(fmt.Sprint(connections), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTown(map[string]delivery.Allowance{"big": {Connections: connections}})
				opened, full := 0, time.Duration(0)
				began := time.Now()
				h.answer = func(_ string, running int) (relay.Reply, time.Duration) {
					if running == connections && full == 0 {
						full = time.Since(began)
					}
					if running > opened {
						opened = running
						return relayed, 10 * trip
					}
					return relayed, 4 * trip
				}
				r := beginWith(t, delivery.Config{Limits: h.cfg}, h, func(r *rig) {
					for i := range 6000 {
						r.store.enqueue(mail("", fmt.Sprintf("x@d%d.big.test", i%20)))
					}
				})
				pass(30 * time.Second)
				t.Logf("full after %v, %d of 6000 waiting", full, r.store.queued())
				if full == 0 || full > 10*time.Second {
					t.Errorf("all %d connections were in use after %v", connections, full)
				}
			})
		})
	}
}
