package jsonread_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"dawk/relay/httpapi/jsonread"
)

// value reads any value but numbers and booleans, as encoding/json would.
func value(r *jsonread.Reader) (any, error) {
	kind, err := r.Next()
	if err != nil {
		return nil, err
	}
	switch kind {
	case jsonread.Null:
		return nil, r.Null()
	case jsonread.String:
		var b strings.Builder
		err := r.CopyString(&b)
		return b.String(), err
	case jsonread.Array:
		list := []any{}
		err := r.Array(func(i int) error {
			if i != len(list) {
				return fmt.Errorf("element %d is number %d", len(list), i)
			}
			v, err := value(r)
			list = append(list, v)
			return err
		})
		return list, err
	case jsonread.Object:
		all := map[string]any{}
		err := r.Object(100, func(key string) (err error) {
			all[key], err = value(r)
			return err
		})
		return all, err
	}
	return nil, errUnsupported
}

var errUnsupported = errors.New("a number or boolean")

func read(r io.Reader) (any, error) {
	j := jsonread.NewReader(r)
	v, err := value(j)
	if err == nil {
		err = j.End()
	}
	return v, err
}

func TestReader(t *testing.T) {
	long := strings.Repeat("größer €𝄞", 5000)
	for in, want := range map[string]any{
		`""`: "", ` [ ] `: []any{}, `{}`: map[string]any{}, `null`: nil,
		`"\u00e4\ud834\udd1e\"\\\/\b\f\n\r\t"`: "ä𝄞\"\\/\b\f\n\r\t",
		"\uFEFF\"x\"":                          "x",
		`{"a":["b",null,{"":"c"}] , "d":"e"}`:  map[string]any{"a": []any{"b", nil, map[string]any{"": "c"}}, "d": "e"},
		`["` + long + `"]`:                     []any{long},
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			if got, err := read(r); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%.60q: %.60v, %v", in, got, err)
			}
		}
	}
}

func TestFaults(t *testing.T) {
	for in, want := range map[string]string{
		``: "the JSON is empty", `  `: "unexpected EOF", `{"a"`: "unexpected EOF", `"a`: "unexpected EOF", `"\u12`: "unexpected EOF",
		`{a}`:              "'a' where a key should begin, at octet 1",
		`["a" "b"]`:        "'\"' where a comma or ']' should stand, at octet 5",
		`["a",]`:           "']' where a value should begin, at octet 5",
		`{"a" "b"}`:        "'\"' where a colon should stand, at octet 5",
		`{"a":"b",}`:       "'}' where a key should begin, at octet 9",
		`"a" x`:            "'x' behind the end, at octet 4",
		"\"a\nb\"":         "in a string: it has to be escaped, at octet 2",
		`"\x"`:             "'x' behind a backslash, at octet 3",
		`"\u00zz"`:         `not four hexadecimal digits behind \u, at octet 3`,
		`"\ud834"`:         "half of a surrogate pair, at octet 7",
		`"\udd1e\ud834"`:   "half of a surrogate pair, at octet 13",
		"\"Gr\xfc\xdfe\"":  "the text is not UTF-8, at octet 3",
		"\"\xe2\x82":       "the text is not UTF-8, at octet 1",
		"\"\xed\xa0\x80\"": "the text is not UTF-8, at octet 1", // a surrogate in UTF-8
		`nul`:              "unexpected EOF",
		`nule`:             "'e' in the word null, at octet 3",
		`{"` + strings.Repeat("k", 101) + `":""}`: "the string is too long",
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			if _, err := read(r); err == nil || err.Error() != want && !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%.60q: %v, want %q", in, err, want)
			}
		}
	}
	broken := errors.New("broken")
	if _, err := read(io.MultiReader(strings.NewReader(`["`), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("an error of the stream became %v", err)
	}
}

// FuzzReader: what is taken is what encoding/json finds there, however the
// stream is cut, and nothing is taken that it refuses.
func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"a":["b\u00e4",null,{}],"c":"d"}`))
	f.Add([]byte("\"\xe2\x82\xac\\ud834\\udd1e\""))
	f.Add([]byte(`[[[["`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := read(strings.NewReader(string(in)))
		cut, cutErr := read(iotest.OneByteReader(strings.NewReader(string(in))))
		if fmt.Sprint(err) != fmt.Sprint(cutErr) || err == nil && !reflect.DeepEqual(got, cut) {
			t.Fatalf("whole: %v, %v; in octets: %v, %v", got, err, cut, cutErr)
		}
		if err != nil {
			return
		}
		var want any
		if err := json.Unmarshal([]byte(strings.TrimPrefix(string(in), "\uFEFF")), &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v, and encoding/json finds %v, %v", in, got, want, err)
		}
		if !utf8.Valid(in) {
			t.Fatalf("%q is not UTF-8 and was taken", in)
		}
	})
}
