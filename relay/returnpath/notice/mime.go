package notice

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"regexp"
	"strings"
)

// part is a message or a part of one.
type part struct {
	header   map[string]string // by the name in lower case; the first of each
	kind     string            // media type
	params   map[string]string
	body     []byte // decoded where it is no multipart
	parts    []*part
	enclosed bool // it is within a message that is returned
}

// parse reads a message; what is beyond the bounds is not looked at.
func parse(b []byte) *part {
	left := maxParts
	return parsePart(b, "text/plain", 0, &left, false)
}

func parsePart(b []byte, fallback string, depth int, left *int, enclosed bool) *part {
	*left--
	p := &part{enclosed: enclosed}
	head, body := cutHeader(b)
	p.header = fields(head)
	kind := p.header["content-type"]
	if kind == "" {
		kind = fallback
	}
	var err error
	if p.kind, p.params, err = mime.ParseMediaType(kind); err != nil {
		p.kind = strings.ToLower(strings.TrimSpace(strings.SplitN(kind, ";", 2)[0]))
		p.params = looseParams(kind)
	}
	if depth == 0 && p.params["boundary"] == "" {
		if at := lostBoundary.FindSubmatch(body[:min(len(body), 1000)]); at != nil {
			p.kind, p.params = "multipart/mixed", map[string]string{"boundary": string(at[1])}
		}
	}
	if depth < maxDepth && strings.HasPrefix(p.kind, "multipart/") && p.params["boundary"] != "" {
		within := "text/plain"
		if p.kind == "multipart/digest" {
			within = "message/rfc822"
		}
		for _, piece := range split(body, p.params["boundary"]) {
			if *left <= 0 {
				break
			}
			p.parts = append(p.parts, parsePart(piece, within, depth+1, left, enclosed))
		}
		if len(p.parts) > 0 {
			return p
		}
		p.kind = "text/plain" // none of its delimiters is there
	}
	p.body = decode(body, p.header["content-transfer-encoding"])
	switch {
	case depth < maxDepth && *left > 0 && (p.kind == "message/rfc822" || p.kind == "message/global" || p.kind == "text/rfc822-headers" || p.kind == "message/global-headers"):
		p.parts = []*part{parsePart(p.body, "text/plain", depth+1, left, true)}
	case depth < maxDepth && *left > 0 && p.kind == "message/partial":
		p.kind = "text/plain"
	}
	return p
}

// lostBoundary is the first delimiter of a multipart whose header does not say that it is one.
var lostBoundary = regexp.MustCompile(`\A(?:\s*\n|[^-\s][^\n]*\n){0,4}--([^\s]{6,70})\r?\n(?i:Content-)`)

// looseParams finds boundary and charset in a Content-Type that is not well formed.
func looseParams(kind string) map[string]string {
	params := map[string]string{}
	for _, piece := range strings.Split(kind, ";")[1:] {
		name, value, _ := strings.Cut(piece, "=")
		params[strings.ToLower(strings.TrimSpace(name))] = strings.Trim(strings.TrimSpace(value), `"`)
	}
	return params
}

// cutHeader parts a message at its first empty line.
func cutHeader(b []byte) (head, body []byte) {
	for at := 0; at < len(b); {
		end := bytes.IndexByte(b[at:], '\n')
		if end < 0 {
			return b, nil
		}
		if line := bytes.TrimRight(b[at:at+end], "\r"); len(line) == 0 {
			return b[:at], b[at+end+1:]
		}
		at += end + 1
	}
	return b, nil
}

// fields reads header fields, unfolded; the first of each name.
func fields(head []byte) map[string]string {
	all := map[string]string{}
	name := ""
	first := false
	for line := range strings.SplitSeq(string(head), "\n") {
		line = strings.TrimRight(line, "\r")
		if line == "" {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			if first && len(all[name]) < 64<<10 {
				all[name] += " " + strings.TrimSpace(line)
			}
			continue
		}
		n, value, ok := strings.Cut(line, ":")
		if !ok {
			first = false
			continue
		}
		name = strings.ToLower(strings.TrimSpace(n))
		_, seen := all[name]
		if first = !seen; first {
			all[name] = strings.TrimSpace(value)
		}
	}
	return all
}

// split cuts the body of a multipart; its last delimiter may be missing.
func split(body []byte, boundary string) (pieces [][]byte) {
	delimiter := []byte("--" + boundary)
	begin := -1
	for at := 0; at < len(body) && len(pieces) < maxParts; {
		end, next := len(body), len(body)
		if i := bytes.IndexByte(body[at:], '\n'); i >= 0 {
			end, next = at+i, at+i+1
		}
		if line := bytes.TrimRight(body[at:end], " \t\r"); bytes.HasPrefix(line, delimiter) {
			rest := line[len(delimiter):]
			if len(rest) == 0 || string(rest) == "--" {
				if begin >= 0 {
					pieces = append(pieces, body[begin:at])
				}
				if begin = next; len(rest) > 0 {
					return pieces
				}
			}
		}
		at = next
	}
	if begin >= 0 && begin < len(body) {
		pieces = append(pieces, body[begin:])
	}
	return pieces
}

// decode undoes a transfer encoding, as far as it is well formed.
func decode(b []byte, encoding string) []byte {
	var r io.Reader
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, bytes.NewReader(b))
	case "quoted-printable":
		r = quotedprintable.NewReader(bytes.NewReader(b))
	default:
		return b[:min(len(b), maxDecoded)]
	}
	out, err := io.ReadAll(io.LimitReader(r, maxDecoded))
	if err != nil && len(out) == 0 {
		return b[:min(len(b), maxDecoded)]
	}
	return out
}

// find is the first part, in the order of the message, that is outside of what is
// returned and for which is says true; nil: there is none.
func (p *part) find(is func(*part) bool) *part {
	if p.enclosed {
		return nil
	}
	if is(p) {
		return p
	}
	for _, c := range p.parts {
		if f := c.find(is); f != nil {
			return f
		}
	}
	return nil
}

// returned is the header of the message that is enclosed; nil: none is.
func (p *part) returned() map[string]string {
	if p.enclosed {
		return p.header
	}
	for _, c := range p.parts {
		if h := c.returned(); h != nil {
			return h
		}
	}
	return nil
}

// text is the words of a part, whatever its charset: what matters in them is ASCII. Octets
// of UTF-16 and the marks of HTML go.
func (p *part) text() string {
	s := strings.ReplaceAll(string(p.body), "\x00", "")
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n")
	if p.kind == "text/html" {
		s = plain(s)
	}
	return s
}

// plain is HTML without its marks.
func plain(s string) string {
	var b strings.Builder
	lower := asciiLower(s)
	for i := 0; i < len(s); {
		if s[i] != '<' {
			b.WriteByte(s[i])
			i++
			continue
		}
		for _, skip := range [...]string{"style", "script", "head"} {
			if strings.HasPrefix(lower[i+1:], skip) {
				if end := strings.Index(lower[i:], "</"+skip); end > 0 {
					i += end
				}
			}
		}
		end := strings.IndexByte(s[i:], '>')
		if end < 0 {
			break
		}
		switch name := strings.TrimLeft(lower[i+1:i+end], "/"); {
		case strings.HasPrefix(name, "br"), strings.HasPrefix(name, "p"), strings.HasPrefix(name, "div"), strings.HasPrefix(name, "tr"), strings.HasPrefix(name, "h"), strings.HasPrefix(name, "li"):
			b.WriteByte('\n')
		case strings.Contains(name, "@"): // an address in angle brackets that was not escaped
			b.WriteString(s[i : i+end+1])
		default:
			b.WriteByte(' ')
		}
		i += end + 1
	}
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&", "&quot;", `"`, "&#64;", "@", "&nbsp;", " ", "&#39;", "'").Replace(b.String())
}

// isReadable says whether a part has words for people.
func isReadable(p *part) bool {
	return len(p.parts) == 0 && strings.HasPrefix(p.kind, "text/") && p.kind != "text/rfc822-headers"
}

// readable is all words outside of what is returned; plain text goes before HTML.
func (p *part) readable() string {
	var words, marked strings.Builder
	p.find(func(p *part) bool {
		switch {
		case !isReadable(p):
		case p.kind == "text/html":
			marked.WriteString(p.text() + "\n")
		default:
			words.WriteString(p.text() + "\n")
		}
		return false
	})
	if strings.TrimSpace(words.String()) == "" {
		return marked.String()
	}
	return words.String()
}

// decodedHeader is a header field without encoded words.
func (p *part) decodedHeader(name string) string {
	s, err := new(mime.WordDecoder).DecodeHeader(p.header[name])
	if err != nil {
		return p.header[name]
	}
	return s
}

// asciiLower keeps the length, as strings.ToLower does not.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
