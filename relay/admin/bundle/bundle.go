// Package bundle is messages of the queue in a file: a tar archive with a header, two
// files for each message (what is known of it as JSON, and its content), and an end,
// without which it was cut. It has no goroutines and no locks. Begin reading at Writer.
package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"dawk/relay"
)

// Header says what a bundle is.
type Header struct {
	Act  string    `json:"act"`  // its number at the relay that wrote it
	Name string    `json:"name"` // of this bundle alone: what was imported from it is known by it
	At   time.Time `json:"at"`
	From string    `json:"from"` // hostname of the relay that wrote it
}

// Message is one message with what of it was still to be delivered.
type Message struct {
	Message    relay.Message    `json:"message"`
	Deliveries []relay.Delivery `json:"deliveries"` // without what the scheduler did with them
}

const (
	headName = "dawk-export.json"
	endName  = "dawk-end.json"
)

type end struct {
	Messages int `json:"messages"`
}

// Of is what a bundle has of an item, with what is open in its Deliveries.
func Of(item *relay.Item) Message {
	m := Message{Message: item.Message, Deliveries: slices.Clone(item.Deliveries)}
	for i := range m.Deliveries {
		m.Deliveries[i].Activity = relay.Activity{}
	}
	return m
}

// Writer writes a bundle.
type Writer struct {
	tar *tar.Writer
	at  time.Time
	n   int
}

// NewWriter begins one.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	b := &Writer{tar: tar.NewWriter(w), at: h.At}
	return b, b.json(headName, h)
}

// Add writes a message with its content.
func (w *Writer) Add(m Message, content relay.Content) error {
	name := m.Message.ID.String()
	if err := w.json(name+".json", m); err != nil {
		return err
	}
	if err := w.file(name+".eml", content.Size()); err != nil {
		return err
	}
	if _, err := io.Copy(w.tar, io.NewSectionReader(content, 0, content.Size())); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.n++
	return nil
}

// Flush completes the last message.
func (w *Writer) Flush() error { return w.tar.Flush() }

// Close writes the end.
func (w *Writer) Close() error {
	if err := w.json(endName, end{w.n}); err != nil {
		return err
	}
	return w.tar.Close()
}

func (w *Writer) json(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := w.file(name, int64(len(b))); err != nil {
		return err
	}
	_, err = w.tar.Write(b)
	return err
}

func (w *Writer) file(name string, size int64) error {
	return w.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: w.at, Format: tar.FormatPAX})
}

// maxMeta bounds what is read of a message besides its content, in octets: 10,000
// recipients with all their parameters have less.
const maxMeta = 16 << 20

// ErrCut: the bundle has no end.
var ErrCut = errors.New("it breaks off before its end")

// Read reads a bundle: head gets its header first, each every message with its content,
// which must be read before the next. Without an end the error is ErrCut, after all
// messages that are whole.
func Read(r io.Reader, head func(Header) error, each func(Message, io.Reader) error) error {
	t := tar.NewReader(r)
	var h Header
	if err := readJSON(t, headName, &h); err != nil {
		return fmt.Errorf("this is no export of dawk: %w", err)
	}
	if err := head(h); err != nil {
		return err
	}
	for n := 0; ; n++ {
		meta, err := t.Next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return ErrCut
		case err != nil:
			return err
		case meta.Name == endName:
			var e end
			if err := decode(t, &e); err != nil || e.Messages != n {
				return ErrCut
			}
			return nil
		}
		m, err := readMessage(t, h.At)
		if err != nil {
			return fmt.Errorf("%s: %w", meta.Name, cut(err))
		}
		if err := m.check(); err != nil {
			return fmt.Errorf("%s: %w", meta.Name, err)
		}
		content, err := t.Next()
		if err != nil {
			return cut(err)
		}
		if content.Name != m.Message.ID.String()+".eml" {
			return fmt.Errorf("%s: the content of the message is missing", meta.Name)
		}
		if err := each(m, t); err != nil {
			return err
		}
	}
}

// readMessage also reads what versions up to November 2026 wrote: of a Delivery the numbers of
// its recipients, and why it was on hold at that time.
func readMessage(r io.Reader, at time.Time) (m Message, err error) {
	b, err := readAll(r)
	if err != nil {
		return m, err
	}
	var other *json.UnmarshalTypeError
	if err = json.Unmarshal(b, &m); !errors.As(err, &other) {
		return m, err
	}
	var older struct {
		Deliveries []struct {
			Open []int
			Rule string
		}
	}
	if json.Unmarshal(b, &older) != nil || len(older.Deliveries) != len(m.Deliveries) {
		return m, err
	}
	for i, o := range older.Deliveries {
		d := &m.Deliveries[i]
		if d.Open = nil; o.Rule != "" {
			d.Held, d.HeldAt = true, at
		}
		for _, recipient := range o.Open {
			d.Open = append(d.Open, relay.Open{Recipient: recipient})
		}
	}
	return m, nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return err
}

// check refuses what no relay writes.
func (m *Message) check() error {
	if len(m.Message.Recipients) == 0 || len(m.Deliveries) == 0 {
		return errors.New("it has no recipients")
	}
	for _, d := range m.Deliveries {
		if d.Attempts < 0 || d.HeldFor < 0 {
			return errors.New("it was tried or held less than never")
		}
		for _, o := range d.Open {
			if o.Recipient < 0 || o.Recipient >= len(m.Message.Recipients) {
				return fmt.Errorf("it has no recipient %d", o.Recipient)
			}
		}
	}
	return nil
}

func readJSON(t *tar.Reader, name string, into any) error {
	h, err := t.Next()
	if err != nil {
		return err
	}
	if h.Name != name {
		return fmt.Errorf("it begins with %q", relay.Clip(h.Name))
	}
	return decode(t, into)
}

func decode(r io.Reader, into any) error {
	b, err := readAll(r)
	if err != nil {
		return err
	}
	return json.NewDecoder(bytes.NewReader(b)).Decode(into)
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxMeta+1))
	if err == nil && len(b) > maxMeta {
		err = fmt.Errorf("it is larger than %d MiB", maxMeta>>20)
	}
	return b, err
}

// Again is the message for those recipients, beginning as they were. away is how long it was in no
// queue, which counts as time on hold does.
func (m *Message) Again(away time.Duration) relay.Message {
	begin := make(map[int]relay.Beginning)
	for i := range m.Deliveries {
		d := &m.Deliveries[i]
		state := d.State()
		if state.HeldAt.IsZero() {
			state.HeldFor += max(0, away)
		}
		for _, o := range d.Open {
			begin[o.Recipient] = relay.Beginning{State: state, Last: o.Last}
		}
	}
	msg := m.Message
	msg.Recipients = nil
	for i, r := range m.Message.Recipients {
		if b, open := begin[i]; open {
			msg.Recipients, msg.Begin = append(msg.Recipients, r), append(msg.Begin, b)
		}
	}
	return msg
}
