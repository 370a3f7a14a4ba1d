package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// maxDepth is far deeper than the types used here nest.
	maxDepth = 64
	// maxAliased limits the nodes that one document may reach through aliases: a few lines of anchors must not
	// grow into gigabytes.
	maxAliased = 1 << 16
)

// checker compares a tree of YAML nodes with a Go type, as strictly as the API server's field validation, but
// reports every deviation with its place. It returns the tree as values that encoding/json can write.
type checker struct {
	structs map[reflect.Type]map[string]reflect.Type
	report  func(n *yaml.Node, path *path, message string)
	// aliased counts the nodes of the whole document that are reached through aliases.
	aliased *int
	// before is the number of lines in the file before line 1 of the nodes.
	before int
	// gaveUp is set when an exceeded limit has been reported, so that it is reported only once.
	gaveUp bool
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	typeIntOrString = reflect.TypeFor[intstr.IntOrString]()
	typeQuantity    = reflect.TypeFor[resource.Quantity]()
	typeTime        = reflect.TypeFor[metav1.Time]()
	typeMicroTime   = reflect.TypeFor[metav1.MicroTime]()
)

// value checks n against t and returns its value.
func (c *checker) value(n *yaml.Node, t reflect.Type, at *path) any {
	n, at, ok := c.enter(n, at)
	if !ok {
		return nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if scalarIsNull(n) {
		return nil
	}
	if reflect.PointerTo(t).Implements(jsonUnmarshaler) {
		return c.leaf(n, t, at)
	}
	switch t.Kind() {
	case reflect.Struct:
		return c.structure(n, t, at)
	case reflect.Map:
		return c.dictionary(n, t, at)
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 { // []byte is a base64 string
			return c.list(n, t, at)
		}
		return c.scalar(n, reflect.TypeFor[string](), at)
	case reflect.Interface:
		return c.untyped(n, at)
	default:
		return c.scalar(n, t, at)
	}
}

// enter follows an alias. It reports false if that exceeds a limit.
func (c *checker) enter(n *yaml.Node, at *path) (*yaml.Node, *path, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
		at = &path{up: at.up, step: at.step, of: at.of, depth: at.depth, aliased: true}
	}
	if at.aliased {
		*c.aliased++
	}
	var message string
	switch {
	case *c.aliased > maxAliased:
		message = tooManyAliased()
	case at.depth > maxDepth:
		message = fmt.Sprintf("nested more than %d levels deep", maxDepth)
	default:
		return n, at, true
	}
	if !c.gaveUp {
		c.gaveUp = true
		c.report(n, at, message)
	}
	return nil, nil, false
}

func tooManyAliased() string { return fmt.Sprintf("aliases expand to more than %d values", maxAliased) }

func (c *checker) structure(n *yaml.Node, t reflect.Type, at *path) any {
	if n.Kind != yaml.MappingNode {
		c.wrongType(n, at, "a mapping")
		return nil
	}
	at = at.inside(t)
	fields := c.fields(t)
	out := make(map[string]any, len(n.Content)/2)
	for _, e := range c.entries(n, at) {
		ft, ok := fields[e.name]
		if !ok {
			c.report(e.key, at.field(e.name), "unknown field"+c.hint(e.name, at))
			continue
		}
		out[e.name] = c.value(e.value, ft, at.field(e.name))
	}
	return out
}

func (c *checker) dictionary(n *yaml.Node, t reflect.Type, at *path) any {
	if n.Kind != yaml.MappingNode {
		c.wrongType(n, at, "a mapping")
		return nil
	}
	out := make(map[string]any, len(n.Content)/2)
	for _, e := range c.entries(n, at) {
		p := at.key(e.name)
		if scalarIsNull(dealias(e.value)) {
			// encoding/json would make it the empty string, which is a valid label value.
			c.report(e.value, p, "missing value")
			continue
		}
		out[e.name] = c.value(e.value, t.Elem(), p)
	}
	return out
}

func (c *checker) list(n *yaml.Node, t reflect.Type, at *path) any {
	if n.Kind != yaml.SequenceNode {
		c.wrongType(n, at, "a list")
		return nil
	}
	out := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		p := at.item(i)
		if scalarIsNull(dealias(item)) {
			// encoding/json would make it a zero value, and a zero rule allows everything.
			c.report(item, p, "empty list item")
			continue
		}
		out = append(out, c.value(item, t.Elem(), p))
	}
	return out
}

// leaf checks n against a type that reads its own JSON.
func (c *checker) leaf(n *yaml.Node, t reflect.Type, at *path) any {
	v := c.untyped(n, at)
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	if err == nil {
		return v
	}
	switch t {
	case typeIntOrString:
		c.wrongType(n, at, "a 32-bit integer or a string")
	case typeQuantity:
		c.wrongType(n, at, `a quantity such as 500m or "1Gi"`)
	case typeTime, typeMicroTime:
		c.wrongType(n, at, "a time such as 2026-01-31T12:00:00Z")
	default:
		c.report(n, at, "not a "+t.Name()+": "+err.Error())
	}
	return nil
}

// untyped returns the value of n without checking its type.
func (c *checker) untyped(n *yaml.Node, at *path) any {
	n, at, ok := c.enter(n, at)
	if !ok {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := make(map[string]any, len(n.Content)/2)
		for _, e := range c.entries(n, at) {
			out[e.name] = c.untyped(e.value, at.key(e.name))
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			out = append(out, c.untyped(item, at.item(i)))
		}
		return out
	default:
		v, err := scalarValue(n)
		if err != nil {
			c.report(n, at, err.Error())
		}
		return v
	}
}

func (c *checker) scalar(n *yaml.Node, t reflect.Type, at *path) any {
	if n.Kind != yaml.ScalarNode {
		c.wrongType(n, at, expectation(t))
		return nil
	}
	v, err := scalarValue(n)
	if err != nil {
		c.report(n, at, err.Error())
		return nil
	}
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	if err != nil {
		c.wrongType(n, at, expectation(t))
		return nil
	}
	return v
}

// expectation describes the values of a scalar type in words.
func expectation(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return fmt.Sprintf("a %d-bit integer", t.Bits())
	}
}

func (c *checker) wrongType(n *yaml.Node, at *path, want string) {
	c.report(n, at, fmt.Sprintf("expected %s, found %s", want, describeNode(n, want)))
}

// describeNode describes n in words. If want is a string, it says how to make n one.
func describeNode(n *yaml.Node, want string) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	value := n.Value
	const width = 40
	if len(value) > width {
		value = strings.ToValidUTF8(value[:width], "") + "..."
	}
	v, err := scalarValue(n)
	if err != nil {
		return strconv.Quote(value)
	}
	switch v.(type) {
	case string:
		return "the string " + strconv.Quote(value)
	case bool:
		value = "the boolean " + value
	default:
		value = "the number " + value
	}
	if want == "a string" {
		value += fmt.Sprintf(" (quote it: %q)", n.Value)
	}
	return value
}

// entry is one key of a mapping with its value.
type entry struct {
	name       string
	key, value *yaml.Node
}

// entries returns the entries of a mapping with its merge keys ("<<") resolved. It reports keys that are given twice or
// are not strings.
func (c *checker) entries(n *yaml.Node, at *path) []entry {
	out := make([]entry, 0, len(n.Content)/2)
	seen := make(map[string]int, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.Tag == "!!merge" {
			merges = append(merges, value)
			continue
		}
		name, err := keyText(dealias(key))
		if err != nil {
			c.report(key, at, err.Error())
			continue
		}
		if line, dup := seen[name]; dup {
			p := at.key(name)
			if at.of != nil {
				p = at.field(name)
			}
			c.report(key, p, fmt.Sprintf("given twice, first on line %d", line))
			continue
		}
		seen[name] = c.before + key.Line
		out = append(out, entry{name: name, key: key, value: value})
	}
	for _, m := range merges {
		out = c.merge(out, seen, m, at)
	}
	return out
}

// merge adds the entries of a merge key's value that are not yet in out. The value is a mapping, or a list of mappings
// in which earlier ones win.
func (c *checker) merge(out []entry, seen map[string]int, value *yaml.Node, at *path) []entry {
	p := at.key("<<")
	p.aliased = true
	n, p, ok := c.enter(value, p)
	if !ok {
		return out
	}
	switch n.Kind {
	case yaml.MappingNode:
		*c.aliased += len(n.Content) / 2
		for _, e := range c.entries(n, p) {
			if _, dup := seen[e.name]; !dup {
				seen[e.name] = c.before + e.key.Line
				out = append(out, e)
			}
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if dealias(item).Kind != yaml.MappingNode {
				c.wrongType(dealias(item), p, "a mapping to merge")
				continue
			}
			out = c.merge(out, seen, item, p)
		}
	default:
		c.wrongType(n, p, "a mapping to merge")
	}
	return out
}

func dealias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
