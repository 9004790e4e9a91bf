package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// jsonPage is docs/json.md: what each command prints, and the keys of each object.
type jsonPage struct {
	commands map[string][2]string         // → form and object
	objects  map[string]map[string]string // → key → type
	seen     map[string]bool              // commands of this script
}

var jsonRow = regexp.MustCompile(`^\| (.*?) \| (.*?) \| (.*) \|$`)

func readJSONPage() (*jsonPage, error) {
	text, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		return nil, err
	}
	p := &jsonPage{commands: map[string][2]string{}, objects: map[string]map[string]string{}, seen: map[string]bool{}}
	object, in := "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		row := jsonRow.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "## "):
			in = line[3:]
		case strings.HasPrefix(line, "### "):
			object = line[4:]
			p.objects[object] = map[string]string{}
		case row == nil || row[1][0] != '`':
		case in == "Commands":
			for name := range strings.SplitSeq(row[1], ", ") {
				p.commands[strings.Trim(name, "`")] = [2]string{row[2], row[3]}
			}
		case in == "Objects":
			p.objects[object][strings.Trim(row[1], "`")] = row[2]
		}
	}
	return p, nil
}

// jsonCommand is `json COMMAND`: what the last program printed is what docs/json.md
// says that COMMAND prints; and `json all but COMMAND`: every other command of the page was
// held against it in this script.
func jsonCommand(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	if w.page == nil {
		var err error
		w.page, err = readJSONPage()
		ts.Check(err)
	}
	name := strings.Join(args, " ")
	if but, all := strings.CutPrefix(name, "all but "); all {
		for command := range w.page.commands {
			if !w.page.seen[command] && command != but {
				ts.Fatalf("dawk %s --json was not tried", command)
			}
		}
		return
	}
	said, ok := w.page.commands[name]
	if !ok {
		ts.Fatalf("docs/json.md has no command %q", name)
	}
	form, object := said[0], said[1]
	if form == "a list" {
		object = "list of " + object
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	n := 0
	for {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		ts.Check(err)
		n++
		ts.Check(w.page.hold(v, object, name))
	}
	if n == 0 || n > 1 && form != "one a line" {
		ts.Fatalf("dawk %s printed %d values", name, n)
	}
	w.page.seen[name] = true
}

var jsonLink = regexp.MustCompile(`^\[(.*)\]\(.*\)$`)

// hold says where v is not of a type of the page.
func (p *jsonPage) hold(v any, kind, where string) (err error) {
	wrong := fmt.Errorf("%s: %v is not: %s", where, v, kind)
	element, list := strings.CutPrefix(kind, "list of ")
	member, object := strings.CutPrefix(kind, "object of ")
	link := jsonLink.FindStringSubmatch(kind)
	switch x := v.(type) {
	case nil:
		return fmt.Errorf("%s is null", where)
	case []any:
		if !list && kind != "any" {
			return wrong
		}
		for _, e := range x {
			if list {
				err = errors.Join(err, p.hold(e, element, where+"[]"))
			}
		}
	case map[string]any:
		if !object && link == nil {
			return wrong
		}
		for key, e := range x {
			of := member
			if link != nil {
				if of = p.objects[link[1]][key]; of == "" {
					err = errors.Join(err, fmt.Errorf("%s: docs/json.md has no key %s of a %s", where, key, link[1]))
					continue
				}
			}
			err = errors.Join(err, p.hold(e, of, where+"."+key))
		}
	case string:
		if kind == "time" {
			_, err = time.Parse(time.RFC3339, x)
			return err
		}
		if kind != "text" && kind != "any" {
			return wrong
		}
	case float64:
		if !slices.Contains([]string{"number", "any"}, kind) {
			return wrong
		}
	case bool:
		if !slices.Contains([]string{"true or false", "any"}, kind) {
			return wrong
		}
	}
	return err
}
