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
	"dawk/relay/delivery/notices"
)

// What waits for a list is known by its message, and is withdrawn from the list; no list
// is written while somebody decides.
func TestWithdrawnRowsAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{DelayNotice: time.Hour / 4, Notices: notices.Config{Limit: 1}})
		var box inbox
		r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
			if strings.HasPrefix(task.Message.Recipients[0].Path.String(), "late") {
				return all(task, greylist)
			}
			return box.answer(ctx, task)
		}
		var ids []relay.QueueID
		for i := range 4 {
			ids = append(ids, r.store.accept(mail("sender@example.org", fmt.Sprintf("user%d@dest.test", i))))
			synctest.Wait()
		}
		late := r.store.accept(mail("sender@example.org", "late@slow.test"))
		pass(30 * time.Minute) // its delay is a row, too
		rows, done, err := r.d.Unlisted(t.Context())
		if err != nil || len(rows) != 3 || len(rows[ids[0]]) != 0 || len(rows[ids[2]]) != 1 || len(rows[late]) != 0 {
			t.Fatalf("%v %v", rows, err)
		}
		if err := r.d.Withdraw(rows[ids[2]]); err != nil {
			t.Fatal(err)
		}
		pass(45 * time.Minute)
		if n := len(box.mail()); n != 1 {
			t.Fatalf("%d notices; a list was written meanwhile", n)
		}
		done()
		pass(time.Minute)
		got := box.mail()
		if len(got) != 2 {
			t.Fatalf("%d notices", len(got))
		}
		for i, want := range []bool{false, true, false, true} {
			if strings.Contains(got[1], fmt.Sprintf("Final-Recipient: rfc822; user%d@dest.test", i)) != want {
				t.Errorf("user%d: want %v:\n%s", i, want, got[1])
			}
		}
		if err := r.d.Act(t.Context(), late, relay.VerbDelete); err != nil {
			t.Error(err)
		}
	})
}
