package operator

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"dawk/relay/identity"
	"dawk/relay/tomlfile"
)

// What the editor writes is what is read, and what it refuses changes nothing.
func TestEditor(t *testing.T) {
	e := Editor{filepath.Join(t.TempDir(), "operators.toml")}
	hash, err := identity.HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	_, token := identity.NewToken()
	alice := Operator{Name: `al"ice@example.org`, Role: Admin, Password: hash}
	probe := Token{Name: "probe", Role: Read, Hash: token, Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	for what, err := range map[string]error{"add": e.Add(alice), "token": e.AddToken(probe)} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	f, err := ReadFile(e.Path)
	if err != nil || !reflect.DeepEqual(f, &File{[]Operator{alice}, []Token{probe}}) {
		t.Errorf("%+v, %v", f, err)
	}
	before, _ := os.ReadFile(e.Path)
	for what, err := range map[string][2]error{
		"add twice":       {e.Add(Operator{Name: strings.ToUpper(alice.Name), Role: Read, Password: hash}), ErrExists},
		"token twice":     {e.AddToken(probe), ErrExists},
		"remove nobody":   {e.Remove("probe"), ErrUnknown},
		"remove no token": {e.RemoveToken(alice.Name), ErrUnknown},
		"passwd nobody":   {e.SetPassword("bob", hash), ErrUnknown},
	} {
		if !errors.Is(err[0], err[1]) {
			t.Errorf("%s: %v", what, err[0])
		}
	}
	if after, _ := os.ReadFile(e.Path); string(after) != string(before) {
		t.Errorf("%s", after)
	}
}

// A mistake is told with its place, and never with the secret.
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"[[operator]]\nname = \"a\"\nrole = \"read\"\npassword = \"plain secret\"\n":         ":4:",
		"[[operator]]\nname = \"a\"\npassword = \"plain secret\"\n":                          "role is missing",
		"[[token]]\nname = \"a\"\nrole = \"read\"\nhash = \"dawk_secret\"\n":                 "hash of \"a\"",
		"[[token]]\nname = \"a\"\nrole = \"boss\"\n":                                         `no role "boss"`,
		"[[token]]\nname = \"a\"\nrole = \"read\"\n[[token]]\nname = \"A\"\nrole=\"read\"\n": "twice",
	} {
		_, err := parse("operators.toml", []byte(text))
		if _, ok := errors.AsType[*tomlfile.Error](err); !ok || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzFile: what is read without a mistake is the same when it was written anew.
func FuzzFile(f *testing.F) {
	f.Add("[[token]]\nname = \"a\"\nrole = \"read\"\nhash = \"sha256:" + strings.Repeat("0", 64) + "\"\nexpires = \"2027-01-02T03:04:05Z\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		one, err := parse("operators.toml", []byte(text))
		if err != nil {
			return
		}
		for i := range one.Tokens {
			one.Tokens[i].Expires = one.Tokens[i].Expires.UTC().Truncate(time.Second)
		}
		two, err := parse("operators.toml", one.text())
		if err != nil || string(two.text()) != string(one.text()) {
			t.Errorf("%v:\n%s", err, one.text())
		}
	})
}
