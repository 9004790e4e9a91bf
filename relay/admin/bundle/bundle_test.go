package bundle

import (
	"bytes"
	"errors"
	"io"
	"reflect"
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
		MaxAge: relay.Millis(time.Hour), NotBefore: at.Add(time.Minute), NoDelayNotes: true, TLSOptional: true},
		Deliveries: []relay.Delivery{{Entry: relay.Entry{ID: id, Job: 3, Destination: "route:smart", Identity: "app", Arrival: at, Due: at.Add(time.Hour), Attempts: 4, Held: true, DelayNoticed: true},
			Open: []relay.Open{{Recipient: 1, Last: relay.Reply{Code: 451, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Text: "wait", Stage: relay.StageRcpt, MTA: "mx.example.com", Addr: "192.0.2.1",
				Cause: relay.CauseThrottle, Remedy: "send less"}}},
			Unknown: true, HeldFor: relay.Millis(time.Minute), HeldAt: at.Add(time.Second), Rule: "on hold", Route: "smart"}}}
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
					_ = m.Message.Recipients[i.Recipient]
				}
			}
			_, err := io.Copy(io.Discard, content)
			return err
		})
	})
}

// A message comes back as its Deliveries were, in every field that says so; the time in between
// counts as time on hold does.
func TestAgain(t *testing.T) {
	_, m := sample(t)
	held := m.Deliveries[0]
	state := reflect.ValueOf(held.State())
	for i := range state.NumField() {
		if state.Field(i).IsZero() {
			t.Errorf("the sample leaves %s zero", state.Type().Field(i).Name)
		}
	}
	free := relay.Delivery{Entry: relay.Entry{Attempts: 1}, Open: []relay.Open{{Recipient: 0}}, HeldFor: relay.Millis(time.Minute), Route: relay.RouteMX}
	m.Deliveries = append(m.Deliveries, free)
	got := m.Again(time.Hour)
	kept := free.State()
	kept.HeldFor += time.Hour
	want := []relay.Beginning{{State: kept}, {State: held.State(), Last: held.Open[0].Last}}
	if diff := cmp.Diff(want, got.Begin); diff != "" || !reflect.DeepEqual(got.Recipients, m.Message.Recipients) {
		t.Errorf("%s %+v", diff, got.Recipients)
	}
	m.Deliveries = m.Deliveries[:1]
	if got := m.Again(0); len(got.Recipients) != 1 || got.Recipients[0].Path != m.Message.Recipients[1].Path || len(got.Begin) != 1 || !got.Begin[0].Held {
		t.Errorf("%+v", got)
	}
}

// What an older version wrote comes back: whom it was for, and what was on hold.
func TestOlderBundle(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{Act: "7", Name: "n", At: at})
	_, m := sample(t)
	err = errors.Join(err, w.json(m.Message.ID.String()+".json", map[string]any{"message": m.Message, "deliveries": []any{
		map[string]any{"job": 0, "open": []int{1}, "rule": "on hold"}, map[string]any{"job": 2, "open": []int{0}}}}),
		w.file(m.Message.ID.String()+".eml", 1))
	io.WriteString(w.tar, "x") //nolint:errcheck // Close tells
	if w.n++; errors.Join(err, w.Close()) != nil {
		t.Fatal(err)
	}
	n := 0
	err = Read(&b, func(Header) error { return nil }, func(m Message, _ io.Reader) error {
		n++
		again := m.Again(time.Hour)
		if len(again.Recipients) != 2 || again.Begin[0].State.Held || !again.Begin[1].State.Held || again.Begin[1].State.Rule != "on hold" || !again.Begin[1].State.HeldAt.Equal(at) {
			t.Errorf("%+v", again)
		}
		return nil
	})
	if n != 1 || err != nil {
		t.Errorf("%d messages: %v", n, err)
	}
}
