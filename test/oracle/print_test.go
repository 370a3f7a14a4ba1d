package oracle

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

// TestPrint checks that a failed property shows objects that a person can read and apply.
func TestPrint(t *testing.T) {
	s := fixture()
	text := fmt.Sprintf("%#v", s)
	for _, want := range []string{"# node n2: [192.168.0.2]", "kind: Namespace", "kind: Pod", "podIP: 10.0.1.1", "app: web"} {
		if !strings.Contains(text, want) {
			t.Errorf("the printed state lacks %q:\n%s", want, text)
		}
	}
	src, dst := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for want, p := range map[string]Packet{
		"10.0.0.1 -> 10.0.0.2 tcp/80":          {Src: src, Dst: dst, Protocol: TCP, DstPort: 80},
		"10.0.0.1 -> 10.0.0.2 icmpv6 type 128": {Src: src, Dst: dst, Protocol: ICMPv6, ICMPv6Type: 128},
		"10.0.0.1 -> 10.0.0.2 ip protocol 47":  {Src: src, Dst: dst, Protocol: 47},
	} {
		if got := fmt.Sprintf("%#v", p); got != want {
			t.Errorf("packet is printed as %q, want %q", got, want)
		}
	}
}

// TestJudgments checks that a judgment names the pod, the direction and the rule that decided.
func TestJudgments(t *testing.T) {
	s := fixture()
	policy := &networkingv1.NetworkPolicy{}
	policy.Namespace, policy.Name = "a", "p"
	policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{}}}, {}}
	s.Policies = append(s.Policies, policy)
	p := Packet{Src: netip.MustParseAddr("10.0.1.2"), Dst: netip.MustParseAddr("10.0.1.1"), Protocol: UDP, DstPort: 80}
	want := []Judgment{
		{Pod: "a/api", Direction: Egress, Pass: true, Reason: NotIsolated},
		{Pod: "a/web", Direction: Ingress, Pass: true, Reason: RuleMatched, Policy: "a/p", Rule: 1},
	}
	if got := JudgeAt(s, "n1", p); !reflect.DeepEqual(got, want) {
		t.Errorf("judgments are %+v, want %+v", got, want)
	}
	if got := JudgeAt(s, "n2", p); got != nil {
		t.Errorf("a node without an end of the packet judges it: %+v", got)
	}
	policy.Spec.Ingress = nil
	want[1] = Judgment{Pod: "a/web", Direction: Ingress, Reason: NoRuleMatched}
	if got := JudgeAt(s, "n1", p); !reflect.DeepEqual(got, want) {
		t.Errorf("judgments are %+v, want %+v", got, want)
	}
}
