package httpapi

import (
	"bytes"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// What is wrong with a request is told in a sentence about JSON, not about the
// program that reads it.
func TestWordsOfWrongRequests(t *testing.T) {
	const head = `{"from":"a@example.org","to":"b@example.com",`
	for body, want := range map[string]string{
		``:                      "it is empty",
		`{"from":`:              "it breaks off before its end",
		`{from}`:                "'f' where a key should begin, at octet 1",
		`[]`:                    `it must be an object, as in {"from": …}, not an array`,
		`{"from":1}`:            "from takes text, not a number",
		`{"to":["a@b.test",3]}`: "to takes an address or a list of them, not a number",
		`{"to":{}}`:             "to takes an address or a list of them, not an object",
		`{"headers":"x"}`:       "headers takes an object whose values are text, not a string",
		head + `"bc":"c"}`:      `there is no key "bc"; known are from, `,
		head + `"text":[]}`:     "text takes text, not an array",
		head + `"attachments":[{"content":"@@"}]}`:  "the content of an attachment is not base64 from its octet 1 on",
		head + `"attachments":[{"filename":true}]}`: "attachments.filename takes text, not true or false",
		head + `"attachments":{}}`:                  "attachments takes a list of objects, not an object",
		head + `"text":""} {}`:                      "'{' behind the end",
	} {
		_, err := parseMessage([]byte(body))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Go ") || strings.Contains(err.Error(), "json:") {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}

// Every key is in the table of the docs.
func TestRequestKeysAreAllNamed(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Concat(requestKeys, attachmentKeys) {
		if !bytes.Contains(page, []byte("`"+key+"`")) {
			t.Errorf("docs/api.md does not name %s", key)
		}
	}
}

// A copy that was asked for in a way that we do not know must not be lost
// without a word.
func TestEnvelopeOfAWholeMessage(t *testing.T) {
	for query, want := range map[string]string{
		"from=a@example.org&to=b@example.com&to=c@example.com":   "",
		"from=&to=b@example.com":                                 "",
		"from=a@example.org":                                     "needs its envelope",
		"to=b@example.com":                                       "needs its envelope",
		"from=a@example.org&from=d@example.org&to=b@example.com": "from is given 2 times",
		"from=a@example.org&to=b@example.com&bcc=c@example.com":  `there is no parameter "bcc"`,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		err = rawEnvelope(q)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}
