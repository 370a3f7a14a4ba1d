package manifest

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	coreVersion       = "v1"
	networkingVersion = "networking.k8s.io/v1"

	kindPod       = "Pod"
	kindNamespace = "Namespace"
	kindNode      = "Node"
	kindPolicy    = "NetworkPolicy"
	kindList      = "List"
)

// kindInfo is a kind that loads.
type kindInfo struct {
	apiVersion, kind string
	namespaced       bool
	// make returns an empty object of the kind.
	make func() metav1.Object
}

// loadedKinds returns the kinds that load. Each also loads as a typed list ("PodList").
func loadedKinds() []kindInfo {
	return []kindInfo{
		{coreVersion, kindPod, true, func() metav1.Object { return &corev1.Pod{} }},
		{coreVersion, kindNamespace, false, func() metav1.Object { return &corev1.Namespace{} }},
		{coreVersion, kindNode, false, func() metav1.Object { return &corev1.Node{} }},
		{networkingVersion, kindPolicy, true, func() metav1.Object { return &networkingv1.NetworkPolicy{} }},
	}
}

// setType sets apiVersion and kind, which the items of a typed list may lack.
func (k *kindInfo) setType(obj metav1.Object) {
	if o, ok := obj.(runtime.Object); ok {
		o.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(k.apiVersion, k.kind))
	}
}

// class is what to do with a document.
type class struct {
	// load is the kind as which to read the document, or each of its items; nil for a list of mixed kinds.
	load *kindInfo
	list bool
	// refuse or ignore is the reason why the document does not load.
	refuse, ignore string
}

// classify decides what to do with a document of the kind.
func classify(apiVersion, kind string) class {
	if kind == kindList && apiVersion == coreVersion {
		return class{list: true}
	}
	itemKind, isList := strings.CutSuffix(kind, kindList)
	for _, k := range loadedKinds() {
		if k.kind != itemKind {
			continue
		}
		if k.apiVersion == apiVersion {
			return class{load: &k, list: isList}
		}
		if builtinGroup(apiVersion) {
			return class{refuse: fmt.Sprintf("unknown kind %s of %s: use apiVersion %s", kind, apiVersion, k.apiVersion)}
		}
	}
	if restrictsTraffic(apiVersion, itemKind) {
		return class{refuse: fmt.Sprintf("kind %s of %s is not enforced by this version", kind, apiVersion)}
	}
	if builtinGroup(apiVersion) {
		if s := misspelt(itemKind); s != "" {
			return class{refuse: fmt.Sprintf("unknown kind %s (did you mean %q?)", kind, s)}
		}
	}
	return class{ignore: fmt.Sprintf("kind %s of %s is not used here", kind, apiVersion)}
}

// builtinGroup reports whether Kubernetes reserves the API group for itself.
func builtinGroup(apiVersion string) bool {
	group, _, found := strings.Cut(apiVersion, "/")
	return !found || !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io") && group != "policy.networking.k8s.io"
}

// restrictsTraffic reports whether the kind is a policy on packets that other software, or a later version, enforces.
func restrictsTraffic(apiVersion, kind string) bool {
	lower := strings.ToLower(kind)
	group, _, _ := strings.Cut(apiVersion, "/")
	groups := []string{
		"policy.networking.k8s.io", "projectcalico.org", "crd.projectcalico.org", "cilium.io",
		"crd.antrea.io", "k8s.ovn.org", "k8s.cni.cncf.io",
	}
	if slices.Contains(groups, group) {
		return strings.Contains(lower, "policy") || strings.Contains(lower, "firewall")
	}
	return lower != strings.ToLower(kindPolicy) && strings.Contains(lower, "networkpolicy")
}

// misspelt returns the kind that was probably meant, or nothing. Only NetworkPolicy is guessed from a similar spelling,
// because a Job is no Pod; the other kinds may differ in case alone.
func misspelt(kind string) string {
	for _, k := range loadedKinds() {
		if strings.EqualFold(kind, k.kind) {
			return k.kind
		}
	}
	return similar(kind, []string{kindPolicy})
}
