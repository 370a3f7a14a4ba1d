package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// policyYAML returns a document of a valid NetworkPolicy with the given spec, which is indented by two.
func policyYAML(name, spec string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: " + name + "\nspec:\n" + spec
}

// refusals returns the Refused problems of a text as "line:column: object: field: message".
func refusals(t *testing.T, text string) []string {
	t.Helper()
	_, problems := Read("f", []byte(text), Options{})
	var out []string
	for _, p := range problems {
		if p.Severity == Refused {
			out = append(out, strings.TrimPrefix(p.String(), "f:"))
		}
	}
	return out
}

func TestRefused(t *testing.T) {
	pod := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n"
	tests := []struct {
		name, text string
		want       []string
	}{
		{"every bad field of a document", policyYAML("p", `  podSelector:
    matchLabel: {a: b}
  ingress:
  - from:
    - namespacesSelector: {}
    - podSelector: {}
    ports:
    - port: 80
      protocl: TCP
  Egress: []
`), []string{
			`7:5: NetworkPolicy p: spec.podSelector.matchLabel: unknown field (did you mean "matchLabels"?)`,
			`10:7: NetworkPolicy p: spec.ingress[0].from[0].namespacesSelector: unknown field (did you mean "namespaceSelector"?)`,
			`14:7: NetworkPolicy p: spec.ingress[0].ports[0].protocl: unknown field (did you mean "protocol"?)`,
			`15:3: NetworkPolicy p: spec.Egress: unknown field (did you mean "egress"?)`,
		}},
		{"a field too deep", policyYAML("p", "  ingress:\n  - from:\n    - podSelector: {}\n      ports: []\n"), []string{
			`9:7: NetworkPolicy p: spec.ingress[0].from[0].ports: unknown field (did you mean "spec.ingress[0].ports", less indented?)`,
		}},
		{"a field too high", policyYAML("p", "  ingress:\n  - from:\n    - cidr: 10.0.0.0/8\n"), []string{
			`8:7: NetworkPolicy p: spec.ingress[0].from[0].cidr: unknown field (did you mean "spec.ingress[0].from[0].ipBlock.cidr"?)`,
		}},
		{"nothing similar", policyYAML("p", "  tier: 3\n"), []string{`6:3: NetworkPolicy p: spec.tier: unknown field`}},
		{"given twice", policyYAML("p", "  policyTypes: [Ingress]\n  podSelector: {}\n  policyTypes: [Egress]\n"), []string{
			`8:3: NetworkPolicy p: spec.policyTypes: given twice, first on line 6`,
		}},
		{"label given twice", policyYAML("p", "  podSelector:\n    matchLabels: {a: b, a.b/c: d, a.b/c: e}\n"), []string{
			`7:35: NetworkPolicy p: spec.podSelector.matchLabels[a.b/c]: given twice, first on line 7`,
		}},
		{"wrong types", policyYAML("p", `  podSelector:
    matchLabels: {a: 1, b: true, c: yes, d: [x], e: ok}
  policyTypes: Ingress
  ingress:
    from: []
  egress:
  - ports:
    - endPort: high
      port: {}
      protocol: 6
  - 3
`), []string{
			`7:22: NetworkPolicy p: spec.podSelector.matchLabels[a]: expected a string, found the number 1 (quote it: "1")`,
			`7:28: NetworkPolicy p: spec.podSelector.matchLabels[b]: expected a string, found the boolean true (quote it: "true")`,
			`7:37: NetworkPolicy p: spec.podSelector.matchLabels[c]: expected a string, found the boolean yes (quote it: "yes")`,
			`7:45: NetworkPolicy p: spec.podSelector.matchLabels[d]: expected a string, found a list`,
			`8:16: NetworkPolicy p: spec.policyTypes: expected a list, found the string "Ingress"`,
			`10:5: NetworkPolicy p: spec.ingress: expected a list, found a mapping`,
			`13:16: NetworkPolicy p: spec.egress[0].ports[0].endPort: expected a 32-bit integer, found the string "high"`,
			`14:13: NetworkPolicy p: spec.egress[0].ports[0].port: expected a 32-bit integer or a string, found a mapping`,
			`15:17: NetworkPolicy p: spec.egress[0].ports[0].protocol: expected a string, found the number 6 (quote it: "6")`,
			`16:5: NetworkPolicy p: spec.egress[1]: expected a mapping, found the number 3`,
		}},
		// An empty item would become the rule {}, which allows everything.
		{"empty list item", policyYAML("p", "  ingress:\n  -\n"), []string{`7:4: NetworkPolicy p: spec.ingress[0]: empty list item`}},
		{"label without value", policyYAML("p", "  podSelector:\n    matchLabels:\n      a:\n"), []string{
			`8:9: NetworkPolicy p: spec.podSelector.matchLabels[a]: missing value`,
		}},
		{"endPort beyond 32 bits", policyYAML("p", "  ingress:\n  - ports:\n    - endPort: 4294967297\n"), []string{
			`8:16: NetworkPolicy p: spec.ingress[0].ports[0].endPort: expected a 32-bit integer, found the number 4294967297`,
		}},
		{"pod fields", pod + "  creationTimestamp: yesterday\nspec:\n  containers:\n  - resources: {limits: {cpu: much}}\n    ports:\n    - containerPort: \"80\"\nstatus:\n  podIPs: [10.0.0.1]\n", []string{
			`5:22: Pod p: metadata.creationTimestamp: expected a time such as 2026-01-31T12:00:00Z, found the string "yesterday"`,
			`8:31: Pod p: spec.containers[0].resources.limits[cpu]: expected a quantity such as 500m or "1Gi", found the string "much"`,
			`10:22: Pod p: spec.containers[0].ports[0].containerPort: expected a 32-bit integer, found the string "80"`,
			`12:12: Pod p: status.podIPs[0]: expected a mapping, found the string "10.0.0.1"`,
		}},
		{"missing colon", policyYAML("p", "  podSelector: {}\n  policyTypes [\"Ingress\"]\n"), []string{
			`7:3: NetworkPolicy p: spec.policyTypes: could not find expected ':', at "policyTypes [\"Ingress\"]" (did you mean "policyTypes: [\"Ingress\"]"?)`,
		}},
		{"wrong indentation", policyYAML("p", "  podSelector: {}\n   policyTypes: []\n"), []string{
			`7:4: NetworkPolicy p: policyTypes: did not find expected key, at "policyTypes: []"`,
		}},
		{"flow left open", policyYAML("p", "  podSelector: {\n  policyTypes: [Ingress]\n"), []string{
			`6:3: NetworkPolicy p: spec.podSelector: did not find expected ',' or '}', at "podSelector: {"`,
		}},
		{"tabs", "kind: Pod\nmetadata:\n\tname: x\n", []string{
			`3:2: Pod: metadata.name: found character that cannot start any token, at "name: x"`,
		}},
		{"no name", "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a}\n", []string{`1:1: Pod: metadata.name: required`}},
		{"a name that is none", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a/b}\n", []string{
			"1:1: Namespace a/b: metadata.name: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', " +
				"and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
		}},
		{"no kind", "apiVersion: v1\n", []string{`1:1: kind: missing, or not a string`}},
		{"two kinds", "apiVersion: v1\nkind: Service\nkind: Pod\n", []string{`1:1: Service: kind: given twice`}},
		{"no object", "- a\n", []string{`1:1: not a Kubernetes object: expected a mapping, found a list`}},
		{"cluster policy", "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: x}\n", []string{
			`1:1: ClusterNetworkPolicy x: kind ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2 is not enforced by this version`,
		}},
		{"another project's policy of the same kind", "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: x}\n", []string{
			`1:1: NetworkPolicy x: kind NetworkPolicy of projectcalico.org/v3 is not enforced by this version`,
		}},
		{"cilium", "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicyList\nitems: []\n", []string{
			`1:1: CiliumNetworkPolicyList: kind CiliumNetworkPolicyList of cilium.io/v2 is not enforced by this version`,
		}},
		{"old version", "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: x}\n", []string{
			`1:1: NetworkPolicy x: unknown kind NetworkPolicy of extensions/v1beta1: use apiVersion networking.k8s.io/v1`,
		}},
		{"misspelt kind", "apiVersion: networking.k8s.io/v1\nkind: NetwrokPolicy\n", []string{
			`1:1: NetwrokPolicy: unknown kind NetwrokPolicy (did you mean "NetworkPolicy"?)`,
		}},
		{"kind in the wrong case", "apiVersion: v1\nkind: pod\n", []string{`1:1: pod: unknown kind pod (did you mean "Pod"?)`}},
		{"keys that are no text", policyYAML("p", "  podSelector:\n    matchLabels: {y: a, 0x10: b, [c]: d}\n"), []string{
			`7:19: NetworkPolicy p: spec.podSelector.matchLabels: a key must be a string (quote it: "y")`,
			`7:25: NetworkPolicy p: spec.podSelector.matchLabels: a key must be a string (quote it: "0x10")`,
			`7:34: NetworkPolicy p: spec.podSelector.matchLabels: a key must be a string, not a list`,
		}},
		{"alias to itself", pod + "  labels: &x\n    a: *x\n", []string{
			`5:11: Pod p: metadata.labels[a]: expected a string, found a mapping`,
		}},
		{"endless merge", pod + "  labels: &x\n    <<: *x\n", []string{
			`5:11: Pod p: metadata.labels` + strings.Repeat("[<<]", maxDepth-1) + `: nested more than 64 levels deep`,
		}},
		{"binary", pod + "  labels: {a: !!binary aGk=}\n", []string{`5:15: Pod p: metadata.labels[a]: type !!binary is not supported`}},
		{"not UTF-8", "\xff\xfek\x00i\x00n\x00d\x00", []string{` the file is UTF-16; save it as UTF-8`}},
		{"a document after a broken one in one stream", "kind: [\n...\nkind: Pod\n", []string{
			`1:1: kind: did not find expected node content, at "kind: ["`,
		}},
		{"control characters in what is shown", policyYAML("p", "  \"x\\e[2Jy\\n\": 1\n"), []string{
			`6:3: NetworkPolicy p: spec.x\x1b[2Jy\n: unknown field`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, refusals(t, tt.text)); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

// names returns the names of the objects that were loaded.
func names(o *Objects) []string {
	var out []string
	add := func(kind string, obj metav1.Object) {
		out = append(out, Ref{kind, obj.GetNamespace(), obj.GetName()}.String())
	}
	for _, x := range o.Pods {
		add("Pod", x)
	}
	for _, x := range o.Namespaces {
		add("Namespace", x)
	}
	for _, x := range o.Policies {
		add("NetworkPolicy", x)
	}
	for _, x := range o.Nodes {
		add("Node", x)
	}
	return out
}

func TestLoaded(t *testing.T) {
	good := func(name string) string { return policyYAML(name, "  podSelector: {}\n") }
	tests := []struct {
		name, text string
		want       []string
		problems   int
	}{
		{"nothing", "", nil, 0},
		{"comments only", "# a\n---\n# b\n---\n", nil, 0},
		{"good ones around bad ones", good("a") + "---\n" + policyYAML("b", "  x: 1\n") + "---\n" + good("c") +
			"---\nspec: [\n---\n" + good("d"), []string{"NetworkPolicy default/a", "NetworkPolicy default/c", "NetworkPolicy default/d"}, 2},
		{"separators with comments, blanks, CRLF and a BOM", "\xef\xbb\xbf%YAML 1.1\n--- # first\n" + good("a") + "---\r\n" +
			strings.ReplaceAll(good("b"), "\n", "\r\n") + "--- \n" + good("c") + "...\n---\n" + good("d"),
			[]string{"NetworkPolicy default/a", "NetworkPolicy default/b", "NetworkPolicy default/c", "NetworkPolicy default/d"}, 0},
		{"three dashes inside a document are no separator", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  annotations:\n    x: |\n      ---\n    z: ---z\n",
			[]string{"Namespace a"}, 0},
		{"list of mixed kinds with one bad item", `apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- {apiVersion: v1, kind: Pod, metadata: {name: p, namespace: x}}
- {apiVersion: v1, kind: Pod, metadata: {nam: q}}
- {apiVersion: v1, kind: Node, metadata: {name: w1}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: n}, spec: {anything: 1}}
- apiVersion: v1
  kind: List
  items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: x}}
`, []string{"Pod x/p", "Namespace x", "Node w1"}, 2},
		{"typed lists", `{"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}},
	{"kind": "Pod", "metadata": {"name": "b"}}, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "c"}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicyList
items:
- metadata: {name: p}
`, []string{"Pod default/a", "Pod default/b", "NetworkPolicy default/p"}, 1},
		{"list with a bad envelope", "apiVersion: v1\nkind: PodList\nitem: []\nitems:\n- metadata: {name: a}\n", []string{"Pod default/a"}, 1},
		{"list of nothing", "apiVersion: v1\nkind: PodList\nitems:\n", nil, 0},
		{"list that is none", "apiVersion: v1\nkind: PodList\nitems: {}\n", nil, 1},
		{"cluster-scoped kinds have no namespace", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n", []string{"Namespace a"}, 0},
		{"anchors and merge keys", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations: &a {x: \"1\", z: \"2\"}\n  labels: {<<: *a, x: \"3\"}\n",
			[]string{"Pod default/p"}, 0},
		{"kinds of no interest", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {nonsense: true}\n", nil, 1},
		{"null where nothing is meant", policyYAML("p", "  egress:\n  - to:\n    ports:\n    - port:\n"), []string{"NetworkPolicy default/p"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, problems := Read("f", []byte(tt.text), Options{})
			if diff := cmp.Diff(tt.want, names(o)); diff != "" {
				t.Errorf("loaded (-want +got):\n%s", diff)
			}
			if len(problems) != tt.problems {
				t.Errorf("%d problems, want %d: %v", len(problems), tt.problems, problems)
			}
		})
	}
}

func TestMergeKeyValues(t *testing.T) {
	o, problems := Read("f", []byte(`apiVersion: v1
kind: Pod
metadata:
  name: p
  annotations: &a {x: "1", yy: "2", z: "3"}
  labels:
    <<: [{z: "9"}, *a]
    x: "0"
`), Options{Namespace: "ns"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := map[string]string{"x": "0", "yy": "2", "z": "9"}
	if diff := cmp.Diff(want, o.Pods[0].Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if o.Pods[0].Namespace != "ns" {
		t.Errorf("namespace %q, want the one of the options", o.Pods[0].Namespace)
	}
}

// TestAliasBomb reads aliases of aliases, which would expand to 9^8 labels.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  managedFields:\n  - fieldsV1:\n      a: &a [x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c < 'j'; c++ {
		b.WriteString("      " + string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+", ", 8) + "*" + string(c-1) + "]\n")
	}
	got := refusals(t, b.String())
	if len(got) != 1 || !strings.Contains(got[0], "aliases expand to more than 65536 values") {
		t.Errorf("refused %q, want one refusal of the aliases", got)
	}
}

// TestAliasBombInLists reads a list whose items are the list itself, which would be read 100^4 times, and a list of small
// objects each of which takes as many values from one anchor as a document may.
func TestAliasBombInLists(t *testing.T) {
	again := "apiVersion: v1\nkind: List\nitems: &x\n" + strings.Repeat("- {apiVersion: v1, kind: List, items: *x}\n", 100)
	var many strings.Builder
	many.WriteString("apiVersion: v1\nkind: PodList\nitems:\n- metadata:\n    name: p\n    annotations: &x\n")
	for i := range 1000 {
		fmt.Fprintf(&many, "      a%d: b\n", i)
	}
	many.WriteString(strings.Repeat("- metadata: {name: q, annotations: *x}\n", 200))
	for name, text := range map[string]string{"a list in itself": again, "many objects with one anchor": many.String()} {
		t.Run(name, func(t *testing.T) {
			got := refusals(t, text)
			if len(got) > 2*maxAliased || !slices.ContainsFunc(got, func(s string) bool {
				return strings.Contains(s, "aliases expand to more than 65536 values")
			}) {
				t.Errorf("%d refusals, want at most %d and one of the aliases", len(got), 2*maxAliased)
			}
		})
	}
}

func TestReplaced(t *testing.T) {
	text := policyYAML("p", "  podSelector: {}\n") + "---\n" + policyYAML("p", "  policyTypes: [Egress]\n")
	o, problems := Read("f", []byte(text), Options{})
	if len(o.Policies) != 1 || len(o.Policies[0].Spec.PolicyTypes) != 1 {
		t.Errorf("the later document must count: %v", o.Policies)
	}
	want := []Problem{{
		Severity: Replaced, File: "f", Line: 1, Column: 1, Object: "NetworkPolicy default/p",
		Message: "replaced by f:8, which has the same name",
	}}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestFind(t *testing.T) {
	text := "# a comment\n---\n" + policyYAML("p", `  podSelector:
    matchLabels: {app.kubernetes.io/name: x}
  ingress:
  - from:
    - ipBlock:
        cidr: 10.0.0.0/8
        except:
        - 10.1.0.0/16
`)
	o, problems := Read("f", []byte(text), Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, tt := range []struct {
		field        string
		line, column int
	}{
		{"", 3, 1},
		{"spec", 7, 1},
		{"spec.podSelector.matchLabels[app.kubernetes.io/name]", 9, 19},
		{"spec.ingress[0].from[0].ipBlock.cidr", 13, 9},
		{"spec.ingress[0].from[0].ipBlock.except[0]", 15, 11},
		{"spec.ingress[0].from[0].ipBlock.except[1]", 14, 9},
		{"spec.ingress[0].from[7].podSelector", 11, 5},
		{"spec.egress", 7, 1},
		{"spec.ingress[", 10, 3},
	} {
		file, line, column, ok := o.Source.Find(PolicyRef("default", "p"), tt.field)
		if file != "f" || line != tt.line || column != tt.column || !ok {
			t.Errorf("Find(%q) = %s:%d:%d %v, want f:%d:%d", tt.field, file, line, column, ok, tt.line, tt.column)
		}
	}
	if _, _, _, ok := o.Source.Find(PolicyRef("other", "p"), ""); ok {
		t.Error("an object that was not read was found")
	}
}
