package manifest

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Ref names an object.
type Ref struct{ Kind, Namespace, Name string }

// String returns "NetworkPolicy default/web", or "Node worker-1" for kinds without a namespace.
func (r Ref) String() string {
	name := r.Name
	if r.Namespace != "" {
		name = r.Namespace + "/" + name
	}
	return strings.TrimSpace(r.Kind + " " + name)
}

// PolicyRef returns the Ref of a NetworkPolicy.
func PolicyRef(namespace, name string) Ref {
	return Ref{Kind: kindPolicy, Namespace: namespace, Name: name}
}

// identity is what a document claims to be. Any part may be missing.
type identity struct {
	apiVersion string
	Ref
	kind string
}

func (id identity) String() string {
	if id.Name == "" {
		return id.kind
	}
	return Ref{Kind: id.kind, Namespace: id.Namespace, Name: id.Name}.String()
}

// identify reads the identity of a document without judging the rest.
func identify(n *yaml.Node) identity {
	id := identity{apiVersion: text(lookup(n, "apiVersion")), kind: text(lookup(n, "kind"))}
	meta := lookup(n, "metadata")
	id.Namespace, id.Name = text(lookup(meta, "namespace")), text(lookup(meta, "name"))
	return id
}

// lookup returns the value of a key of a mapping, or nil.
func lookup(n *yaml.Node, key string) *yaml.Node {
	if n == nil {
		return nil
	}
	if n = dealias(n); n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return dealias(n.Content[i+1])
		}
	}
	return nil
}

func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		return ""
	}
	return n.Value
}

// Source knows the file of each object, and the places of objects and their fields in it.
type Source struct{ objects map[Ref]located }

type located struct {
	file                 string
	before, line, column int
	root                 *yaml.Node
}

// Find returns the file, line and column (from 1) of an object, or of the field of a NetworkPolicy that the path names
// ("spec.ingress[0].from[1].ipBlock.cidr"). If the object does not have the field, Find returns the place of the
// innermost enclosing field that it has. ok is false for an object that was not loaded.
func (s *Source) Find(ref Ref, field string) (file string, line, column int, ok bool) {
	at, ok := s.objects[ref]
	if !ok {
		return "", 0, 0, false
	}
	line, column = at.line, at.column
	n := at.root
	for step := range steps(field) {
		var place *yaml.Node
		if n, place = descend(n, step); n == nil {
			break
		}
		line, column = at.before+place.Line, place.Column
	}
	return at.file, line, column, true
}

// steps yields the parts of a path: names, and the content of brackets, which may contain dots.
func steps(field string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for field != "" {
			var step string
			switch field[0] {
			case '.':
				field = field[1:]
				continue
			case '[':
				step, field, _ = strings.Cut(field[1:], "]")
			default:
				end := strings.IndexAny(field, ".[")
				if end < 0 {
					end = len(field)
				}
				step, field = field[:end], field[end:]
			}
			if !yield(step) {
				return
			}
		}
	}
}

// descend returns the value to which the step leads, and the node at which a person looks for it: the key.
func descend(n *yaml.Node, step string) (value, place *yaml.Node) {
	if n == nil {
		return nil, nil
	}
	n = dealias(n)
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step {
				return n.Content[i+1], n.Content[i]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	}
	return nil, nil
}
