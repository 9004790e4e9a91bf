package mx_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"dawk/mx/mxtest"
	"dawk/relay"
)

// Whoever looks at an attempt sees the host, the stage and since when, and may cut
// it as long as the final dot is not on its way.
func TestProgressOfAnAttempt(t *testing.T) {
	for _, c := range []struct {
		event string
		stage relay.Stage
		may   bool
	}{
		{"connect", relay.StageGreeting, true},
		{"ehlo", relay.StageEHLO, true},
		{"mail", relay.StageMail, true},
		{"rcpt", relay.StageRcpt, true},
		{"data", relay.StageData, true},
		{"dot", relay.StageBody, false},
	} {
		bubble(t, mxtest.Config{}, nil, func(w *world) {
			if err := w.srv.Script(c.event, "stall", 0); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			job := task(t, "Subject: x\r\n\r\ny\r\n", "x@b.test")
			job.Progress = relay.NewProgress(cancel)
			began, result := time.Now(), make(chan relay.Result, 1)
			go func() { result <- w.tr.Deliver(ctx, job) }()
			time.Sleep(20 * time.Second)
			synctest.Wait()
			stand, may := job.Progress.Stand()
			if stand.Host != "mx.b.test" || stand.Stage != c.stage || stand.Since.Sub(began) > time.Second || stand.Heard.Sub(began) > time.Second || may != c.may {
				t.Errorf("%s: %+v, may be cut: %v", c.event, stand, may)
			}
			if cut := job.Progress.Cut(); cut != c.may {
				t.Errorf("%s: cut %v", c.event, cut)
			}
			res := <-result
			if took := time.Since(began); c.may && took > 22*time.Second || !c.may && (took < time.Minute || !res.Unknown) {
				t.Errorf("%s: it ended after %v: %v", c.event, took, res.Replies)
			}
		})
	}
}
