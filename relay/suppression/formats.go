package suppression

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
)

// columns of the CSV that Export writes and Parse reads.
var columns = []string{"address", "identity", "reason", "since", "expires", "queue_id"}

// Writer writes entries as CSV, header first (RFC 4180).
type Writer struct{ w *csv.Writer }

// NewWriter writes the header.
func NewWriter(w io.Writer) *Writer {
	c := csv.NewWriter(w)
	_ = c.Write(columns) // Flush tells
	return &Writer{c}
}

// Write writes an entry.
func (w *Writer) Write(e Entry) error {
	return w.w.Write([]string{e.Address, e.Identity, e.Reason, e.Since.UTC().Format(time.RFC3339), e.Expires.UTC().Format(time.RFC3339), e.QueueID.String()})
}

// Flush ends the writing.
func (w *Writer) Flush() error {
	w.w.Flush()
	return w.w.Error()
}

// Formats are what Parse reads.
var Formats = []string{"csv", "sendgrid", "mailgun"}

// A provider's list has its own names for what it says; of several the first that is there.
var names = map[string]struct{ address, reason, since []string }{
	"csv":      {[]string{"address"}, []string{"reason"}, []string{"since"}},
	"sendgrid": {[]string{"email"}, []string{"reason", "status"}, []string{"created"}},
	"mailgun":  {[]string{"address"}, []string{"error", "code"}, []string{"created_at", "createdat"}},
}

// Bounds of a file that is read.
const (
	maxFaults = 20
	maxFile   = 512 << 20 // octets
)

// Parse reads entries in one of Formats: CSV with a header, or the JSON that the
// provider's API gives. identity is whose mail they concern where the file does not say
// it. All faults are told, each with its line; with one nothing is read.
func Parse(r io.Reader, format, identity string) ([]Entry, error) {
	if !slices.Contains(Formats, format) {
		return nil, fmt.Errorf("there is no format %q: it is csv, sendgrid or mailgun", relay.Clip(format))
	}
	p := &parser{format: format, identity: identity}
	limited := &io.LimitedReader{R: r, N: maxFile + 1}
	in := bufio.NewReader(limited)
	if mark, err := in.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = in.Discard(3)
	}
	first, err := firstOctet(in)
	switch {
	case err != nil:
		return nil, errors.New("the file is empty")
	case format != "csv" && (first == '[' || first == '{'):
		p.json(in, first)
	default:
		p.csv(in)
	}
	if limited.N == 0 {
		p.fault(0, fmt.Errorf("the file has more than %d MiB", maxFile>>20))
	}
	if p.count > maxFaults {
		p.faults = append(p.faults, fmt.Errorf("and %d more", p.count-maxFaults))
	}
	return p.entries, errors.Join(p.faults...)
}

// firstOctet is the first octet that is no white space; it stays unread.
func firstOctet(in *bufio.Reader) (byte, error) {
	for {
		b, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		if !strings.ContainsRune(" \t\r\n", rune(b)) {
			return b, in.UnreadByte()
		}
	}
}

type parser struct {
	format, identity string
	entries          []Entry
	faults           []error
	count            int
}

func (p *parser) fault(line int, err error) {
	if p.count++; p.count > maxFaults {
		return
	}
	if line > 0 {
		err = fmt.Errorf("line %d: %w", line, err)
	}
	p.faults = append(p.faults, err)
}

func (p *parser) csv(in io.Reader) {
	c := csv.NewReader(in)
	c.FieldsPerRecord, c.TrimLeadingSpace, c.ReuseRecord = -1, true, true
	head, err := c.Read()
	if err != nil {
		p.fault(1, err)
		return
	}
	at := map[string]int{}
	for i, name := range head {
		at[strings.ToLower(strings.TrimSpace(name))] = i
	}
	if _, ok := at[names[p.format].address[0]]; !ok {
		p.fault(1, fmt.Errorf("the first line must name the columns, one of them %s", names[p.format].address[0]))
		return
	}
	width := len(head)
	for {
		row, err := c.Read()
		if err == io.EOF {
			return
		}
		var broken *csv.ParseError
		switch {
		case errors.As(err, &broken):
			p.fault(broken.StartLine, broken.Err)
			continue
		case err != nil:
			p.fault(0, err)
			return
		}
		line, _ := c.FieldPos(0)
		if len(row) != width {
			p.fault(line, fmt.Errorf("it has %d columns, and the first line has %d", len(row), width))
			continue
		}
		p.add(line, func(name string) string {
			if i, ok := at[name]; ok {
				return row[i]
			}
			return ""
		})
	}
}

// lines counts the lines of what was read.
type lines struct {
	r     io.Reader
	ends  []int64 // offsets at which lines end
	total int64
}

func (l *lines) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	for i := range n {
		if b[i] == '\n' {
			l.ends = append(l.ends, l.total+int64(i))
		}
	}
	l.total += int64(n)
	return n, err
}

func (l *lines) at(offset int64) int {
	n, _ := slices.BinarySearch(l.ends, offset)
	return n + 1
}

// json reads a list of objects, or an object with such a list under "items".
func (p *parser) json(in io.Reader, first byte) {
	count := &lines{r: in}
	d := json.NewDecoder(count)
	d.UseNumber()
	if first == '{' {
		if err := intoItems(d); err != nil {
			p.fault(count.at(d.InputOffset()), err)
			return
		}
	}
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		p.fault(count.at(d.InputOffset()), errors.New("a list of entries must stand here"))
		return
	}
	for d.More() {
		row := map[string]any{}
		if err := d.Decode(&row); err != nil {
			p.fault(count.at(d.InputOffset()), fmt.Errorf("it is not an entry: %w", err))
			var wrong *json.UnmarshalTypeError
			if errors.As(err, &wrong) {
				continue
			}
			return
		}
		p.add(count.at(d.InputOffset()), func(name string) string {
			for k, v := range row {
				if strings.EqualFold(k, name) && v != nil {
					return fmt.Sprint(v)
				}
			}
			return ""
		})
	}
	if _, err := d.Token(); err != nil {
		p.fault(count.at(d.InputOffset()), fmt.Errorf("the list is not whole: %w", err))
	}
}

func intoItems(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if name == "items" {
			return nil
		}
		var other json.RawMessage
		if err := d.Decode(&other); err != nil {
			return err
		}
	}
	return errors.New(`there is no list "items"`)
}

// add takes one entry, whose values get gives by name.
func (p *parser) add(line int, get func(string) string) {
	n := names[p.format]
	pick := func(list []string) string {
		for _, name := range list {
			if v := strings.TrimSpace(get(name)); v != "" {
				return v
			}
		}
		return ""
	}
	e := Entry{Address: pick(n.address), Reason: pick(n.reason), Identity: p.identity}
	to, err := relay.ParsePath(e.Address)
	if err != nil || to.IsNull() || to.Domain() == "" {
		p.fault(line, fmt.Errorf("%q is not an address", relay.Clip(e.Address)))
		return
	}
	if e.Since, err = moment(pick(n.since)); err != nil {
		p.fault(line, err)
		return
	}
	if p.format == "csv" {
		err = p.own(&e, get)
	} else if e.Reason == "" {
		e.Reason = "imported from " + p.format
	}
	if err != nil {
		p.fault(line, err)
		return
	}
	p.entries = append(p.entries, e)
}

// own reads the columns that only our format has.
func (p *parser) own(e *Entry, get func(string) string) (err error) {
	if id := strings.TrimSpace(get("identity")); id != "" {
		e.Identity = id
	}
	if e.Expires, err = moment(strings.TrimSpace(get("expires"))); err != nil {
		return err
	}
	if id := strings.TrimSpace(get("queue_id")); id != "" {
		e.QueueID, err = relay.ParseQueueID(id)
	}
	return err
}

// layouts are the ways in which providers write a time, beside seconds since 1970.
var layouts = []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02T15:04:05", time.DateOnly, time.RFC1123, time.RFC1123Z,
	"2006-01-02 15:04:05 MST", "2006-01-02 15:04:05 -0700 MST"}

func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1<<35 {
		return time.Unix(n, 0).UTC(), nil
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil && t.Unix() > 0 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time: write it like 2026-03-02T09:00:00Z", relay.Clip(s))
}
