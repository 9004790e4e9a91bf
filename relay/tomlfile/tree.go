package tomlfile

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"dawk/relay"
)

type kind int

const (
	kindTable  kind = iota
	kindTables      // an array of tables: [[name]]
	kindArray
	kindString
	kindInteger
	kindFloat
	kindBool
	kindTime
)

// node is a key of the file with its value. Tables keep their keys in the
// order of the file.
type node struct {
	kind  kind
	pos   Pos // of the key; of the value for an element of an array
	text  string
	keys  []string
	table map[string]*node
	elems []*node
	stray bool // it holds a key that is not known

	from, to    int // of a text value, with its quotation marks: octets in the file
	first, last int // lines of a section under a header of its own; 0: it has none
}

func (n *node) child(key string, k kind, at Pos) *node {
	if c := n.table[key]; c != nil {
		return c
	}
	c := &node{kind: k, pos: at}
	if n.table == nil {
		n.table = map[string]*node{}
	}
	n.table[key] = c
	n.keys = append(n.keys, key)
	return c
}

func (n *node) anyFault(faults []Fault) bool {
	within := func(c *node) bool { return c.anyFault(faults) }
	return slices.ContainsFunc(faults, func(f Fault) bool { return f.Pos == n.pos }) ||
		slices.ContainsFunc(n.elems, within) || slices.ContainsFunc(slices.Collect(maps.Values(n.table)), within)
}

// parser builds the tree of nodes from go-toml's expressions.
type parser struct {
	unstable.Parser
	data    []byte
	skipped int // octets before data: a byte order mark
	root    *node
	lines   []int // offset at which each line begins
	open    *node // the section under the last header
}

const bom = "\uFEFF" // what some editors put before the first line

// parseTree reads a whole document. Its rules (duplicate keys, tables defined
// twice, UTF-8) are go-toml's; the one fault is a syntax error.
func parseTree(data []byte) (*node, *Fault) {
	data, marked := bytes.CutPrefix(data, []byte(bom))
	p := &parser{data: data, root: &node{pos: Pos{1, 1}}, lines: []int{0}}
	if marked {
		p.skipped = len(bom)
	}
	for i, c := range data {
		if c == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	if !utf8.Valid(data) {
		return nil, &Fault{p.pos(relay.FirstInvalid(data)), "not valid UTF-8: save the file as UTF-8"}
	}
	var all map[string]any
	if err := toml.Unmarshal(data, &all); err != nil {
		return nil, p.syntaxFault(err)
	}
	p.Reset(data)
	table := p.root
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.KeyValue:
			p.keyValue(table, e)
		case unstable.Table, unstable.ArrayTable:
			table = p.header(e)
			p.closeSection(table.pos.Line)
			p.open, table.first = table, table.pos.Line
		}
	}
	p.closeSection(len(p.lines) + 1)
	if err := p.Error(); err != nil { // cannot be: Unmarshal has read the same
		return nil, p.syntaxFault(err)
	}
	return p.root, nil
}

// header is the table that [a.b] or [[a.b]] opens.
func (p *parser) header(e *unstable.Node) *node {
	n := p.root
	for it := e.Key(); it.Next(); {
		key, at := string(it.Node().Data), p.pos(int(it.Node().Raw.Offset))
		if it.IsLast() && e.Kind == unstable.ArrayTable {
			n = n.child(key, kindTables, at)
			elem := &node{pos: at}
			n.elems = append(n.elems, elem)
			return elem
		}
		n = n.child(key, kindTable, at)
		if len(n.elems) > 0 { // [a.b] below [[a]]: of its last element
			n = n.elems[len(n.elems)-1]
		}
	}
	return n
}

// closeSection ends the section that is open before the line next, and before
// the blank lines and comments there: those belong to what follows.
func (p *parser) closeSection(next int) {
	if p.open == nil {
		return
	}
	last := next - 1
	for last > p.open.first {
		line := bytes.TrimSpace(p.line(last))
		if len(line) > 0 && line[0] != '#' {
			break
		}
		last--
	}
	p.open.last = last
}

// line is line n without its end.
func (p *parser) line(n int) []byte {
	if n == len(p.lines) {
		return p.data[p.lines[n-1]:]
	}
	return p.data[p.lines[n-1] : p.lines[n]-1]
}

// keyValue puts a.b.c = value into table.
func (p *parser) keyValue(table *node, e *unstable.Node) {
	n := table
	for it := e.Key(); it.Next(); {
		at := p.pos(int(it.Node().Raw.Offset))
		n = n.child(string(it.Node().Data), kindTable, at)
	}
	p.value(n, e.Value())
}

func (p *parser) value(n *node, v *unstable.Node) {
	switch v.Kind {
	case unstable.Array:
		n.kind = kindArray
		for it := v.Children(); it.Next(); {
			elem := &node{pos: n.pos} // arrays have no place of their own
			if at := it.Node(); at.Kind != unstable.Array {
				elem.pos = p.pos(int(at.Raw.Offset))
			}
			p.value(elem, it.Node())
			n.elems = append(n.elems, elem)
		}
		return
	case unstable.InlineTable:
		n.kind = kindTable
		for it := v.Children(); it.Next(); {
			p.keyValue(n, it.Node())
		}
		return
	case unstable.String:
		n.kind = kindString
		n.from = p.skipped + int(v.Raw.Offset)
		n.to = n.from + int(v.Raw.Length)
	case unstable.Integer:
		n.kind = kindInteger
	case unstable.Float:
		n.kind = kindFloat
	case unstable.Bool:
		n.kind = kindBool
	default:
		n.kind = kindTime
	}
	n.text = string(v.Data)
}

// pos turns an offset into a line and a column.
func (p *parser) pos(offset int) Pos {
	offset = min(max(offset, 0), len(p.data))
	line, exact := slices.BinarySearch(p.lines, offset)
	if exact {
		line++
	}
	return Pos{line, utf8.RuneCount(p.data[p.lines[line-1]:offset]) + 1}
}

// syntaxFault puts go-toml's words for a syntax error into ours.
func (p *parser) syntaxFault(err error) *Fault {
	var de *toml.DecodeError
	if !errors.As(err, &de) {
		return &Fault{Pos{1, 1}, strings.TrimPrefix(err.Error(), "toml: ")}
	}
	line, column := de.Position() // the column counts octets
	at := Pos{line, column}
	if line >= 1 && line <= len(p.lines) {
		at = p.pos(p.lines[line-1] + column - 1)
	}
	return &Fault{at, plainWords(strings.TrimPrefix(de.Error(), "toml: "))}
}

// plainWords says the commonest mistakes in other words than a parser's.
func plainWords(m string) string {
	switch {
	case strings.HasSuffix(m, "at start of value"):
		return "this value is not understood: text needs quotes, as in key = \"text\""
	case strings.HasPrefix(m, "expected '=' after key"):
		return "expected \"=\" after the key, as in key = \"value\""
	case strings.Contains(m, "incomplete") && strings.Contains(m, "array"):
		return "the list is not closed: a \"]\" is missing"
	case strings.Contains(m, "newlines") && strings.Contains(m, "string"), strings.Contains(m, "unterminated"):
		return "the text is not closed: a quotation mark is missing"
	}
	return m
}
