// Package tomlfile reads a TOML file that a person wrote, and tells the person
// everything that is wrong with it at once, each fault with its line and
// column and in words that need no knowledge of Go.
//
// It owns the mapping from a document to a struct tree and the places of keys;
// it does not know any key, default or rule. [Parse] checks keys and types;
// the caller then checks meaning and reports through [Document.Fault]; both
// come back together from [Document.Err]. A syntax error is reported alone,
// because what follows one is guesswork.
//
// go-toml's own decoder stops at the first wrong type, so the document is
// walked here, over the tree that its parser makes.
package tomlfile

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Pos is a place in the file; both count from 1, columns in characters.
type Pos struct{ Line, Column int }

// Fault is one thing that is wrong.
type Fault struct {
	Pos
	Message string
}

// Error is every fault of one file, in the order of the file.
type Error struct {
	File   string // as the caller named it
	Faults []Fault
}

// Error is one line a fault: "dawk.toml:12:3: unknown key …".
func (e *Error) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, f.Line, f.Column, f.Message)
	}
	return b.String()
}

// Document is a parsed file: the places of its keys, and its faults so far.
type Document struct {
	file   string
	root   *node
	faults []Fault
}

// Parse reads data into dst, a pointer to a struct whose fields carry
// `toml:"name"` tags. What the file does not mention keeps its value, so dst
// holds the defaults; elements of an array of tables get theirs from a method
// SetDefaults, if they have one.
//
// The error is an [*Error] with the one syntax error; every other fault waits
// in the Document for [Document.Err]. With a syntax error the Document and dst
// have what stands above its line, for who needs one key and not the file.
func Parse(file string, data []byte, dst any) (*Document, error) {
	var err error
	root, fault := parseTree(data)
	if fault != nil {
		err = &Error{File: file, Faults: []Fault{*fault}}
		if root, fault = parseTree(above(data, fault.Line)); fault != nil {
			root = &node{pos: Pos{1, 1}} // a value begins there that does not end
		}
	}
	d := &Document{file: file, root: root}
	d.decodeTable(d.root, reflect.ValueOf(dst).Elem(), "")
	return d, err
}

// above is what stands before a line of data.
func above(data []byte, line int) []byte {
	n := 0
	for range line - 1 {
		n += bytes.IndexByte(data[n:], '\n') + 1
	}
	return data[:n]
}

// Fault adds a fault of meaning at the place of path: "tls.key",
// "listener[1].address", "queue.retry[0]". Where the file does not hold path,
// the nearest thing around it is the place.
func (d *Document) Fault(path, format string, args ...any) {
	n, _ := d.find(path)
	d.add(n.pos, format, args...)
}

// Has says whether the file holds path.
func (d *Document) Has(path string) bool {
	_, ok := d.find(path)
	return ok
}

// Clean says whether nothing at path or below it was found wrong so far, so
// that a rule about several keys does not speak of a value that has been
// refused already.
func (d *Document) Clean(path string) bool {
	n, ok := d.find(path)
	return !ok || !n.anyFault(d.faults)
}

// Lacks says whether the section at path is without key for all that can be
// told: where it holds an unknown key, that one may be the key mistyped, and
// where the key's value was refused, enough has been said of it.
func (d *Document) Lacks(path, key string) bool {
	n, ok := d.find(path)
	return !(ok && n.stray) && d.Clean(path+"."+key)
}

// Err is an [*Error] with every fault so far, nil without any.
func (d *Document) Err() error {
	if len(d.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(d.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{File: d.file, Faults: slices.Compact(d.faults)}
}

func (d *Document) add(at Pos, format string, args ...any) {
	d.faults = append(d.faults, Fault{at, fmt.Sprintf(format, args...)})
}

// find is the node of path, or the nearest around it and false.
func (d *Document) find(path string) (*node, bool) {
	n := d.root
	for part := range strings.SplitSeq(path, ".") {
		key, index, indexed := strings.Cut(part, "[")
		child := n.table[key]
		if child == nil {
			return n, false
		}
		n = child
		if !indexed {
			continue
		}
		i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
		if err != nil || i < 0 || i >= len(n.elems) {
			return n, false
		}
		n = n.elems[i]
	}
	return n, true
}

// Line is the line of path, or of the nearest thing around it.
func (d *Document) Line(path string) int {
	n, _ := d.find(path)
	return n.pos.Line
}

// Lines are the lines of the section at path, from its own header to its last
// key; false when it has no header of its own, as an inline table.
func (d *Document) Lines(path string) (first, last int, ok bool) {
	n, found := d.find(path)
	return n.first, n.last, found && n.first > 0
}

// Span is where the text value of the key at path stands in the file, in
// octets, with its quotation marks.
func (d *Document) Span(path string) (from, to int, ok bool) {
	n, found := d.find(path)
	return n.from, n.to, found && n.kind == kindString
}
