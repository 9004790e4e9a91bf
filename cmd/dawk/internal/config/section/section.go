// Package section looks at the sections of a configuration, which are structs whose
// fields have toml tags: their keys, and their values for people. It is pure.
package section

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// Values puts the keys of a section into all, with their values for people. Repeated
// sections are told apart by their names, else by their number.
func Values(v reflect.Value, at string, all map[string]string) {
	for i := range v.NumField() {
		f, field := v.Type().Field(i), v.Field(i)
		tag := f.Tag.Get("toml")
		key := strings.TrimPrefix(at+"."+tag, ".")
		switch {
		case f.Anonymous:
			Values(field, at, all)
		case tag == "" || !f.IsExported():
		case Is(f.Type):
			Values(field, key, all)
		case f.Type.Kind() == reflect.Slice && Is(f.Type.Elem()):
			for j := range field.Len() {
				Values(field.Index(j), fmt.Sprintf("%s[%s]", key, cmp.Or(Name(field.Index(j)), fmt.Sprint(j))), all)
			}
		case field.IsZero():
		case field.Kind() == reflect.Pointer:
			all[key] = fmt.Sprint(field.Elem().Interface())
		default:
			all[key] = fmt.Sprint(field.Interface())
		}
	}
}

// Name is what a repeated section is called by.
func Name(section reflect.Value) string {
	for _, field := range []string{"Name", "Address", "Domain"} {
		if f := section.FieldByName(field); f.IsValid() && f.Kind() == reflect.String && f.String() != "" {
			return f.String()
		}
	}
	return ""
}

// Is says whether a type holds keys.
func Is(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.NumField() > 0 && (t.Field(0).Anonymous || t.Field(0).Tag.Get("toml") != "")
}

// Fresh is a repeated section before its keys are read.
func Fresh(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	if d, ok := p.Interface().(interface{ SetDefaults() }); ok {
		d.SetDefaults()
	}
	return p.Elem()
}

// Plain is a value as JSON has it: text, a number, true or false, or a list; nil
// for a key that has no value.
func Plain(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil {
			return fmt.Sprint(x)
		}
		return string(text)
	case fmt.Stringer:
		return x.String()
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return Plain(v.Elem())
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range v.Len() {
			list[i] = Plain(v.Index(i))
		}
		return list
	case reflect.String:
		return v.String()
	}
	return v.Interface()
}
