package tomlfile_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/tomlfile"

	"github.com/google/go-cmp/cmp"
)

type settings struct {
	Name   string           `toml:"name"`
	Limits limits           `toml:"limits"`
	Doors  []door           `toml:"door"`
	Retry  []relay.Duration `toml:"retry"`
}

type limits struct {
	MaxSize  relay.Size     `toml:"max_size"`
	MaxCount int            `toml:"max_count"`
	Timeout  relay.Duration `toml:"timeout"`
	Trust    *bool          `toml:"trust"`
}

type door struct {
	Address  string          `toml:"address"`
	Colour   string          `toml:"colour"`
	Networks []relay.Network `toml:"networks"`
}

func (d *door) SetDefaults() { d.Colour = "red" }

func TestParseFillsAndKeepsDefaults(t *testing.T) {
	s := settings{Name: "default", Limits: limits{MaxCount: 7}}
	doc, err := tomlfile.Parse("s.toml", []byte("\uFEFF"+`
limits.max_size = "3MiB"
limits.trust = false
limits.timeout = "1d12h"
retry = ["1m", "0"]
[[door]]
address = "a"
networks = ["192.0.2.7/24", "2001:db8::1"]
[[door]]
address = 'b'
colour = "blue"
`), &s)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	if s.Name != "default" || s.Limits.MaxCount != 7 {
		t.Errorf("defaults were lost: %+v", s)
	}
	if s.Limits.MaxSize != 3<<20 || s.Limits.Timeout != relay.Duration(36*time.Hour) || *s.Limits.Trust {
		t.Errorf("limits: %+v", s.Limits)
	}
	if len(s.Doors) != 2 || s.Doors[0].Colour != "red" || s.Doors[1].Colour != "blue" {
		t.Errorf("doors: %+v", s.Doors)
	}
	if got := s.Doors[0].Networks[0].String() + " " + s.Doors[0].Networks[1].String(); got != "192.0.2.0/24 2001:db8::1/128" {
		t.Errorf("networks: %s", got)
	}
	if !doc.Has("door[1].colour") || doc.Has("door[0].colour") || doc.Has("door[2]") || doc.Has("name") {
		t.Error("Has does not tell what the file holds")
	}
}

func TestEveryFaultAtOnceWithItsPlace(t *testing.T) {
	const file = `nam = "x"
Limits.max_count = 1
# what is known
retry = ["1m", "x", "-1s"]
[limits]
max_size = "5MB"
max_count = "many"
  timeout = 5
trust = "no"
[[door]]
adress = "a"
networks = "192.0.2.0/24"
# é
x = "é"	; y = 1
`
	var s settings
	_, err := tomlfile.Parse("s.toml", []byte(file), &s)
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.HasPrefix(err.Error(), "s.toml:14:9: ") {
		t.Errorf("a syntax error comes alone, with its place: %v", err)
	}
	for file, has := range map[string]bool{
		"name = \"x\"\n[limits]\nx = ; 1\n": true, "name = \"x\"\nretry = [\"1m\",\n\n": false, "name = \"x\"\ngarbage [": true, "name = x": false,
		"garbage [\nname = \"x\"\n": false, "\xff": false,
	} {
		var s settings
		above, err := tomlfile.Parse("s.toml", []byte(file), &s)
		if err == nil || above.Has("name") != has || (s.Name == "x") != has {
			t.Errorf("%q: what stands above the fault: %v, %+v, %v", file, above.Has("name"), s, err)
		}
	}
	doc, err := tomlfile.Parse("s.toml", []byte(strings.Replace(file, "; y = 1", "", 1)), &s)
	if err != nil {
		t.Fatal(err)
	}
	doc.Fault("door[0].networks", "a rule about meaning")
	doc.Fault("door[0].colour", "not in the file: the door is the place")
	want := `s.toml:1:1: unknown key "nam"; did you mean "name"?
s.toml:2:1: unknown section "Limits"; did you mean "limits"?
s.toml:4:16: retry: "x" is not a duration: write it like "90s", "5m", "1h30m" or "5d"
s.toml:4:21: retry: the duration "-1s" is negative
s.toml:6:1: limits.max_size: "5MB" is not a size: write it like "64KiB", "50MiB" or "1GiB"
s.toml:7:1: limits.max_count: expected a whole number; found text in quotation marks
s.toml:8:3: limits.timeout: the duration "5" has no unit: write "5s" for seconds, "5m" for minutes, or h or d
s.toml:9:1: limits.trust: expected true or false; found text in quotation marks
s.toml:10:3: not in the file: the door is the place
s.toml:11:1: unknown key "adress" in [door]; did you mean "address"?
s.toml:12:1: door.networks: expected a list, as in networks = ["…"]; found text in quotation marks
s.toml:12:1: a rule about meaning
s.toml:14:1: unknown key "x" in [door]; known are address, colour, networks`
	if diff := cmp.Diff(want, doc.Err().Error()); diff != "" {
		t.Error(diff)
	}
	if doc.Lacks("door[0]", "address") || doc.Lacks("limits", "max_size") || !doc.Lacks("limits", "max_sum") {
		t.Error("Lacks does not tell what is missing from what was mistyped")
	}
	if doc.Clean("limits") || doc.Clean("limits.max_size") || !doc.Clean("door[0].address") {
		t.Error("Clean does not tell where faults are")
	}
}

func TestBrackets(t *testing.T) {
	var s settings
	doc, err := tomlfile.Parse("s.toml", []byte("limits = 3\n[door]\naddress = \"a\"\n"), &s)
	if err != nil {
		t.Fatal(err)
	}
	want := `s.toml:1:1: limits is a section: write [limits] on a line of its own, then its keys
s.toml:2:2: there may be several of door: write [[door]], with two brackets`
	if diff := cmp.Diff(want, doc.Err().Error()); diff != "" {
		t.Error(diff)
	}
	doc, err = tomlfile.Parse("s.toml", []byte("[[limits]]\n"), &s)
	if err != nil {
		t.Fatal(err)
	}
	if got := doc.Err().Error(); got != "s.toml:1:3: there is only one limits: write [limits], with one bracket" {
		t.Error(got)
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"a = 1\na = 2\n", "2:1"},
		{"name = relay\n", "1:8: this value is not understood: text needs quotes"},
		{"[limits]\n[limits]\n", "2:"},
		{"name \"x\"\n", "1:6: expected \"=\""},
		{"name = \"x\n", "1:"},
		{"name = [1,\n", ""},
		{"a = \"\xff\"\n", "1:6: not valid UTF-8"},
	} {
		var s settings
		_, err := tomlfile.Parse("f", []byte(c.file), &s)
		if err == nil || !strings.HasPrefix(err.Error(), "f:"+c.want) {
			t.Errorf("%q: %v, want f:%s", c.file, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "toml:") {
			t.Errorf("%q: %v speaks of the parser", c.file, err)
		}
	}
}

// FuzzParse: no document makes Parse panic, and every fault has a place in it.
func FuzzParse(f *testing.F) {
	f.Add("name = \"x\"\n[limits]\nmax_size = \"3MiB\"\n[[door]]\nnetworks = [\"::/0\"]\n")
	f.Add("limits = {max_size = 1, trust = true}\ndoor = [{address = 'a'}, 1]\n")
	f.Add("[[door]]\n[door.address]\nx.y.\"z\" = 1979-05-27\nretry = [[1], {}, inf]\n")
	f.Fuzz(func(t *testing.T, file string) {
		var s settings
		doc, err := tomlfile.Parse("f", []byte(file), &s)
		if err == nil {
			doc.Fault("door[0].address", "one")
			err = doc.Err()
		}
		var e *tomlfile.Error
		if !errors.As(err, &e) {
			t.Fatalf("%v is no *Error", err)
		}
		lines := strings.Split(strings.TrimPrefix(file, "\uFEFF"), "\n")
		for _, fault := range e.Faults {
			if fault.Line < 1 || fault.Line > len(lines) || fault.Column < 1 || fault.Column > len(lines[fault.Line-1])+1 {
				t.Errorf("fault at %d:%d of a file of %d lines: %s", fault.Line, fault.Column, len(lines), fault.Message)
			}
		}
	})
}
