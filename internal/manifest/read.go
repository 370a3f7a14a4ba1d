package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	strictjson "sigs.k8s.io/json"
)

// reader collects the objects of several files.
type reader struct {
	opts     Options
	structs  map[reflect.Type]map[string]reflect.Type
	loaded   map[Ref]metav1.Object
	source   *Source
	problems []Problem
	files    map[string]int
}

func newReader(opts Options) *reader {
	if opts.Namespace == "" {
		opts.Namespace = metav1.NamespaceDefault
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	return &reader{
		opts:    opts,
		structs: map[reflect.Type]map[string]reflect.Type{},
		loaded:  map[Ref]metav1.Object{},
		source:  &Source{objects: map[Ref]located{}},
		files:   map[string]int{},
	}
}

// file reads the content of one file.
func (r *reader) file(name string, data []byte) {
	if _, ok := r.files[name]; !ok {
		r.files[name] = len(r.files)
	}
	if message := unreadable(data); message != "" {
		r.problems = append(r.problems, Problem{File: name, Message: message})
		return
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // the byte order mark of some editors
	for _, ch := range split(data) {
		docs, syntax := parse(ch.text)
		for _, doc := range docs {
			if len(doc.Content) == 1 {
				d := &document{reader: r, file: name, before: ch.before}
				d.read(doc.Content[0], class{}, place{})
			}
		}
		if syntax != nil {
			p := Problem{
				File: name, Line: ch.before + syntax.line, Column: syntax.column,
				Field: syntax.field, Message: syntax.message,
			}
			if syntax.good != nil && len(syntax.good.Content) == 1 {
				p.Object = identify(syntax.good.Content[0]).String()
			}
			r.problems = append(r.problems, p)
		}
	}
}

// unreadable returns the reason why the data cannot be read as text, or nothing.
func unreadable(data []byte) string {
	if len(data) >= 2 && (data[0] == 0xff && data[1] == 0xfe || data[0] == 0xfe && data[1] == 0xff) {
		return "the file is UTF-16; save it as UTF-8"
	}
	return ""
}

// result returns the objects and problems.
func (r *reader) result() (*Objects, []Problem) {
	o := &Objects{Source: r.source}
	refs := slices.SortedFunc(maps.Keys(r.loaded), func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, ref := range refs {
		switch v := r.loaded[ref].(type) {
		case *corev1.Pod:
			o.Pods = append(o.Pods, v)
		case *corev1.Namespace:
			o.Namespaces = append(o.Namespaces, v)
		case *corev1.Node:
			o.Nodes = append(o.Nodes, v)
		case *networkingv1.NetworkPolicy:
			o.Policies = append(o.Policies, v)
		}
	}
	sortProblems(r.problems, r.files)
	return o, r.problems
}

// document is one document of a file.
type document struct {
	*reader
	file   string
	before int
	// aliased counts the nodes that are reached through aliases.
	aliased int
	// gaveUp is set when list items have exceeded the limit of aliases, so that it is reported only once.
	gaveUp bool
}

// place is the place of an object in the lists of a document.
type place struct {
	// depth is the number of lists around it.
	depth int
	// aliased is set if the object is reached through an alias.
	aliased bool
}

func (d *document) problem(n *yaml.Node, p Problem) {
	p.File, p.Line, p.Column = d.file, d.before+n.Line, n.Column
	d.problems = append(d.problems, p)
}

// read reads a document or an item of a list. of is the class of the list, or the zero class.
func (d *document) read(n *yaml.Node, of class, at place) {
	if scalarIsNull(n) && at.depth == 0 {
		return // an empty document
	}
	n, at.aliased = dealias(n), at.aliased || n.Kind == yaml.AliasNode
	if !d.afford(n, at) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, Problem{Message: "not a Kubernetes object: expected a mapping, found " + describeNode(n, "")})
		return
	}
	id := identify(n)
	if of.load != nil { // items of a typed list may leave them out
		id.apiVersion = cmp.Or(id.apiVersion, of.load.apiVersion)
		id.kind = cmp.Or(id.kind, of.load.kind)
	}
	for _, f := range []struct{ name, value string }{{"apiVersion", id.apiVersion}, {"kind", id.kind}} {
		if message := typeField(n, f.name, f.value); message != "" {
			d.problem(n, Problem{Object: id.String(), Field: f.name, Message: message})
			return
		}
	}
	what := classify(id.apiVersion, id.kind)
	switch {
	case what.refuse != "":
		d.problem(n, Problem{Object: id.String(), Message: what.refuse})
	case what.ignore != "":
		d.problem(n, Problem{Severity: Ignored, Object: id.String(), Message: what.ignore})
	case of.load != nil && (what.list || what.load.kind != of.load.kind):
		d.problem(n, Problem{Object: id.String(), Message: fmt.Sprintf("kind %s in a list of %s", id.kind, of.load.kind)})
	case what.list:
		d.list(n, id, what, at)
	default:
		d.object(n, id, what.load, at)
	}
}

// afford counts objects that are reached through aliases and reports whether they stay within the limit: lists whose
// items are the list itself multiply.
func (d *document) afford(n *yaml.Node, at place) bool {
	if !at.aliased {
		return true
	}
	if d.aliased++; d.aliased <= maxAliased {
		return true
	}
	if !d.gaveUp {
		d.gaveUp = true
		d.problem(n, Problem{Message: tooManyAliased()})
	}
	return false
}

// typeField returns what is wrong with apiVersion or kind, which decide how the rest is read, or nothing.
func typeField(n *yaml.Node, name, value string) string {
	count := 0
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			count++
		}
	}
	switch {
	case count > 1:
		return "given twice"
	case value == "":
		return "missing, or not a string"
	}
	return ""
}

// listEnvelope is a list without its items, which are checked one by one.
type listEnvelope struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
}

func (d *document) list(n *yaml.Node, id identity, what class, at place) {
	if at.depth >= maxListDepth {
		d.problem(n, Problem{Object: id.String(), Message: fmt.Sprintf("lists nested more than %d levels deep", maxListDepth)})
		return
	}
	var items *yaml.Node
	envelope := *n
	envelope.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "items" {
			if items != nil {
				d.problem(n.Content[i], Problem{Object: id.String(), Field: "items", Message: "given twice"})
			}
			at.aliased = at.aliased || n.Content[i+1].Kind == yaml.AliasNode
			items = dealias(n.Content[i+1])
			continue
		}
		envelope.Content = append(envelope.Content, n.Content[i], n.Content[i+1])
	}
	d.check(&envelope, reflect.TypeFor[listEnvelope](), id, at)
	switch {
	case items == nil || scalarIsNull(items):
	case items.Kind != yaml.SequenceNode:
		d.problem(items, Problem{Object: id.String(), Field: "items", Message: "expected a list, found " + describeNode(items, "")})
	default:
		at.depth++
		for _, item := range items.Content {
			d.read(item, what, at)
		}
	}
}

// maxListDepth is how deep lists may be nested.
const maxListDepth = 4

// check compares the node with the type and returns it as JSON. It reports false if there were problems.
func (d *document) check(n *yaml.Node, t reflect.Type, id identity, at place) ([]byte, bool) {
	sound := true
	c := checker{structs: d.structs, before: d.before, aliased: &d.aliased}
	c.report = func(n *yaml.Node, p *path, message string) {
		sound = false
		d.problem(n, Problem{Object: id.String(), Field: p.String(), Message: message})
	}
	value := c.value(n, t, &path{aliased: at.aliased})
	if !sound {
		return nil, false
	}
	text, err := json.Marshal(value)
	if err != nil {
		d.problem(n, Problem{Object: id.String(), Message: err.Error()})
		return nil, false
	}
	return text, true
}

// object reads one object and keeps it unless it has problems.
func (d *document) object(n *yaml.Node, id identity, kind *kindInfo, at place) {
	obj := kind.make()
	text, ok := d.check(n, reflect.TypeOf(obj).Elem(), id, at)
	if !ok {
		return
	}
	// The check found nothing, but the decoder has the last word.
	strict, err := strictjson.UnmarshalStrict(text, obj)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		d.problem(n, Problem{Object: id.String(), Message: err.Error()})
		return
	}
	kind.setType(obj)
	if kind.namespaced && obj.GetNamespace() == "" {
		obj.SetNamespace(d.opts.Namespace)
	} else if !kind.namespaced {
		obj.SetNamespace("")
	}
	id.Namespace = obj.GetNamespace()
	if field, message := validateName(obj, kind); field != "" {
		d.problem(n, Problem{Object: id.String(), Field: field, Message: message})
		return
	}
	d.keep(n, Ref{Kind: kind.kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}, obj)
}

// keep records the object. It replaces an earlier one of the same name.
func (d *document) keep(n *yaml.Node, ref Ref, obj metav1.Object) {
	if before, ok := d.source.objects[ref]; ok {
		d.problems = append(d.problems, Problem{
			Severity: Replaced, File: before.file, Line: before.line, Column: before.column, Object: ref.String(),
			Message: fmt.Sprintf("replaced by %s:%d, which has the same name", d.file, d.before+n.Line),
		})
	}
	at := located{file: d.file, before: d.before, line: d.before + n.Line, column: n.Column}
	if ref.Kind == kindPolicy { // only policies are asked for the place of a field
		at.root = n
	}
	d.source.objects[ref] = at
	d.loaded[ref] = obj
}

// validateName checks name and namespace, on which everything that is keyed by them relies. It returns an empty field
// if both are valid.
func validateName(obj metav1.Object, kind *kindInfo) (field, message string) {
	validate := validation.NameIsDNSSubdomain
	if kind.kind == kindNamespace {
		validate = validation.ValidateNamespaceName
	}
	if obj.GetName() == "" {
		return "metadata.name", "required"
	}
	if errs := validate(obj.GetName(), false); len(errs) > 0 {
		return "metadata.name", strings.Join(errs, "; ")
	}
	if kind.namespaced {
		if errs := validation.ValidateNamespaceName(obj.GetNamespace(), false); len(errs) > 0 {
			return "metadata.namespace", strings.Join(errs, "; ")
		}
	}
	return "", ""
}
