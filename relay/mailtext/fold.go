package mailtext

import (
	"bytes"
	"sort"
)

// FoldField breaks the lines of a header field that have more than 998 octets
// (RFC 5322 §2.1.1). It breaks at white space, in a list of addresses after a comma if
// possible, and between message IDs that no space separates. Only a word that is longer
// than a line is itself broken. Both the field and the result end in CRLF.
func FoldField(field []byte) []byte {
	if !hasLongLine(field) {
		return field
	}
	f := folder{field: field}
	if name, value, ok := SplitField(field); ok && IsAddressField(name) {
		r := listReader{value: string(value)}
		r.read()
		for _, at := range r.ends {
			f.ends = append(f.ends, at+len(field)-len(value))
		}
	}
	for begin := 0; begin < len(field); {
		end, next := len(field), len(field)
		if i := bytes.Index(field[begin:], []byte("\r\n")); i >= 0 {
			end, next = begin+i, begin+i+2
		}
		f.line(begin, end)
		begin = next
	}
	return f.out
}

func hasLongLine(b []byte) bool {
	for len(b) > MaxLine {
		i := bytes.IndexByte(b, '\n')
		if i < 0 || i > MaxLine+1 {
			return true
		}
		b = b[i+1:]
	}
	return false
}

// folder folds one field.
type folder struct {
	field []byte
	ends  []int // after the separators of a list
	out   []byte
}

// line passes on field[begin:end], which holds no line end. White space around
// a break becomes one space, so that no line holds nothing else: some readers
// take such a line for the end of the header.
func (f *folder) line(begin, end int) {
	var lead []byte
	for len(lead)+end-begin > MaxLine {
		rest := f.field[begin:end]
		if n := leadingSpace(rest); n > 1 {
			begin += n - 1
			continue
		}
		at := f.breakAt(begin, MaxLine-len(lead))
		f.put(lead, bytes.TrimRight(f.field[begin:at], " \t"))
		begin, lead = at+leadingSpace(f.field[at:end]), []byte(" ")
	}
	f.put(lead, f.field[begin:end])
}

// breakAt is where the line that begins at begin ends, with at most room octets.
func (f *folder) breakAt(begin, room int) int {
	if i := sort.SearchInts(f.ends, begin+room+1) - 1; i >= 0 && f.ends[i] > begin {
		return f.ends[i]
	}
	// Not at its first octet, which is the space that continues the field.
	if i := bytes.LastIndexAny(f.field[begin+1:begin+room], " \t"); i >= 0 {
		return begin + 1 + i
	}
	if i := bytes.LastIndex(f.field[begin+1:begin+room], []byte("><")); i >= 0 { // message IDs without spaces
		return begin + 1 + i + 1
	}
	return begin + BreakAt(f.field[begin:], room)
}

func (f *folder) put(lead, line []byte) {
	if len(bytes.Trim(line, " \t")) > 0 {
		f.out = append(append(append(f.out, lead...), line...), "\r\n"...)
	}
}

func leadingSpace(b []byte) int { return len(b) - len(bytes.TrimLeft(b, " \t")) }
