package api

import (
	"encoding"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"
)

// object is a JSON object of the document.
type object = map[string]any

// document is the table of paths as OpenAPI 3.1.
func document(all []Endpoint) object {
	s := schemas{}
	paths := object{}
	for _, e := range all {
		method, at := e.split()
		if paths[at] == nil {
			paths[at] = object{}
		}
		paths[at].(object)[strings.ToLower(method)] = s.operation(&e)
	}
	return object{
		"openapi": "3.1.0",
		"info": object{"title": "dawk", "version": "1",
			"description": "What people and programs ask of a relay that runs. Within version 1 fields are added, never renamed."},
		"security":   []object{{"token": []string{}}},
		"paths":      paths,
		"components": object{"schemas": s, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}}},
	}
}

// operation describes an endpoint.
func (s schemas) operation(e *Endpoint) object {
	method, at := e.split()
	op := object{"operationId": strings.ToLower(method) + strings.NewReplacer("/v1", "", "/", "_", "{", "", "}", "", ".", "_").Replace(at),
		"summary": e.Does, "x-role": e.Role.String()}
	var params []object
	for _, p := range e.Params {
		in := "query"
		if strings.Contains(at, "{"+p.Name+"}") {
			in = "path"
		}
		params = append(params, object{"name": p.Name, "in": in, "required": p.Required, "description": p.Does, "example": p.Example,
			"schema": object{"type": "string"}})
	}
	if params != nil {
		op["parameters"] = params
	}
	if f, ok := e.Body.(File); ok {
		sent := object{"schema": object{"type": "string"}}
		if f.Example != "" {
			sent["example"] = f.Example
		}
		op["requestBody"] = object{"required": true, "content": object{f.Media: sent}}
	} else if e.Body != nil {
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": s.of(reflect.TypeOf(e.Body), ""), "example": e.Body}}}
	}
	content := object{}
	switch {
	case e.Media != "" && e.Answer != nil:
		content[e.Media] = object{"schema": s.of(reflect.TypeOf(e.Answer), ""), "x-each-line": true}
	case e.Media != "":
		content[e.Media] = object{"schema": object{"type": "string"}}
	default:
		content["application/json"] = object{"schema": s.of(reflect.TypeOf(e.Answer), "")}
	}
	if e.Lines != nil {
		content[LinesMedia] = object{"schema": s.of(reflect.TypeOf(e.Lines), ""), "x-each-line": true}
	}
	op["responses"] = object{"200": object{"description": e.Does, "content": content},
		"default": object{"description": "why not", "content": object{problemMedia: object{"schema": s.of(reflect.TypeFor[Problem](), "")}}}}
	return op
}

// schemas are those of the named structs, by name.
type schemas object

// of is the schema of what encoding/json makes of a Go type; options are those of
// the field that has it.
func (s schemas) of(t reflect.Type, options string) object {
	switch {
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem(), options)
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[time.Duration]():
		return object{"type": "integer", "description": "nanoseconds"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice, reflect.Array:
		kind := any("array")
		if !strings.Contains(options, "omit") {
			kind = []string{"array", "null"} // nil
		}
		return object{"type": kind, "items": s.of(t.Elem(), "")}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem(), "")}
	case reflect.Interface:
		return object{}
	case reflect.Struct:
		return s.ref(t)
	}
	return object{"type": "integer"}
}

// plain are the packages whose types have their name alone in the document.
var plain = []string{"relay", "admin", "api", "queued", "past"}

// ref enters a struct under its name.
func (s schemas) ref(t reflect.Type) object {
	name := t.Name()
	if p := path.Base(t.PkgPath()); strings.HasPrefix(t.PkgPath(), "dawk/") && !slices.Contains(plain, p) {
		name = p + "." + name
	}
	if s[name] == nil {
		properties, required := object{}, []string{}
		schema := object{"type": "object", "properties": properties, "additionalProperties": false}
		s[name] = schema // before its fields: a type may hold itself
		s.fields(t, properties, &required)
		schema["required"] = required
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// fields enters the fields of a struct as encoding/json names them.
func (s schemas) fields(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "":
			s.fields(f.Type, properties, required)
			continue
		case name == "":
			name = f.Name
		}
		properties[name] = s.of(f.Type, options)
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}
