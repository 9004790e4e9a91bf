package config

import (
	"cmp"
	"fmt"
	"reflect"

	"dawk/cmd/dawk/internal/config/section"
)

// Where a value comes from.
const (
	FromFile    = "file"
	FromDefault = "default"
	FromDerived = "derived" // from other keys, as the host of a type, or from this machine
)

// Setting is a key, the value that holds, and where it comes from. No value is a
// secret: secrets are in files.
type Setting struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
	From  string `json:"from"`
	Line  int    `json:"line,omitempty"` // of the file
}

// Settings are all keys, in the order of the sections.
func (c *Config) Settings() (all []Setting) {
	return c.settingsOf(reflect.ValueOf(*c), reflect.ValueOf(*newConfig()), "", "")
}

// settingsOf are the keys of a section: key begins their names for people, at the
// place in the document. Repeated sections are named as in a Change.
func (c *Config) settingsOf(v, defaults reflect.Value, key, at string) (all []Setting) {
	for i := range v.NumField() {
		f, field, fallback := v.Type().Field(i), v.Field(i), defaults.Field(i)
		tag := f.Tag.Get("toml")
		switch {
		case f.Anonymous:
			all = append(all, c.settingsOf(field, fallback, key, at)...)
		case tag == "" || !f.IsExported():
		case section.Is(f.Type):
			all = append(all, c.settingsOf(field, fallback, key+tag+".", at+tag+".")...)
		case f.Type.Kind() == reflect.Slice && section.Is(f.Type.Elem()):
			for j := range field.Len() {
				name := cmp.Or(section.Name(field.Index(j)), fmt.Sprint(j))
				all = append(all, c.settingsOf(field.Index(j), section.Fresh(f.Type.Elem()), fmt.Sprintf("%s%s[%s].", key, tag, name), fmt.Sprintf("%s%s[%d].", at, tag, j))...)
			}
		default:
			all = append(all, c.setting(field, fallback, key+tag, at+tag))
		}
	}
	return all
}

func (c *Config) setting(v, fallback reflect.Value, key, at string) Setting {
	s := Setting{Key: key, Value: section.Plain(v), From: FromDefault}
	switch {
	case c.doc != nil && c.doc.Has(at):
		s.From, s.Line = FromFile, c.doc.Line(at)
	case !reflect.DeepEqual(v.Interface(), fallback.Interface()):
		s.From = FromDerived
	}
	return s
}

// Check is Load for a file that is not written yet.
func Check(path string, data []byte) error {
	c, err := parseConfig(path, data)
	if err != nil {
		return err
	}
	c.check()
	c.checkFiles()
	return c.doc.Err()
}
