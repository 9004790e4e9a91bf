package bundle

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dawk/relay"
)

type text struct{ *strings.Reader }

func (t text) Close() error { return nil }

// sample is a bundle with one message that has everything that a message can have.
func sample(t testing.TB) ([]byte, Message) {
	path := func(s string) relay.Path {
		p, err := relay.ParsePath(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	id, err := relay.ParseQueueID("1RK3ZC8Q9D4-7ABC")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	m := Message{Message: relay.Message{ID: id, Envelope: relay.Envelope{From: path("ann@example.org"), EnvID: "e", Ret: relay.RetHdrs, RequireTLS: true, SMTPUTF8: true, Body: relay.Body8BitMIME,
		Recipients: []relay.Recipient{{Path: path("bob@example.com"), ORcpt: relay.ORcpt{Type: "rfc822", Addr: "b@example.com"}, Notify: relay.NotifyFailure | relay.NotifyDelay}, {Path: path("jürgen@bücher.example")}}},
		Arrival: at, Size: 9, Identity: "app", Client: "192.0.2.7", Protocol: "ESMTPSA", MessageID: "<1@example.org>", EightBit: true, UTF8Header: true,
		MaxAge: time.Hour, NotBefore: at.Add(time.Minute), NoDelayNotes: true, TLSOptional: true},
		Deliveries: []Delivery{{Job: 3, Open: []int{1}, Rule: "on hold"}}}
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{Act: "7", Name: "n", At: at, From: "relay.example.org"})
	if err = errors.Join(err, w.Add(m, text{strings.NewReader("a: b\r\n\r\nc")}), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m
}

// A message comes back with all that it was accepted with; wherever the file is cut, that
// is told.
func TestBundle(t *testing.T) {
	file, want := sample(t)
	read := func(b []byte) (n int, err error) {
		err = Read(bytes.NewReader(b), func(h Header) error {
			if h.Act != "7" || h.Name != "n" {
				t.Errorf("%+v", h)
			}
			return nil
		}, func(m Message, content io.Reader) error {
			n++
			got, err := io.ReadAll(content)
			if diff := cmp.Diff(want, m, cmp.AllowUnexported(relay.Path{})); diff != "" || err == nil && string(got) != "a: b\r\n\r\nc" {
				t.Errorf("%q %s", got, diff)
			}
			return err
		})
		return n, err
	}
	if n, err := read(file); n != 1 || err != nil {
		t.Errorf("%d messages, %v", n, err)
	}
	whole := bytes.LastIndex(file, []byte(`{"messages":1}`)) + 14
	for cut := 0; cut < whole; cut += 97 {
		if _, err := read(file[:cut]); err == nil {
			t.Errorf("cut at %d of %d: nothing is said", cut, whole)
		}
	}
}

func FuzzRead(f *testing.F) {
	file, _ := sample(f)
	f.Add(file)
	f.Add(file[:600])
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = Read(bytes.NewReader(b), func(Header) error { return nil }, func(m Message, content io.Reader) error {
			for _, d := range m.Deliveries {
				for _, i := range d.Open {
					_ = m.Message.Recipients[i]
				}
			}
			_, err := io.Copy(io.Discard, content)
			return err
		})
	})
}
