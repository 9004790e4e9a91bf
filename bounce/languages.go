package bounce

import (
	"embed"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"

	"dawk/relay/replies"
)

// DefaultLanguage is the language of notices when nothing shows another.
const DefaultLanguage = "en"

//go:embed words/*.txt
var shippedFiles embed.FS

// Languages are the words of notices in several languages. They never change
// once made, and may be used by several goroutines.
type Languages struct {
	byTag map[string]*language
}

// language is the words of one language by their keys.
type language struct {
	tag   string // lower case, as in Content-Language: "de"
	words map[string]string
}

// Tags are the languages there are, in alphabetical order.
func (l *Languages) Tags() []string { return slices.Sorted(maps.Keys(l.byTag)) }

// Has says whether notices can be written in a language.
func (l *Languages) Has(tag string) bool { return l.find(tag) != nil }

// shipped are the languages that come with dawk. A test proves that they are
// complete; nothing checks it at run time.
var shipped = sync.OnceValue(func() *Languages {
	l := &Languages{byTag: map[string]*language{}}
	files, err := shippedFiles.ReadDir("words")
	for _, f := range files {
		text, readErr := shippedFiles.ReadFile("words/" + f.Name())
		lang, faults := parseLanguage(f.Name(), text, nil)
		err = errors.Join(err, readErr, errors.Join(faults...))
		l.byTag[lang.tag] = lang
	}
	if err != nil {
		panic(err)
	}
	return l
})

// Shipped are the languages that come with dawk.
func Shipped() *Languages { return shipped() }

// With is l with the words of files, by their names: "de.txt" changes those German words that it
// holds; "ja.txt", a language that l lacks, must hold every word. The error names every fault with
// file and line.
func (l *Languages) With(files map[string][]byte) (*Languages, []error) {
	out := &Languages{byTag: maps.Clone(l.byTag)}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(files)) {
		tag := strings.ToLower(strings.TrimSuffix(path.Base(name), ".txt"))
		lang, errs := parseLanguage(name, files[name], l.byTag[tag])
		faults = append(faults, errs...)
		if len(errs) == 0 {
			out.byTag[lang.tag] = lang
		}
	}
	return out, faults
}

// find is the language of a tag, or of its primary part: "de-CH" is German
// where there is no Swiss one (RFC 4647 §3.4).
func (l *Languages) find(tag string) *language {
	for tag = strings.ToLower(tag); tag != ""; {
		if lang := l.byTag[tag]; lang != nil {
			return lang
		}
		i := strings.LastIndexByte(tag, '-')
		tag = tag[:max(i, 0)]
	}
	return nil
}

// languageOf chooses the language of a notice: the language that the original declares, else the
// one that the script of its Subject shows, else the configured one. The postmaster gets the
// configured one.
func languageOf(c Config, r Report, o original) *language {
	all := c.languages()
	if r.Kind != KindDoubleBounce {
		for tag := range strings.SplitSeq(o.field("Content-Language"), ",") {
			if lang := all.find(strings.TrimSpace(tag)); lang != nil {
				return lang
			}
		}
		if lang := all.find(scriptLanguage(o.field("Subject"))); lang != nil {
			return lang
		}
	}
	return c.house()
}

// languages are those of c, the shipped ones unless it has its own.
func (c Config) languages() *Languages {
	if c.Languages != nil {
		return c.Languages
	}
	return Shipped()
}

// house is the configured language, that of the relay itself.
func (c Config) house() *language {
	all := c.languages()
	if lang := all.find(c.Language); lang != nil {
		return lang
	}
	if lang := all.find(DefaultLanguage); lang != nil {
		return lang
	}
	return Shipped().find(DefaultLanguage)
}

// chineseCharsets are charsets that nothing else is written in.
var chineseCharsets = []string{"=?gb2312?", "=?gbk?", "=?gb18030?", "=?big5?", "=?hz-gb-2312?"}

// scriptLanguage is the language that follows from the script of a Subject alone; "" when none
// does. Latin letters show nothing: English subjects contain German names.
func scriptLanguage(subject string) string {
	lower := strings.ToLower(subject)
	for _, c := range chineseCharsets {
		if strings.Contains(lower, c) {
			return "zh"
		}
	}
	text, _ := decodeWords(subject)
	han := false
	for _, r := range text {
		switch {
		case unicode.Is(unicode.Bengali, r):
			return "bn" // Assamese has this script too
		case unicode.In(r, unicode.Hiragana, unicode.Katakana):
			return "ja"
		case unicode.Is(unicode.Hangul, r):
			return "ko"
		case unicode.Is(unicode.Han, r):
			han = true
		}
	}
	if han {
		return "zh"
	}
	return ""
}

// say is the words of a key with its placeholders filled in: pairs of name and value. Values are
// not searched for placeholders: strangers may have written them.
func (l *language) say(key string, pairs ...string) string {
	words := l.words[key]
	if len(pairs) == 0 {
		return words
	}
	old := make([]string, len(pairs))
	for i := 0; i < len(pairs); i += 2 {
		old[i], old[i+1] = "{"+pairs[i]+"}", pairs[i+1]
	}
	return strings.NewReplacer(old...).Replace(words)
}

// wordsFor are the words of a category: why completes "... was not delivered,
// because", do is what the sender can do.
func (l *language) wordsFor(c replies.Category) (why, do string) {
	if l.words["why."+string(c)] == "" {
		c = replies.Other
	}
	return l.words["why."+string(c)], l.words["do."+string(c)]
}

// wordsFault is an error of a file of words, with its place.
type wordsFault struct {
	file    string
	line    int
	problem string
}

func (f *wordsFault) Error() string { return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.problem) }

func fault(file string, line int, format string, args ...any) error {
	return &wordsFault{file, line, fmt.Sprintf(format, args...)}
}
