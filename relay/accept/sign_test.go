package accept_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/accept/accepttest"
)

// What is signed is the message as it leaves, but for Received: Bcc is gone,
// Date and Message-ID are there. A signature that cannot be made puts the
// message off.
func TestSigning(t *testing.T) {
	q := &accepttest.Queue{}
	var signed string
	var fail error
	a, _ := acceptor(t, q, func(c *accept.Config) {
		c.Sign = func(m *relay.Message, content relay.Content) ([]byte, error) {
			b, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
			signed = string(b)
			return []byte("DKIM-Signature: x\r\n"), errors.Join(fail, err)
		}
	})
	_, err := a.Submit(context.Background(), submit(t, pieces{lines("From: a@example.org", "Bcc: c@example.org", "", "body"), 7}))
	check(t, err)
	content := q.Messages()[0].Content
	received, rest, _ := strings.Cut(content, "DKIM-Signature: x\r\n")
	if rest != signed || !strings.HasPrefix(received, "Received:") || strings.Contains(signed, "Bcc") ||
		!strings.Contains(signed, "Date: ") || !strings.Contains(signed, "Message-ID: ") {
		t.Errorf("signed %q, stored %q", signed, content)
	}
	if m := q.Messages()[0].Message; m.Size != int64(len(content)) {
		t.Errorf("size %d of %d", m.Size, len(content))
	}
	fail = errors.New("disk trouble at /secret")
	_, err = a.Submit(context.Background(), submit(t, pieces{lines("From: a@example.org", "", "body"), 7}))
	var r *accept.Refusal
	if !errors.As(err, &r) || r.Reply.Code != 451 || strings.Contains(r.Reply.Text, "secret") || len(q.Messages()) != 1 {
		t.Errorf("%v", err)
	}
}
