package delivery_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
)

// The last transcript of each Delivery is kept, also of one that has ended; all of
// them together have a bound.
func TestTranscriptsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
			reply, long := greylist, 10
			switch {
			case task.Message.Notice:
				reply = relayed
			case task.Attempt == 2:
				reply = noUser
			case task.Message.Identity == "much":
				long = 4000
			}
			res := all(task, reply)
			if !reply.Positive() {
				res.Transcript.Lines = []relay.Spoken{{By: relay.SpokenByHost, Text: fmt.Sprint(task.Attempt, strings.Repeat(".", long))}}
			}
			return res
		}
		id := r.store.accept(mail("sender@example.org", "one@dest.test", "two@other.test"))
		synctest.Wait()
		for attempt := 1; attempt <= 2; attempt++ {
			got := r.d.Transcripts(id)
			if len(got) != 2 {
				t.Fatalf("%d transcripts of two deliveries", len(got))
			}
			for _, one := range got {
				if one.Attempt != attempt || !strings.HasPrefix(one.Lines[0].Text, fmt.Sprint(attempt)) {
					t.Errorf("attempt %d: %+v", attempt, one)
				}
			}
			pass(2 * time.Minute)
		}
		much := 0
		var last relay.QueueID
		for range 500 {
			m := mail("sender@example.org", "one@dest.test")
			m.Identity = "much"
			last = r.store.accept(m)
			synctest.Wait()
			much++
		}
		if len(r.d.Transcripts(id)) != 0 || len(r.d.Transcripts(last)) != 1 {
			t.Errorf("after %d long ones: %d old, %d new", much, len(r.d.Transcripts(id)), len(r.d.Transcripts(last)))
		}
	})
}
