package manifest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// fields returns the JSON names of a struct's fields with their types, those of inlined structs included.
func (c *checker) fields(t reflect.Type) map[string]reflect.Type {
	if f, ok := c.structs[t]; ok {
		return f
	}
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case name == "" && f.Anonymous:
			maps.Copy(out, c.fields(f.Type))
		case name == "":
			out[f.Name] = f.Type
		default:
			out[name] = f.Type
		}
	}
	c.structs[t] = out
	return out
}

// hint returns what the author of an unknown field may have meant: a field with a similar name, or, because of wrong
// indentation, a field of an enclosing or inner mapping.
func (c *checker) hint(name string, at *path) string {
	if s := similar(name, slices.Collect(maps.Keys(c.fields(at.of)))); s != "" {
		return fmt.Sprintf(" (did you mean %q?)", s)
	}
	for p := at.up; p != nil; p = p.up {
		if p.of == nil {
			continue
		}
		if _, ok := c.fields(p.of)[name]; ok {
			return fmt.Sprintf(" (did you mean %q, less indented?)", p.field(name))
		}
	}
	for _, inner := range slices.Sorted(maps.Keys(c.fields(at.of))) {
		t := c.fields(at.of)[inner]
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(jsonUnmarshaler) {
			continue
		}
		if _, ok := c.fields(t)[name]; ok {
			return fmt.Sprintf(" (did you mean %q?)", at.field(inner).field(name))
		}
	}
	return ""
}

// similar returns the candidate that differs least from name, or "" if none is close.
func similar(name string, candidates []string) string {
	best, bestDistance := "", max(1, len(name)/3)+1
	for _, candidate := range slices.Sorted(slices.Values(candidates)) {
		d := distance(strings.ToLower(name), strings.ToLower(candidate))
		if d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance returns the number of characters to insert, remove or replace to get from a to b.
func distance(a, b string) int {
	const long = 64 // longer names get no suggestion
	if len(a) > long || len(b) > long {
		return long
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
