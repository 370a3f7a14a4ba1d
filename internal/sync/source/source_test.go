package source

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
)

func TestResourcesAreThoseOfTheAPI(t *testing.T) {
	if got := Resources(); !slices.Equal(got, []string{"pods", "namespaces", "networkpolicies"}) {
		t.Errorf("resources %q", got)
	}
	if Policy.Resource.Group != networkingv1.GroupName || Pod.Resource.Group != corev1.GroupName {
		t.Errorf("groups %v, %v", Policy.Resource, Pod.Resource)
	}
}

// TestEveryEntryIsComplete passes an object of each kind, its absence, and an object of another type to a compiler.
func TestEveryEntryIsComplete(t *testing.T) {
	for _, k := range Watched() {
		if _, ok := k.trim(k.object); !ok {
			t.Errorf("%s: objects are not trimmed", k.Name)
		}
		for _, c := range k.Closed(k.object) {
			if err := k.Apply(compiler.New(compiler.Options{}), types.NamespacedName{}, c); err != nil {
				t.Errorf("%s: a substitute is refused: %v", k.Name, err)
			}
		}
	}
	for k, obj := range map[*Kind]any{
		Pod: Pod.object, Namespace: Namespace.object, Policy: Policy.object, NodeAddrs: []netip.Addr{}, Bridges: []string{},
	} {
		c, name := compiler.New(compiler.Options{}), types.NamespacedName{Namespace: "a", Name: "b"}
		if err := k.Apply(c, name, obj); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
		if err := k.Apply(c, name, nil); err != nil {
			t.Errorf("%s is gone: %v", k.Name, err)
		}
		if err := k.Apply(c, name, 7); err == nil {
			t.Errorf("%s takes a number", k.Name)
		}
	}
}
