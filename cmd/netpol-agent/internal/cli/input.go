package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
	"github.com/netpol-agent/netpol-agent/internal/manifest"
)

// objects are the objects that a command judges, from files or from a cluster.
type objects struct {
	pods       []*corev1.Pod
	namespaces []*corev1.Namespace
	policies   []*networkingv1.NetworkPolicy
	nodes      []*corev1.Node
	// source knows where in the files the objects stand. It is nil for the objects of a cluster.
	source *manifest.Source
	// refused counts the documents in the files that could not be read.
	refused int
}

// fileFlags are the flags of commands that read objects from files.
type fileFlags struct {
	paths     []string
	namespace string
	verbose   bool
}

func (f *fileFlags) add(cmd *cobra.Command, usage string) {
	cmd.Flags().StringArrayVarP(&f.paths, "filename", "f", nil, usage)
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", metav1.NamespaceDefault, "namespace of objects that name none")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "also list the documents of kinds that are not used here")
	must(cmd.MarkFlagFilename("filename", "yaml", "yml", "json"))
	complete(cmd, "namespace")
}

// load reads the files and reports every document that does not count.
func (f *fileFlags) load(cmd *cobra.Command) (*objects, error) {
	loaded, problems, err := manifest.Load(f.paths, manifest.Options{Namespace: f.namespace, Stdin: cmd.InOrStdin()})
	if err != nil {
		return nil, err
	}
	refused := 0
	for _, p := range problems {
		if p.Severity == manifest.Refused {
			refused++
		}
		if p.Severity != manifest.Ignored || f.verbose {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", p.Severity, p)
		}
	}
	return &objects{
		pods: loaded.Pods, namespaces: withImplied(loaded), policies: loaded.Policies, nodes: loaded.Nodes,
		source: loaded.Source, refused: refused,
	}, nil
}

// withImplied returns the namespaces as the API server would have them: each with the label that carries its name, and
// including those that only pods and policies name, which could not exist without their namespace.
func withImplied(o *manifest.Objects) []*corev1.Namespace {
	byName := map[string]*corev1.Namespace{}
	imply := func(name string) {
		if byName[name] == nil {
			byName[name] = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		}
	}
	for _, ns := range o.Namespaces {
		byName[ns.Name] = ns
	}
	for _, p := range o.Pods {
		imply(p.Namespace)
	}
	for _, p := range o.Policies {
		imply(p.Namespace)
	}
	var out []*corev1.Namespace
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		ns := byName[name].DeepCopy()
		metav1.SetMetaDataLabel(&ns.ObjectMeta, corev1.LabelMetadataName, name)
		out = append(out, ns)
	}
	return out
}

// compile returns a compiler with the objects, for the node of that name, or for all nodes at once if it is empty.
func (o *objects) compile(node string) *compiler.Compiler {
	c := compiler.New(compiler.Options{Node: node})
	for _, ns := range o.namespaces {
		c.SetNamespace(ns)
	}
	for _, p := range o.pods {
		c.SetPod(p)
	}
	for _, p := range o.policies {
		c.SetPolicy(p)
	}
	return c
}

// tellDiagnostics prints what the compiler did not understand, with its place if it came from a file.
func (o *objects) tellDiagnostics(cmd *cobra.Command, diagnostics []compiler.Diagnostic) {
	for _, d := range diagnostics {
		place := ""
		if o.source != nil {
			if file, line, column, ok := o.source.Find(manifest.PolicyRef(d.Policy.Namespace, d.Policy.Name), d.Field); ok {
				place = fmt.Sprintf("%s:%d:%d: ", file, line, column)
			}
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "not understood: %s%s\n", place, d)
	}
}

// incomplete returns the error of a command whose output leaves out refused documents, or nil.
func (o *objects) incomplete() error {
	switch o.refused {
	case 0:
		return nil
	case 1:
		return errors.New("the files have 1 mistake: the output leaves out the document that contains it")
	default:
		return fmt.Errorf("the files have %d mistakes: the output leaves out the documents that contain them", o.refused)
	}
}
