package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"dawk/relay"
)

// requestKeys are those of a message in JSON, in the order of docs/api.md.
const requestKeys = "from, envelope_from, to, cc, bcc, reply_to, subject, text, html, attachments (filename, content_type, content), headers"

// kinds says what the keys of a request take, where that is not text.
var kinds = map[string]string{
	"to": "an address or a list of them", "cc": "an address or a list of them", "bcc": "an address or a list of them",
	"reply_to": "an address or a list of them", "attachments": "a list of objects", "headers": "an object whose values are text",
}

// wrongJSON says what is wrong with a request in words that need no knowledge
// of Go.
func wrongJSON(err error) error {
	const prefix = "the JSON is not a message: "
	if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return bad(prefix+"there is no key %s; known are %s", relay.Sanitize(key), requestKeys)
	}
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		key, _, _ := strings.Cut(typ.Field, ".")
		if key == "" {
			return bad(prefix+"it must be an object, as in {\"from\": …}, not %s", typ.Value)
		}
		kind := kinds[key]
		if kind == "" || key == "attachments" && typ.Field != key {
			kind = "text"
		}
		return bad(prefix+"%s takes %s, not %s", relay.Sanitize(typ.Field), kind, article(typ.Value))
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return bad(prefix+"%s, at octet %d", relay.Sanitize(syntax.Error()), syntax.Offset)
	}
	if place, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return bad(prefix+"the content of an attachment is not base64 from its octet %d on", int64(place)+1)
	}
	switch {
	case errors.Is(err, io.EOF):
		return bad(prefix + "it is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return bad(prefix + "it breaks off before its end")
	}
	return bad(prefix+"%s", relay.Sanitize(err.Error()))
}

func article(kind string) string {
	switch {
	case strings.HasPrefix(kind, "bool"):
		return "true or false"
	case strings.ContainsAny(kind[:min(1, len(kind))], "aeiou"):
		return "an " + kind
	}
	return "a " + kind
}

// rawEnvelope checks the address of a whole message. A parameter that we do not
// know would be a wish that is not granted, such as a copy to somebody.
func rawEnvelope(q url.Values) error {
	for _, key := range slices.Sorted(maps.Keys(q)) {
		if key != "from" && key != "to" {
			return bad("there is no parameter %q: the envelope is ?from=…&to=…&to=…, with a to for every recipient", relay.Sanitize(key))
		}
	}
	switch {
	case !q.Has("from") || len(q["to"]) == 0:
		return bad("a whole message needs its envelope in the address: ?from=…&to=…&to=…")
	case len(q["from"]) > 1:
		return bad("from is given %d times: a message has one reverse-path", len(q["from"]))
	}
	return nil
}
