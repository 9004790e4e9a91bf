package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
)

// ContentType of requests.
const ContentType = "application/json"

// body is what a receiver reads; docs/webhook.schema.json describes it.
type body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      any       `json:"data"`
}

// data is one event. Fields are added, never renamed.
type data struct {
	ID        string    `json:"id"`
	QueueID   string    `json:"queue_id,omitempty"`
	Identity  string    `json:"identity,omitempty"`
	From      string    `json:"from"` // "": the null reverse-path
	To        any       `json:"to"`   // an address, or a list of them
	MessageID string    `json:"message_id,omitempty"`
	Size      int64     `json:"size,omitempty"`
	Reply     *reply    `json:"reply,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Host      string    `json:"host,omitempty"`
	Attempt   int       `json:"attempt,omitempty"`
	Next      time.Time `json:"next,omitzero"`
}

type reply struct {
	Code   int    `json:"code"`
	Status string `json:"status"`
	Text   string `json:"text"`
}

func bodyOf(e *relay.OutboxEvent) body {
	d := data{ID: e.ID, Identity: e.Identity, From: e.From.String(), To: e.Recipient.String(), MessageID: e.MessageID, Size: e.Size,
		Reason: e.Reason, Host: e.Host, Attempt: e.Attempt, Next: e.Next.UTC().Truncate(time.Millisecond)}
	if e.Next.IsZero() {
		d.Next = time.Time{}
	}
	if !e.Event.ID.IsZero() {
		d.QueueID = e.Event.ID.String()
	}
	if e.Kind == relay.EventAccepted {
		list := make([]string, len(e.To))
		for i, p := range e.To {
			list[i] = p.String()
		}
		d.To = list
	}
	if r := e.Reply; !r.IsZero() {
		d.Reply = &reply{Code: r.Code, Status: r.Enhanced().String(), Text: relay.Sanitize(r.Text)}
	}
	return body{Type: string(e.Kind), Timestamp: stamp(e.Time), Data: d}
}

func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // texts and numbers alone
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// request is the ID and the body of a request for events.
func request(items []*item, batch bool, now time.Time) (id string, b []byte) {
	if !batch {
		return items[0].event.ID, encode(bodyOf(&items[0].event))
	}
	all := make([]body, len(items))
	sum := sha256.New()
	for i, it := range items {
		all[i] = bodyOf(&it.event)
		sum.Write([]byte(it.event.ID))
	}
	return "bat_" + hex.EncodeToString(sum.Sum(nil)[:16]), encode(body{Type: "batch", Timestamp: stamp(now), Data: all})
}

func testID(now time.Time) string { return "evt_test_" + strconv.FormatInt(now.UnixMicro(), 36) }

func testBody(now time.Time) []byte {
	return encode(body{Type: "test", Timestamp: stamp(now), Data: map[string]string{"id": testID(now)}})
}

// headers are those of Standard Webhooks, with one signature for each secret.
func headers(id string, b []byte, keys [][]byte, now time.Time) map[string]string {
	at := strconv.FormatInt(now.Unix(), 10)
	var signatures []string
	for _, key := range keys {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(id + "." + at + "."))
		m.Write(b)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	}
	return map[string]string{"webhook-id": id, "webhook-timestamp": at, "webhook-signature": strings.Join(signatures, " "),
		"Content-Type": ContentType, "User-Agent": "dawk"}
}

// secretPrefix begins the text form of a secret.
const secretPrefix = "whsec_"

// maxSecrets bounds what one file may hold.
const maxSecrets = 8

// ParseSecrets reads secrets, one a line. Empty lines and those that begin with # are
// passed over. No error shows anything of a secret.
func ParseSecrets(data []byte) (keys [][]byte, err error) {
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		text, ok := strings.CutPrefix(line, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(text)
		switch {
		case !ok:
			return nil, fmt.Errorf("line %d does not begin with %s: write one secret a line, as %s and base64", n+1, secretPrefix, secretPrefix)
		case err != nil:
			return nil, fmt.Errorf("line %d is not base64 after %s: make a secret with `openssl rand -base64 32`", n+1, secretPrefix)
		case len(key) < 16 || len(key) > 128:
			return nil, fmt.Errorf("line %d has a secret of %d octets, and it must have 24 to 64: make one with `openssl rand -base64 32`", n+1, len(key))
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("there is no secret: write one a line, " + secretPrefix + " and base64")
	case len(keys) > maxSecrets:
		return nil, fmt.Errorf("there are %d secrets, and %d are enough while they rotate", len(keys), maxSecrets)
	}
	return keys, nil
}

// shown is a URL without what only its owner should see.
func shown(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Redacted()
}
