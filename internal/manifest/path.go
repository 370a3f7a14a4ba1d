package manifest

import (
	"reflect"
	"strconv"
	"strings"
)

// path is a place in an object, as a list from the leaf to the root: walking a document builds text only for the
// places that are reported.
type path struct {
	up *path
	// step is ".name", "[3]" or "[key]"; empty for the root.
	step string
	// of is the struct type at this place, or nil.
	of    reflect.Type
	depth int
	// aliased is set at and below a place that is reached through an alias.
	aliased bool
}

func (p *path) add(step string) *path {
	return &path{up: p, step: step, depth: p.depth + 1, aliased: p.aliased}
}

func (p *path) field(name string) *path { return p.add("." + name) }
func (p *path) key(name string) *path   { return p.add("[" + name + "]") }
func (p *path) item(i int) *path        { return p.add("[" + strconv.Itoa(i) + "]") }

// inside returns the same place with the struct type set.
func (p *path) inside(t reflect.Type) *path {
	q := *p
	q.of = t
	return &q
}

// String returns the path as Kubernetes writes it: spec.ingress[0].from[1].
func (p *path) String() string {
	var steps []string
	for ; p != nil; p = p.up {
		steps = append(steps, p.step)
	}
	var b strings.Builder
	for i := len(steps) - 1; i >= 0; i-- {
		b.WriteString(steps[i])
	}
	return strings.TrimPrefix(b.String(), ".")
}
