package compiler

import (
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

func policyFrom(t *testing.T, text string) *networkingv1.NetworkPolicy {
	t.Helper()
	np := &networkingv1.NetworkPolicy{}
	if err := yaml.UnmarshalStrict([]byte("metadata: {name: p, namespace: ns}\nspec:\n"+text), np); err != nil {
		t.Fatal(err)
	}
	return np
}

// TestPartsThatAreNotUnderstood expects each bad part to yield one diagnostic with its field, and no rule.
func TestPartsThatAreNotUnderstood(t *testing.T) {
	for _, c := range []struct{ name, spec, field, says string }{
		{"bad CIDR", "  ingress: [{from: [{ipBlock: {cidr: 10.0.0/8}}]}]", "spec.ingress[0].from[0].ipBlock.cidr", "not a CIDR"},
		{"bad except", "  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [x]}}]}]", "spec.ingress[0].from[0].ipBlock.except[0]", "not a CIDR"},
		{"mapped CIDR that is too wide", "  ingress: [{from: [{ipBlock: {cidr: '::ffff:0.0.0.0/95'}}]}]", "spec.ingress[0].from[0].ipBlock.cidr", "IPv4-mapped"},
		{"peer without a field", "  ingress: [{from: [{}]}]", "spec.ingress[0].from[0]", "none of"},
		{"ipBlock beside a selector", "  ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]", "spec.ingress[0].from[0]", "beside"},
		{"bad operator", "  ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: Near, values: [b]}]}}]}]", "spec.ingress[0].from[0].podSelector", "Near"},
		{"In without values", "  ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}]}]", "spec.ingress[0].from[0].namespaceSelector", "for 'in', 'notin' operators, values set can't be empty"},
		{"unknown protocol", "  ingress: [{ports: [{protocol: QUIC, port: 80}]}]", "spec.ingress[0].ports[0].protocol", "QUIC"},
		{"port out of range", "  ingress: [{ports: [{port: 65536}]}]", "spec.ingress[0].ports[0].port", "65536"},
		{"endPort below port", "  ingress: [{ports: [{port: 80, endPort: 79}]}]", "spec.ingress[0].ports[0].endPort", "79"},
		{"endPort with a name", "  ingress: [{ports: [{port: http, endPort: 90}]}]", "spec.ingress[0].ports[0].endPort", "named"},
		{"endPort alone", "  ingress: [{ports: [{endPort: 90}]}]", "spec.ingress[0].ports[0].endPort", "without port"},
		{"no port name", "  ingress: [{ports: [{port: 'x_y'}]}]", "spec.ingress[0].ports[0].port", "x_y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parsePolicy(policyFrom(t, c.spec))
			if len(got.diagnostics) != 1 || got.diagnostics[0].Field != c.field || !strings.Contains(got.diagnostics[0].Message, c.says) {
				t.Errorf("diagnostics %+v, want one for %s that says %q", got.diagnostics, c.field, c.says)
			}
			if len(got.rules.Ingress) != 0 || len(got.refs) != 0 {
				t.Errorf("rules %+v, sets %+v, want none", got.rules.Ingress, got.refs)
			}
			if !got.isolates[0] {
				t.Error("the policy does not isolate")
			}
		})
	}
}

// TestExceptsOutsideTheirBlock expects the diagnostic to name the effect of an except that is not inside its block.
func TestExceptsOutsideTheirBlock(t *testing.T) {
	for except, says := range map[string]string{
		"11.0.0.0/8": "11.0.0.0/8 is not inside 10.0.0.0/8; it takes nothing out",
		"0.0.0.0/0":  "0.0.0.0/0 is not inside 10.0.0.0/8; it takes out all",
		"10.0.0.0/8": "10.0.0.0/8 is not inside 10.0.0.0/8; it takes out all",
	} {
		got := parsePolicy(policyFrom(t, "  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ["+except+"]}}]}]"))
		if len(got.diagnostics) != 1 || got.diagnostics[0].Message != says {
			t.Errorf("diagnostics %+v, want one that says %q", got.diagnostics, says)
		}
	}
}

// TestGoodPartsBesideBadOnes expects a bad part to leave the good ones alone.
func TestGoodPartsBesideBadOnes(t *testing.T) {
	got := parsePolicy(policyFrom(t, `
  policyTypes: [Ingress, Sideways]
  podSelector: {matchExpressions: [{key: a, operator: Near}]}
  ingress:
  - from: [{}, {ipBlock: {cidr: 010.1.2.3/8}}]
    ports: [{port: 0}, {port: 80}]
  egress: [{}]`))
	if !got.subject.Pods.IsEverything() {
		t.Error("a podSelector that cannot be parsed must select every pod")
	}
	if got.isolates != [2]bool{true, true} {
		t.Error("an unknown policy type must isolate both directions")
	}
	r := got.rules.Ingress[0]
	if len(r.Peers.Blocks) != 1 || r.Peers.Blocks[0].CIDR.String() != "10.0.0.0/8" || r.Peers.Any {
		t.Errorf("peers %+v, want 10.0.0.0/8 alone", r.Peers)
	}
	if len(r.Ports.List) != 1 || r.Ports.List[0].First != 80 || r.Ports.Any {
		t.Errorf("ports %+v, want 80 alone", r.Ports)
	}
	if len(got.rules.Egress) != 1 || len(got.diagnostics) != 4 {
		t.Errorf("egress %+v, diagnostics %+v", got.rules.Egress, got.diagnostics)
	}
}
