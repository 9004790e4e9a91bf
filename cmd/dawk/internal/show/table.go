package show

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Column is one of a Table. Where a terminal is narrow, the least important give way:
// each is cut down to Least characters, and then left out.
type Column struct {
	Name   string
	Weight int  // the higher, the later it gives way; 0 is the first to go
	Least  int  // characters that it may be cut down to; 0: it is never cut
	Right  bool // its cells are aligned at their ends, as numbers are
	Wrap   bool // of the last column: what does not fit goes on below, and is not cut
}

// Table prints rows under columns that fit into a terminal. A pipe has all of them,
// uncut.
type Table struct {
	w     io.Writer
	cols  []Column
	rows  [][]string
	begun bool // the names of the columns were printed
	width int  // characters; 0: no bound
}

// NewTable prints to w, as wide as the terminal that it is.
func NewTable(w io.Writer, cols ...Column) *Table {
	return &Table{w: w, cols: cols, width: Width(w)}
}

// Width is that of a terminal in characters; 0: w is none. COLUMNS says otherwise.
func Width(w io.Writer) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if e, ok := w.(*escaped); ok {
		w = e.w
	}
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}

// Row adds a row; a cell for each column.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(t.cols))
	for i := range row {
		row[i] = fmt.Sprint(cells[i])
	}
	t.rows = append(t.rows, row)
}

// Rows is how many wait for Flush.
func (t *Table) Rows() int { return len(t.rows) }

const gap = 2 // characters between columns

// Flush prints the rows, aligned, under the names of the columns at the first time.
func (t *Table) Flush() error {
	if len(t.rows) == 0 {
		return nil
	}
	if !t.begun {
		t.begun = true
		head := make([]string, len(t.cols))
		for i, c := range t.cols {
			head[i] = c.Name
		}
		t.rows = slices.Insert(t.rows, 0, head)
	}
	widths := t.fit()
	var b strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		var below []string
		pad := 0
		for i, cell := range row {
			if widths[i] == 0 {
				continue
			}
			if t.cols[i].Wrap {
				cell, below = wrap(cell, widths[i])
			}
			cell = cut(cell, widths[i])
			room := widths[i] - utf8.RuneCountInString(cell)
			if t.cols[i].Right {
				pad, room = pad+room, 0
			}
			line.WriteString(strings.Repeat(" ", pad) + cell)
			pad = room + gap
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		for _, rest := range below {
			b.WriteString(strings.Repeat(" ", before(widths)) + rest + "\n")
		}
	}
	t.rows = t.rows[:0]
	_, err := io.WriteString(t.w, b.String())
	return err
}

// fit gives each column its width; 0: it is left out.
func (t *Table) fit() []int {
	widths := make([]int, len(t.cols))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 1)
		}
	}
	if t.width == 0 {
		return widths
	}
	order := make([]int, len(t.cols)) // who gives way first
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(t.cols[a].Weight, t.cols[b].Weight), cmp.Compare(b, a))
	})
	over := func() int {
		total := -gap
		for _, w := range widths {
			if w > 0 {
				total += w + gap
			}
		}
		return total - t.width
	}
	for _, i := range order {
		if least := t.cols[i].Least; least > 0 && over() > 0 {
			widths[i] = max(min(widths[i], least), widths[i]-over())
		}
	}
	for _, i := range order[:len(order)-1] {
		if over() > 0 {
			widths[i] = 0
		}
	}
	if n := over(); n > 0 {
		last := order[len(order)-1]
		widths[last] = max(1, widths[last]-n)
	}
	return widths
}

// before is where the last column begins.
func before(widths []int) (n int) {
	for _, w := range widths[:len(widths)-1] {
		if w > 0 {
			n += w + gap
		}
	}
	return n
}

// wrap parts s between its words into lines of at most width characters.
func wrap(s string, width int) (first string, below []string) {
	lines := []string{""}
	for word := range strings.FieldsSeq(s) {
		last := &lines[len(lines)-1]
		switch n := utf8.RuneCountInString(*last); {
		case n == 0:
			*last = word
		case n+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	for i, l := range lines[1:] {
		lines[i+1] = cut(l, width)
	}
	return lines[0], lines[1:]
}

func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:width-1]) + "…"
}
