package bounce

import (
	"bytes"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"dawk/relay"
	"dawk/relay/replies"
)

// Bounds of a file of words, in octets.
const (
	MaxWordsFile = 64 << 10
	maxWords     = 600 // of one key
)

// vocabulary is every key of a language with the placeholders that its words
// may have; those with "!" must be there. docs/bounces.md explains them.
var vocabulary = func() map[string]string {
	v := map[string]string{
		"date": "year! month! day! time! zone", "day": "year! month! day!",
		"list.two": "first! last!", "list.more": "first! last!", "recipients.many": "n!",
		"span.days": "n!", "span.hours": "n!", "span.minutes": "n!", "span.minute": "",
		"message": "subject!", "message.untitled": "", "message.returnless": "", "message.notice": "",
		"failed": "message recipients! why!", "expired": "message recipients! span! why!", "delayed": "message recipients! why!",
		"delayed.calm": "", "delayed.until": "until!", "delayed.tell_failure": "", "delayed.tell_end": "",
		"relayed": "message recipients! host!", "delivered": "message recipients!", "late": "message recipients! host",
		"postmaster": "host", "next_system": "",
		"said.words": "host", "said.found": "", "said.more": "", "said.notice": "", "said.cut": "", "names.more": "n!",
		"details.title": "", "details.subject": "value!", "details.message_id": "value!", "details.accepted": "value!",
		"details.last_attempt": "value!", "details.queue_id": "value! host",
		"footer": "host", "attached.whole": "", "attached.header": "", "attached.none": "",
		"subject.failed": "subject", "subject.delayed": "subject", "subject.relayed": "subject", "subject.delivered": "subject",
		"subject.late": "subject", "subject.double_bounce": "subject", "subject.untitled": "day!",
		"digest.subject": "n!", "digest.text": "address n limit", "digest.full": "address n", "digest.programs": "",
	}
	for _, c := range replies.Categories() {
		v["why."+string(c)], v["do."+string(c)] = "", ""
	}
	return v
}()

var (
	languageTag = regexp.MustCompile(`^[a-z]{2,3}(-[a-z0-9]{2,8})*$`) // RFC 5646 §2.1, as far as file names need it
	placeholder = regexp.MustCompile(`\{[^{}]*\}?|\}`)
)

// entry is one key as a file has it.
type entry struct {
	line int
	text string
}

// parseLanguage reads a file of words. base are the words that it changes;
// nil: it must hold them all.
func parseLanguage(name string, text []byte, base *language) (*language, []error) {
	lang := &language{tag: strings.ToLower(strings.TrimSuffix(path.Base(name), ".txt")), words: map[string]string{}}
	if !languageTag.MatchString(lang.tag) {
		return lang, []error{fault(name, 1, `the name of the file must be a language and ".txt", as in "de.txt"`)}
	}
	entries, faults := readWords(name, text)
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		e := entries[key]
		if problem := checkWords(key, e.text); problem != "" {
			faults = append(faults, fault(name, e.line, "%s", problem))
		}
		lang.words[key] = e.text
	}
	for _, key := range slices.Sorted(maps.Keys(vocabulary)) {
		switch _, have := entries[key]; {
		case have:
		case base != nil:
			lang.words[key] = base.words[key]
		default:
			faults = append(faults, fault(name, 1, "%s is missing: a new language needs every key", key))
		}
	}
	slices.SortStableFunc(faults, func(a, b error) int { return a.(*wordsFault).line - b.(*wordsFault).line })
	return lang, faults
}

// readWords parses a file: "key = words", where a line that begins with a space continues the words
// above it.
func readWords(name string, text []byte) (map[string]entry, []error) {
	switch {
	case len(text) > MaxWordsFile:
		return nil, []error{fault(name, 1, "the file has %d octets; more than %d cannot be meant", len(text), MaxWordsFile)}
	case !utf8.Valid(text):
		line := 1 + bytes.Count(text[:relay.FirstInvalid(text)], []byte("\n"))
		return nil, []error{fault(name, line, "the file is not UTF-8")}
	}
	entries, last := map[string]entry{}, ""
	var faults []error
	for i, line := range strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n") {
		line = strings.TrimRight(line, " \t\r")
		key, words, found := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				faults = append(faults, fault(name, i+1, "a line that begins with a space goes on with the words above it, and there are none"))
				break
			}
			e := entries[last]
			entries[last] = entry{e.line, e.text + " " + strings.TrimSpace(line)}
		case !found:
			last = ""
			faults = append(faults, fault(name, i+1, `%q is not of the form "key = words"`, shown(line)))
		default:
			last = key
			if e, twice := entries[key]; twice {
				faults = append(faults, fault(name, i+1, "%s stands already in line %d", shown(key), e.line))
				break
			}
			entries[key] = entry{i + 1, strings.TrimSpace(words)}
		}
	}
	return entries, faults
}

// checkWords says what is wrong with the words of a key, "" when nothing is.
func checkWords(key, words string) string {
	allowed, known := vocabulary[key]
	switch {
	case !known:
		return "there is no key " + quoted(key) + nearest(key)
	case words == "":
		return key + " is empty"
	case len(words) > maxWords:
		return key + " is too long for a notice"
	case strings.ContainsFunc(words, func(r rune) bool { return unicode.IsControl(r) || oneLine(string(r)) == "" && r != ' ' }):
		return key + " holds a control character"
	}
	names := strings.Fields(allowed)
	for _, p := range placeholder.FindAllString(words, -1) {
		bare := strings.Trim(p, "{}")
		if p != "{"+bare+"}" || !slices.Contains(names, bare) && !slices.Contains(names, bare+"!") {
			return key + " has no placeholder " + quoted(p) + "; it has " + placeholders(names)
		}
	}
	for _, n := range names {
		if bare, must := strings.CutSuffix(n, "!"); must && !strings.Contains(words, "{"+bare+"}") {
			return key + " needs {" + bare + "}: without it the notice would not say it"
		}
	}
	return ""
}

func placeholders(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = "{" + strings.TrimSuffix(n, "!") + "}"
	}
	return strings.Join(list, " ")
}

// nearest suggests a key for one that does not exist.
func nearest(key string) string {
	best := relay.Nearest(key, slices.Sorted(maps.Keys(vocabulary)))
	if best == "" {
		return ""
	}
	return "; did you mean " + quoted(best) + "?"
}

func quoted(s string) string { return `"` + shown(s) + `"` }

// shown is s in a form that is safe in a message about a file.
func shown(s string) string { return relay.ClipTo(oneLine(s), 60) }
