package source

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/cache"

	"github.com/netpol-agent/netpol-agent/internal/compiler"
)

func bulkyMeta() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: "default", Name: "a", UID: "u", ResourceVersion: "7", Generation: 3, Labels: map[string]string{"app": "web"},
		Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "much"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}, Finalizers: []string{"f"},
	}
}

func TestTrimKeepsWhatTheCompilerReads(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	ports := func(name string, n int32) []corev1.ContainerPort {
		return []corev1.ContainerPort{{Name: name, ContainerPort: n, Protocol: corev1.ProtocolTCP}}
	}
	full := &corev1.Pod{
		ObjectMeta: bulkyMeta(),
		Spec: corev1.PodSpec{
			NodeName:       "node-1",
			Containers:     []corev1.Container{{Name: "no-port", Image: "i"}, {Name: "c", Ports: ports("web", 80), Env: []corev1.EnvVar{{Name: "E"}}}},
			InitContainers: []corev1.Container{{Name: "i", Ports: ports("init", 81)}, {Name: "s", Ports: ports("side", 82), RestartPolicy: &always}},
			Volumes:        []corev1.Volume{{Name: "v"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady}}},
	}
	compiled := func(p *corev1.Pod) *compiler.Compiler {
		c := compiler.New(compiler.Options{Node: "node-1"})
		np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "named"}}
		for _, name := range []string{"web", "init", "side"} {
			port := intstr.FromString(name)
			rule := networkingv1.NetworkPolicyIngressRule{Ports: []networkingv1.NetworkPolicyPort{{Port: &port}}}
			np.Spec.Ingress = append(np.Spec.Ingress, rule)
		}
		np.Spec.PodSelector.MatchLabels = map[string]string{"app": "web"}
		c.SetPolicy(np)
		c.SetPod(p)
		return c
	}
	got, err := trim(full)
	if err != nil {
		t.Fatal(err)
	}
	small := got.(*corev1.Pod)
	if want := compiled(full.DeepCopy()).Program(); !reflect.DeepEqual(compiled(small).Program(), want) {
		t.Error("the trimmed pod compiles to something else")
	}
	if small.UID != "u" || small.ResourceVersion != "7" || small.Generation != 3 {
		t.Errorf("identity %+v", small.ObjectMeta)
	}
	if small.Annotations != nil || small.ManagedFields != nil || small.Spec.Volumes != nil || small.Status.Conditions != nil ||
		len(small.Spec.Containers) != 1 || small.Spec.Containers[0].Env != nil {
		t.Errorf("kept too much: %+v", small)
	}
	again, err := trim(small)
	if err != nil || !reflect.DeepEqual(again, small) {
		t.Error("trimming twice is not trimming once")
	}
}

func TestTrimOtherKinds(t *testing.T) {
	ns, _ := trim(&corev1.Namespace{ObjectMeta: bulkyMeta(), Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}})
	if o := ns.(*corev1.Namespace); o.Labels["app"] != "web" || o.Annotations != nil || o.Status.Phase != "" {
		t.Errorf("%+v", o)
	}
	spec := networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress"},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}}}
	np, _ := trim(&networkingv1.NetworkPolicy{ObjectMeta: bulkyMeta(), Spec: spec})
	if o := np.(*networkingv1.NetworkPolicy); !reflect.DeepEqual(o.Spec, spec) || o.Annotations != nil || o.Generation != 3 {
		t.Errorf("%+v", o)
	}
	gone := cache.DeletedFinalStateUnknown{Key: "default/a"}
	if got, err := trim(gone); err != nil || got != any(gone) {
		t.Errorf("%v, %v", got, err)
	}
}
