package record

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"dawk/relay"
)

func sampleMessage() *relay.Message {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
	from, _ := relay.ParsePath(`"odd local"@example.org`)
	to, _ := relay.ParsePath("δοκιμή@xn--e1afmkfd.test")
	m := &relay.Message{ID: relay.QueueID{Key: 0x1122334455667788, Dir: 77}, Arrival: at, Identity: "app", Client: "192.0.2.7",
		Protocol: "ESMTPSA", MessageID: "<1@example.org>", EightBit: true, UTF8Header: true, Notice: true, MaxAge: relay.Millis(time.Hour),
		NotBefore: at.Add(time.Hour), NoDelayNotes: true, TLSOptional: true}
	m.From, m.Body, m.SMTPUTF8, m.RequireTLS, m.EnvID, m.Ret = from, relay.Body8BitMIME, true, true, "env", relay.RetFull
	m.Recipients = []relay.Recipient{
		{Path: to, ORcpt: relay.ORcpt{Type: "utf-8", Addr: "δ@example.net"}, Notify: relay.NotifyNever},
		{Path: from},
	}
	return m
}

func sampleJob() *relay.Delivery {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
	r := relay.Reply{Code: 451, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Text: "wait", Stage: relay.StageRcpt, MTA: "mx.example.com", Addr: "192.0.2.1",
		Cause: relay.CauseThrottle, Remedy: "send less"}
	return &relay.Delivery{
		Entry: relay.Entry{ID: relay.QueueID{Key: 5, Dir: 77}, Job: 3, Destination: "route:office", Identity: "app",
			Arrival: at, Due: at.Add(time.Minute), Attempts: 4, Held: true, DelayNoticed: true},
		Open:    []relay.Open{{Recipient: 0, Last: r}, {Recipient: 9, Last: r}, {Recipient: 2}},
		Unknown: true, HeldFor: relay.Millis(time.Minute), HeldAt: at, Rule: "retry step 3", Route: "office",
	}
}

func sampleAttempt() *relay.Attempt {
	return &relay.Attempt{N: 2, At: fromMicros(99), Took: relay.Millis(time.Second), Route: "mx", Source: "out1", Host: "mx.example.com", Addr: "192.0.2.1", TLS: "TLS1.3",
		Visits: []relay.Visit{{Host: "mx.example.com", Addr: "192.0.2.1", TLS: "TLS1.3", TLSLevel: relay.TLSVerified, TLSPolicy: "dane",
			Reply: relay.Reply{Code: 421, Text: "busy"}}},
		Outcomes: []relay.Outcome{{Recipient: 1, Action: relay.ActionRelayed, Reply: relay.Reply{Code: 250, Text: "ok"}}},
		Next:     fromMicros(100), Rule: "r"}
}

// Every field of every record survives; the samples leave none zero.
func TestRoundTrip(t *testing.T) {
	m := sampleMessage()
	v := EncodeMessage(m, Layout{File: 7, FileCRC: 9, Deliveries: 2}, []byte("content"))
	got, l, inline, err := DecodeMessage(MessageKey(m.ID.Key), v, 77)
	m.Size = 14
	if err != nil || !reflect.DeepEqual(got, m) || string(inline) != "content" || !CheckInline(v, inline) ||
		l != (Layout{Inline: 7, File: 7, FileCRC: 9, Deliveries: 2}) {
		t.Errorf("message: %v\n%+v\n%+v %+v", err, got, m, l)
	}
	d, key := sampleJob(), DeliveryKey(5, 3)
	row := EncodeDelivery(key, d)
	if got, err := DecodeDelivery(key, row, 77); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("Delivery: %v\n%+v\n%+v", err, got, d)
	}
	if got, _, _, err := DecodeEntry(key, row, 77, Copied); err != nil || got != d.Entry {
		t.Errorf("entry: %v\n%+v\n%+v", err, got, d.Entry)
	}
	a, key := sampleAttempt(), AttemptKey(5, 3, 0)
	if got, err := DecodeAttempt(key, EncodeAttempt(key, a)); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("attempt: %v\n%+v\n%+v", err, got, a)
	}
	key = []byte("12345678")
	e := relay.Event{Kind: relay.EventDelayed, Time: fromMicros(5), ID: m.ID, From: m.From, Recipient: m.Recipients[0].Path, To: []relay.Path{m.From}, Count: 1, Identity: "app",
		MessageID: m.MessageID, Size: 7, Destination: "route:office", Route: "office", Host: "mx.example.com", Reply: d.Open[0].Last, Reason: "other", Rule: "r", Attempt: 3, Next: fromMicros(9)}
	if got, err := DecodeEvent(key, AppendEvent(nil, key, &e)); err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("event: %v\n%+v\n%+v", err, got, e)
	}
	for _, sample := range []any{*m, *d, *a, m.Recipients[0], d.Open[0].Last} {
		for i := range reflect.TypeOf(sample).NumField() {
			// A hold is asked for with the message and kept by its Deliveries, events are
			// kept by the outbox; what the
			// scheduler does now is not kept, nor what only the summary of an attempt asks for.
			v := reflect.ValueOf(sample)
			if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Hold" && name != "Begin" && name != "Events" && name != "Activity" && name != "Refused" {
				t.Errorf("the sample %T leaves %s zero", sample, name)
			}
		}
	}
}

// A record under another key, or with any one bit changed, is not believed.
func TestChecksums(t *testing.T) {
	m, d, a := sampleMessage(), sampleJob(), sampleAttempt()
	mk, jk, hk := MessageKey(m.ID.Key), DeliveryKey(5, 3), AttemptKey(5, 3, 0)
	for name, c := range map[string]struct {
		key, value []byte
		decode     func(k, v []byte) error
	}{
		"msg": {mk, EncodeMessage(m, Layout{Deliveries: 1}, []byte("content")), func(k, v []byte) error {
			_, _, inline, err := DecodeMessage(k, v, 77)
			if err == nil && !CheckInline(v, inline) {
				err = ErrRecord
			}
			return err
		}},
		"sched": {jk, EncodeDelivery(jk, d), func(k, v []byte) error { _, err := DecodeDelivery(k, v, 77); return err }},
		"hist":  {hk, EncodeAttempt(hk, a), func(k, v []byte) error { _, err := DecodeAttempt(k, v); return err }},
	} {
		if err := c.decode(c.key, c.value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range len(c.value) * 8 {
			v := bytes.Clone(c.value)
			v[i/8] ^= 1 << (i % 8)
			if name == "msg" && (i/8 == 2 || i/8 == 3) {
				continue // reserved, and covered all the same
			}
			if c.decode(c.key, v) == nil {
				t.Errorf("%s: bit %d changed, and it was believed", name, i)
			}
		}
		k := bytes.Clone(c.key)
		k[len(k)-1]++
		if c.decode(k, c.value) == nil {
			t.Errorf("%s: believed under another key", name)
		}
	}
}

// FuzzMeta: any octets decode to an error, or to something that encodes and
// decodes to itself.
func FuzzMeta(f *testing.F) {
	f.Add(EncodeMeta(sampleMessage(), Layout{Deliveries: 2, FileCRC: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again relay.Message
		var l, l2 Layout
		if decodeMeta(b, &m, &l) != nil {
			return
		}
		if err := decodeMeta(EncodeMeta(&m, l), &again, &l2); err != nil || !reflect.DeepEqual(m, again) || l != l2 {
			t.Fatalf("%v\n%+v\n%+v", err, m, again)
		}
	})
}

// FuzzRows does the same for sched and hist, with the checksum made right so
// that the decoders are reached.
func FuzzRows(f *testing.F) {
	jk, hk := DeliveryKey(5, 3), AttemptKey(5, 3, 0)
	f.Add(EncodeDelivery(jk, sampleJob())[RowHeader:])
	f.Add(EncodeAttempt(hk, sampleAttempt())[RowHeader:])
	f.Fuzz(func(t *testing.T, b []byte) {
		row := append(make([]byte, RowHeader), b...)
		if d, err := DecodeDelivery(jk, Seal(schedVersion, jk, row), 7); err == nil {
			if again, err := DecodeDelivery(jk, EncodeDelivery(jk, d), 7); err != nil || !reflect.DeepEqual(d, again) {
				t.Fatalf("%v\n%+v\n%+v", err, d, again)
			}
		}
		if a, err := DecodeAttempt(hk, Seal(histVersion, hk, row)); err == nil {
			if again, err := DecodeAttempt(hk, EncodeAttempt(hk, a)); err != nil || !reflect.DeepEqual(a, again) {
				t.Fatalf("%v\n%+v\n%+v", err, a, again)
			}
		}
	})
}

// FuzzMsg feeds whole values of msg.
func FuzzMsg(f *testing.F) {
	m := sampleMessage()
	f.Add(EncodeMessage(m, Layout{Deliveries: 1}, []byte("content")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, _, _, err := DecodeMessage(MessageKey(5), b, 7); err == nil && m.Size < 0 {
			t.Fatalf("%+v", m)
		}
	})
}

// A row that a dawk of layout 2 wrote: no cause, and the remedy in the text.
func TestFirstReplies(t *testing.T) {
	e := enc{b: make([]byte, RowHeader)}
	for range 3 { // flags, arrival, due, attempts, destination, identity, held for, held at, rule: all zero
		e.b = append(e.b, 0, 0, 0)
	}
	e.uint(3)
	for _, r := range []relay.Reply{
		{Status: relay.Status{Class: 4, Subject: 7}, Stage: relay.StageAuth, Text: "no token → log in again"},
		{Code: 451, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Stage: relay.StageRcpt, Text: "wait", MTA: "mx.example.com"},
		{},
	} {
		for _, n := range []int{r.Code, r.Status.Class, r.Status.Subject, r.Status.Detail} {
			e.int(int64(n))
		}
		for _, s := range []string{r.Text, string(r.Stage), r.MTA, r.Addr} {
			e.str(s)
		}
	}
	e.uint(3)
	for i := range 3 {
		e.uint(uint64(i))
		e.uint(uint64(i))
	}
	key := DeliveryKey(5, 3)
	d, err := DecodeDelivery(key, Seal(1, key, e.b), 7)
	if err != nil {
		t.Fatal(err)
	}
	want := []relay.Reply{
		{Status: relay.Status{Class: 4, Subject: 7}, Stage: relay.StageAuth, Text: "no token", Cause: relay.CauseLogin, Remedy: "log in again"},
		{Code: 451, Status: relay.Status{Class: 4, Subject: 7, Detail: 1}, Stage: relay.StageRcpt, Text: "wait", MTA: "mx.example.com"},
		{},
	}
	for i, o := range d.Open {
		if o.Last != want[i] {
			t.Errorf("%+v, want %+v", o.Last, want[i])
		}
	}
	if again, err := DecodeDelivery(key, EncodeDelivery(key, d), 7); err != nil || !reflect.DeepEqual(again, d) {
		t.Errorf("written anew: %+v, %v", again, err)
	}
}

// A row that names no route is as it was before rows could: older versions read it.
func TestARowWithoutARouteIsAsBefore(t *testing.T) {
	d, key := sampleJob(), DeliveryKey(5, 3)
	named := EncodeDelivery(key, d)
	route := d.Route
	d.Route = ""
	plain := EncodeDelivery(key, d)
	if len(named) != len(plain)+1+len(route) {
		t.Errorf("%d octets with the route %q, %d without", len(named), route, len(plain))
	}
	if got, err := DecodeDelivery(key, plain, 77); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("%v: %+v", err, got)
	}
}
