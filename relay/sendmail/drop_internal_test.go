package sendmail

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"dawk/relay"
)

const dropSeed = `{"dawk_drop":1,"size":3,"envelope":{"from":"a@b.test","recipients":[{"path":"c@d.test"}]}}` + "\nx\r\n"

// A file that the disk cannot read now is not one that was never mail.
func TestReadHeadDisk(t *testing.T) {
	broken := errors.New("input/output error")
	if _, _, err := readHead(iotest.ErrReader(broken), 100); !errors.Is(err, broken) || errors.Is(err, errMalformed) {
		t.Errorf("%v", err)
	}
}

// FuzzDropHead: anybody may leave a file in the drop folder. Whatever stands in
// it, an envelope that is taken from it is one that SMTP can say, in as many
// lines and words as it has recipients and parameters, and it comes back the
// same when it is written again.
func FuzzDropHead(f *testing.F) {
	for _, seed := range []string{dropSeed,
		`{"dawk_drop":1,"size":0,"envelope":{"from":"","ret":"HDRS","envid":"a=b +c","body":"8BITMIME","recipients":[{"path":"\"a b\"@d.test","notify":"SUCCESS,FAILURE"},{"path":"postmaster"}]}}` + "\n",
		`{"dawk_drop":1,"size":0,"envelope":{"from":"ü@b.test","smtputf8":true,"recipients":[{"path":"@x.test:c@[IPv6:::1]","notify":"NEVER"}]}}` + "\n",
		`{"dawk_drop":1,"size":0,"envelope":{"from":"","requiretls":true,"recipients":[{"path":"c@d.test","orcpt":{"type":"rfc822","addr":"x"}}]}}` + "\n",
		`{"dawk_drop":1,"size":0,"envelope":{"from":"","envid":"a\u000ab","recipients":[{"path":"c@d.test> BODY=x\r\nDATA"}]}}` + "\n",
		`{"dawk_drop":1,"dawk_drop":2,"SIZE":-1,"envelope":null}{}` + "\n\n",
	} {
		f.Add([]byte(seed), "a@b.test", `"x y"@d.test`, "id 1", "8BITMIME", "SUCCESS,DELAY")
		f.Add([]byte(seed), "postmaster", "\u00fc@x.test", "a+b=c", "HDRS", "NEVER")
	}
	f.Fuzz(func(t *testing.T, file []byte, from, to, envid, word, notify string) {
		checkDrop(t, file)
		// Chance writes little JSON: the same with values in their places.
		path := map[string]any{"path": to, "notify": notify}
		for _, envelope := range []map[string]any{
			{"from": from, "recipients": []any{path}, "envid": envid},
			{"from": from, "recipients": []any{map[string]any{"path": from}, path}, "body": word},
			{"from": "", "recipients": []any{path}, "ret": word, "envid": envid, "smtputf8": true},
			{"from": from, "recipients": []any{map[string]any{"path": to, "orcpt": map[string]string{"type": word, "addr": envid}}}},
		} {
			line, err := json.Marshal(map[string]any{"dawk_drop": dropVersion, "size": 0, "envelope": envelope})
			if err != nil {
				t.Fatal(err)
			}
			checkDrop(t, append(line, '\n'))
		}
	})
}

// checkDrop says what must hold of every file that is taken.
func checkDrop(t *testing.T, file []byte) {
	t.Helper()
	head, at, err := readHead(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		if !errors.Is(err, errMalformed) {
			t.Fatalf("memory has no trouble: %v", err)
		}
		return
	}
	if head.Size < 0 || at < 1 || at+head.Size != int64(len(file)) || file[at-1] != '\n' {
		t.Fatalf("%d octets of message at %d of %d", head.Size, at, len(file))
	}
	e := head.Envelope
	m := &Message{Envelope: e}
	lines := commands(m)
	if len(lines) != 2+len(e.Recipients) || e.RequireTLS {
		t.Fatalf("%q", lines)
	}
	for i, line := range lines {
		// Words outside quotes: the command, its address, and the parameters.
		words, most := strings.Fields(unquoted(line)), 3
		if i == 1 {
			for _, given := range []bool{e.Body != "", e.SMTPUTF8, e.Ret != "", e.EnvID != ""} {
				if given {
					most++
				}
			}
		}
		if !utf8.ValidString(line) || relay.Sanitize(line) != line || len(words) > most || len(line) > 1000 {
			t.Fatalf("not a command: %q", line)
		}
		if !e.SMTPUTF8 && strings.ContainsFunc(line, func(r rune) bool { return r >= utf8.RuneSelf }) {
			t.Fatalf("not declared SMTPUTF8: %q", line)
		}
	}
	again, err := json.Marshal(dropHead{Version: dropVersion, Envelope: e})
	if err != nil {
		t.Fatal(err)
	}
	again = append(again, '\n')
	back, _, err := readHead(bytes.NewReader(again), int64(len(again)))
	if diff := cmp.Diff(e, back.Envelope, cmp.Comparer(func(a, b relay.Path) bool { return a == b })); err != nil || diff != "" {
		t.Fatalf("%v %s", err, diff)
	}
}

// unquoted is s with a letter for each quoted string.
func unquoted(s string) string {
	var b strings.Builder
	for quoted, i := false, 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
			b.WriteByte('q')
		case !quoted:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
