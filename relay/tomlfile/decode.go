package tomlfile

import (
	"encoding"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"dawk/relay"
)

type defaulter interface{ SetDefaults() }

// fieldsOf gives the fields of a struct type by their tags; the keys of an
// embedded struct are its own.
func fieldsOf(t reflect.Type) map[string][]int {
	fields := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		name := f.Tag.Get("toml")
		if name != "" && name != "-" {
			fields[name] = f.Index
		}
	}
	return fields
}

// decodeTable fills the struct v, walking the tree and v side by side; every
// fault goes to d. section is "" at the top of the file.
func (d *Document) decodeTable(n *node, v reflect.Value, section string) {
	fields := fieldsOf(v.Type())
	for _, key := range n.keys {
		child := n.table[key]
		index, known := fields[key]
		if !known {
			n.stray = true
			d.unknown(child, key, section, slices.Sorted(maps.Keys(fields)))
			continue
		}
		d.decodeValue(child, v.FieldByIndex(index), strings.TrimPrefix(section+"."+key, "."))
	}
}

// decodeValue puts n into v. A fault leaves v as it was.
func (d *Document) decodeValue(n *node, v reflect.Value, name string) {
	if v.CanAddr() {
		if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
			d.decodeText(n, u, name)
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decodeValue(n, v.Elem(), name)
	case reflect.String:
		if d.want(n, kindString, name) {
			v.SetString(n.text)
		}
	case reflect.Bool:
		if d.want(n, kindBool, name) {
			v.SetBool(n.text == "true")
		}
	case reflect.Int, reflect.Int64:
		if !d.want(n, kindInteger, name) {
			return
		}
		i, err := strconv.ParseInt(n.text, 0, v.Type().Bits())
		if err != nil {
			d.add(n.pos, "%s: the number %s is too large", name, n.text)
			return
		}
		v.SetInt(i)
	case reflect.Slice:
		d.decodeList(n, v, name)
	case reflect.Struct:
		if d.want(n, kindTable, name) {
			d.decodeTable(n, v, name)
		}
	default:
		panic("tomlfile: no rule for a field of type " + v.Type().String())
	}
}

// decodeText serves the types that read themselves from text; a bare integer
// counts as its digits, so that they can say what they make of it.
func (d *Document) decodeText(n *node, u encoding.TextUnmarshaler, name string) {
	if n.kind != kindInteger && !d.want(n, kindString, name) {
		return
	}
	if err := u.UnmarshalText([]byte(n.text)); err != nil {
		d.add(n.pos, "%s: %v", name, err)
	}
}

func (d *Document) decodeList(n *node, v reflect.Value, name string) {
	tables := v.Type().Elem().Kind() == reflect.Struct &&
		!reflect.PointerTo(v.Type().Elem()).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	switch {
	case tables && n.kind == kindTable:
		d.add(n.pos, "there may be several of %[1]s: write [[%[1]s]], with two brackets", name)
		return
	case tables && n.kind == kindTables, tables && n.kind == kindArray:
	case n.kind != kindArray:
		example := `"…"`
		if v.Type().Elem().Kind() == reflect.Int {
			example = "1"
		}
		d.add(n.pos, "%s: expected a list, as in %s = [%s]; found %s", name, name[strings.LastIndexByte(name, '.')+1:], example, n.kind)
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.elems), len(n.elems))
	for i, e := range n.elems {
		if def, ok := list.Index(i).Addr().Interface().(defaulter); ok {
			def.SetDefaults()
		}
		d.decodeValue(e, list.Index(i), name)
	}
	v.Set(list)
}

// want says whether n has the kind k, and reports it if not.
func (d *Document) want(n *node, k kind, name string) bool {
	if n.kind == k {
		return true
	}
	switch {
	case k == kindTable && n.kind == kindTables:
		d.add(n.pos, "there is only one %[1]s: write [%[1]s], with one bracket", name)
	case k == kindTable:
		d.add(n.pos, "%s is a section: write [%s] on a line of its own, then its keys", name, name)
	default:
		d.add(n.pos, "%s: expected %s; found %s", name, k, n.kind)
	}
	return false
}

func (k kind) String() string {
	return [...]string{"a section", "a list of sections", "a list", "text in quotation marks",
		"a whole number", "a decimal number", "true or false", "a date or time"}[k]
}

// unknown reports a key that no field has, with the likeliest thing meant: a
// neighbour with a similar name, or the same name in another section.
func (d *Document) unknown(n *node, key, section string, names []string) {
	what := "key"
	if n.kind == kindTable || n.kind == kindTables {
		what = "section"
	}
	if section != "" {
		section = " in [" + section + "]"
	}
	if best := relay.Nearest(key, names); best != "" {
		d.add(n.pos, "unknown %s %q%s; did you mean %q?", what, relay.Clip(key), section, best)
		return
	}
	d.add(n.pos, "unknown %s %q%s; known are %s", what, relay.Clip(key), section, strings.Join(names, ", "))
}
