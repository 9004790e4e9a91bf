package queuetest

import (
	"fmt"
	"strings"
	"testing"

	"dawk/queue"
	"dawk/relay"
)

// forgetful is a store whose Watch misses what a settlement makes.
type forgetful struct{ *Memory }

func (f forgetful) Settle(s relay.Settlement, done func(error)) {
	tell := f.watch
	f.watch = nil
	f.Memory.Settle(s, done)
	f.watch = tell
}

// verdict is a test that fails by a panic.
type verdict struct{}

func (verdict) Helper()                        {}
func (verdict) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func TestAForgottenNoticeFailsTheSuite(t *testing.T) {
	m := forgetful{NewMemory()}
	s := &run{h: Harness{Open: func() (queue.Store, error) { return m, nil }}, model: NewModel()}
	s.open(t)
	message := func() relay.Message {
		return relay.Message{ID: m.NextID(), Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: mailbox("a", "example.org")}}}}
	}
	msg := message()
	m.tell(m.model.Accept(msg, nil))
	s.hear(t, s.model.Accept(msg, nil))
	st := relay.Settlement{ID: msg.ID, Outcomes: []relay.Outcome{{Action: relay.ActionFailed}}, Notices: []relay.Notice{{Message: message()}}}
	if err := await(m, st); err != nil {
		t.Fatal(err)
	}
	want, err := s.model.Settle(st)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if said, _ := recover().(string); !strings.Contains(said, "did not tell Watch") {
			t.Errorf("the suite says %q of a notice that Watch was not told of", said)
		}
	}()
	s.hear(verdict{}, want)
	t.Error("the suite does not notice it")
}
