package show

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// visible writes control characters, except for line ends and tabs, as what
// they are. Pieces of UTF-8 that fall between two writes stay as they are: the
// controls that they could form (C1) are ignored by terminals in UTF-8 mode.
type visible struct{ w io.Writer }

func (v *visible) Write(p []byte) (int, error) {
	var b strings.Builder
	for _, c := range p {
		switch {
		case c == '\n' || c == '\t' || c >= ' ' && c != 0x7f:
			b.WriteByte(c)
		case c == '\r': // of CRLF
		default:
			fmt.Fprintf(&b, "^%c", unicode.ToUpper(rune(c^0x40)))
		}
	}
	if _, err := io.WriteString(v.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// NewVisible writes to w what a terminal may be shown.
func NewVisible(w io.Writer) io.Writer { return &visible{w: w} }
