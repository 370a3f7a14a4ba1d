package compiler

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/netpol-agent/netpol-agent/internal/compiler/evaluator"
	"github.com/netpol-agent/netpol-agent/internal/compiler/program"
)

// TestClosedPoliciesAreNotMoreOpen compares, for each spec, the verdicts under the policy with those under its
// substitutes. A connection that the policy denies must stay denied.
func TestClosedPoliciesAreNotMoreOpen(t *testing.T) {
	ingress := []networkingv1.NetworkPolicyIngressRule{{}}
	egress := []networkingv1.NetworkPolicyEgressRule{{}}
	web := metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	type types = []networkingv1.PolicyType
	for name, c := range map[string]struct {
		spec networkingv1.NetworkPolicySpec
		// want is what the closest substitute isolates, by direction.
		want [2]bool
	}{
		"no types":                 {networkingv1.NetworkPolicySpec{Ingress: ingress}, [2]bool{true, false}},
		"no types, egress rules":   {networkingv1.NetworkPolicySpec{Egress: egress}, [2]bool{true, true}},
		"ingress":                  {networkingv1.NetworkPolicySpec{PolicyTypes: types{"Ingress"}, Egress: egress}, [2]bool{true, false}},
		"egress":                   {networkingv1.NetworkPolicySpec{PolicyTypes: types{"Egress"}, Ingress: ingress}, [2]bool{false, true}},
		"an unknown type":          {networkingv1.NetworkPolicySpec{PolicyTypes: types{"Sideways"}}, [2]bool{true, true}},
		"an unknown type and one":  {networkingv1.NetworkPolicySpec{PolicyTypes: types{"Ingress", "egress"}}, [2]bool{true, true}},
		"some pods":                {networkingv1.NetworkPolicySpec{PodSelector: web}, [2]bool{true, false}},
		"a selector of other pods": {networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}}, [2]bool{}},
		"a selector that is none": {networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Resembles"}}}}, [2]bool{true, false}},
	} {
		t.Run(name, func(t *testing.T) {
			np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: c.spec}
			original := denies(np)
			closed := ClosedPolicies(np)
			if got := denies(closed[0]); got != c.want {
				t.Errorf("the closest substitute isolates %v, want %v", got, c.want)
			}
			for i, sub := range closed {
				if sub.Namespace != np.Namespace || sub.Name != np.Name {
					t.Errorf("substitute %d is named %s/%s", i, sub.Namespace, sub.Name)
				}
				got := denies(sub)
				for _, d := range program.Directions() {
					if original[d] && !got[d] {
						t.Errorf("substitute %d is open in %s", i, d)
					}
				}
			}
			if last := denies(closed[len(closed)-1]); last != [2]bool{true, true} {
				t.Errorf("the simplest substitute isolates %v", last)
			}
		})
	}
}

// denies reports, by direction, whether a policy denies connections of webPod.
func denies(np *networkingv1.NetworkPolicy) [2]bool {
	c := New(Options{Node: "n"})
	c.SetPod(webPod())
	c.SetPolicy(np)
	verdict := func(src, dst string) bool {
		return evaluator.Evaluate(c.Program(), evaluator.Packet{
			Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: program.TCP, DstPort: 80}).Verdict == program.Deny
	}
	return [2]bool{program.Ingress: verdict("192.0.2.1", "10.0.0.1"), program.Egress: verdict("10.0.0.1", "192.0.2.1")}
}

func webPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80, Protocol: corev1.ProtocolTCP}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"},
	}
}

func TestClosedPodsAreNotMoreOpen(t *testing.T) {
	port := intstr.FromString("http")
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	np.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &port}}}}
	p := webPod()
	for i, sub := range append(ClosedPods(p), p) {
		c := New(Options{Node: "n"})
		c.SetPolicy(np)
		c.SetPod(sub)
		got := evaluator.Evaluate(c.Program(), evaluator.Packet{
			Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("10.0.0.1"), Protocol: program.TCP, DstPort: 80}).Verdict
		if want := []program.Verdict{program.Deny, program.Accept}[i]; got != want {
			t.Errorf("pod %d: %v, want %v", i, got, want)
		}
	}
	if len(p.Spec.Containers[0].Ports) != 1 {
		t.Error("the original was changed")
	}
}
