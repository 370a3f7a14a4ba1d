//go:build e2e

package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMonitoring scrapes real agents with a real Prometheus while policies come and go. Each step needs the ones
// before it, so the first failure ends the test.
func TestMonitoring(t *testing.T) {
	w := start(t)
	b := &baseline{}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"the agents are found, ready and in sync", found},
		{"without policies", b.take},
		{"policies are counted by state, rules as nft lists them", policiesApplied},
		{"a policy that is not understood", notUnderstood},
		{"a foreign change is repaired", repaired},
		{"a node on which bridged packets pass unjudged is not ready", bridgeOff},
		{"without policies again", b.compare},
		{"what the histograms observed is plausible", b.histograms},
		{"the metrics' format", format},
		{"every query of the dashboard gives something", dashboardAnswers},
		{"every alert is evaluated, and what it asks for is there", alertsAnswer},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, w) }) {
			t.Fatalf("Prometheus' log: %s", w.prom.log)
		}
	}
}

func found(t *testing.T, w *world) {
	w.prom.expect(t, `up`, 1, 1)
	w.prom.expect(t, `netpol_agent_build_info`, 1, 1)
	w.prom.expect(t, `netpol_agent_ready`, 1, 1)
	w.prom.expect(t, `netpol_agent_api_server_reachable`, 1, 1)
	w.prom.expect(t, `netpol_agent_bridge_netfilter_ok`, 1, 1)
	w.prom.expect(t, `netpol_agent_resync_period_seconds`, resync.Seconds(), resync.Seconds())
	// The agents are in sync, and stay so: the timestamp advances.
	w.prom.expectEach(t, `time() - netpol_agent_last_successful_sync_timestamp_seconds`, "at most 10 s",
		func(_ string, v float64) bool { return v >= -1 && v <= 10 })
	first, err := w.prom.byNode(t.Context(), `netpol_agent_last_successful_sync_timestamp_seconds`)
	if err != nil {
		t.Fatal(err)
	}
	w.prom.expectEach(t, `netpol_agent_last_successful_sync_timestamp_seconds`, "more than before",
		func(node string, v float64) bool { return v > first[node] })
}

// baseline is what the metrics show without policies.
type baseline struct {
	installed map[string]map[string]float64
	events    map[string]float64
}

var kinds = []string{"rules", "chains", "sets", "elements"}

func (b *baseline) take(t *testing.T, w *world) {
	w.prom.expect(t, `netpol_agent_local_pods{isolation="none"}`, 1, 1)
	noPolicies(t, w)
	b.installed = map[string]map[string]float64{}
	for _, kind := range kinds {
		v, err := w.prom.byNode(t.Context(), fmt.Sprintf(`sum by (node) (netpol_agent_%s)`, kind))
		if err != nil {
			t.Fatal(err)
		}
		b.installed[kind] = v
	}
	var err error
	if b.events, err = w.prom.byNode(t.Context(), `netpol_agent_event_to_kernel_seconds_count`); err != nil {
		t.Fatal(err)
	}
	asListed(t, w)
}

func noPolicies(t *testing.T, w *world) {
	t.Helper()
	for _, state := range []string{"enforced", "partly_understood", "not_selecting"} {
		w.prom.expect(t, fmt.Sprintf(`netpol_agent_policies{state=%q}`, state), 0, 0)
	}
	w.prom.expect(t, `netpol_agent_objects{resource="networkpolicies"}`, 0, 0)
	w.prom.expect(t, `netpol_agent_diagnostics`, 0, 0)
}

// asListed waits until the metrics agree with what nft lists on each node.
func asListed(t *testing.T, w *world) {
	t.Helper()
	for _, n := range w.Nodes {
		want := w.installed(t, n.Name)
		for _, kind := range kinds {
			w.prom.expectEach(t, fmt.Sprintf(`sum by (node) (netpol_agent_%s)`, kind), fmt.Sprintf("%v on %s, as nft lists", want[kind], n.Name),
				func(node string, v float64) bool { return node != n.Name || v == want[kind] })
		}
	}
}

func policy(name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
}

func app(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func policiesApplied(t *testing.T, w *world) {
	before, err := w.prom.byNode(t.Context(), `sum by (node) (netpol_agent_rules)`)
	if err != nil {
		t.Fatal(err)
	}
	from := []networkingv1.NetworkPolicyPeer{{PodSelector: app("client")}}
	w.apply(t,
		policy("web-in", networkingv1.NetworkPolicySpec{
			PodSelector: *app("web"), Ingress: []networkingv1.NetworkPolicyIngressRule{{From: from}},
		}),
		policy("client-out", networkingv1.NetworkPolicySpec{
			PodSelector: *app("client"), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		}),
		policy("all-in", networkingv1.NetworkPolicySpec{
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: app("web")}}}},
		}),
		policy("nobody", networkingv1.NetworkPolicySpec{PodSelector: *app("nobody")}),
	)
	w.prom.expect(t, `netpol_agent_objects{resource="networkpolicies"}`, 4, 4)
	w.prom.expect(t, `netpol_agent_policies{state="enforced"}`, 2, 2)
	w.prom.expect(t, `netpol_agent_policies{state="not_selecting"}`, 2, 2)
	w.prom.expect(t, `netpol_agent_policies{state="partly_understood"}`, 0, 0)
	w.prom.expect(t, `netpol_agent_local_pods{isolation="none"}`, 0, 0)
	w.prom.expect(t, `netpol_agent_local_pods{isolation="ingress"}`, 1, 0)
	w.prom.expect(t, `netpol_agent_local_pods{isolation="both"}`, 0, 1)
	w.prom.expectEach(t, `sum by (node) (netpol_agent_rules)`, fmt.Sprintf("more than %v", before),
		func(node string, v float64) bool { return v > before[node] })
	asListed(t, w)
}

func notUnderstood(t *testing.T, w *world) {
	w.store(t, policy("odd", networkingv1.NetworkPolicySpec{
		PodSelector: *app("web"),
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
			{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/33"}},
		}}},
	}))
	w.prom.expect(t, `netpol_agent_policies{state="partly_understood"}`, 1, 1)
	w.prom.expect(t, `netpol_agent_diagnostics`, 1, 1)
	alertIs(t, w, "NetpolAgentPolicyNotUnderstood", "pending")
	w.remove(t, "odd")
	w.prom.expect(t, `netpol_agent_policies{state="partly_understood"}`, 0, 0)
	w.prom.expect(t, `netpol_agent_diagnostics`, 0, 0)
	alertIs(t, w, "NetpolAgentPolicyNotUnderstood", "inactive")
}

func repaired(t *testing.T, w *world) {
	before, err := w.prom.byNode(t.Context(), `netpol_agent_resync_total{result="repaired"}`)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := w.NodeExec(t.Context(), "node1", "nft", "flush", "table", "inet", "netpol-agent"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.prom.expect(t, `netpol_agent_resync_total{result="repaired"}`, before["node1"]+1, before["node2"])
	w.prom.await(t, `increase(netpol_agent_resync_total{result="repaired"}[1m])`, "more than 0 on node1 alone",
		func(v map[string]float64) bool { return v["node1"] > 0 && v["node2"] == 0 })
	asListed(t, w)
}

func bridgeOff(t *testing.T, w *world) {
	set := func(value string) {
		t.Helper()
		if _, err := w.NodeExec(t.Context(), "node1", "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables="+value); err != nil {
			t.Fatal(err)
		}
	}
	set("0")
	w.prom.expect(t, `netpol_agent_bridge_netfilter_ok`, 0, 1)
	w.prom.expect(t, `netpol_agent_ready`, 0, 1)
	for _, alert := range []string{"NetpolAgentBridgedTrafficUnjudged", "NetpolAgentNotReady"} {
		alertIs(t, w, alert, "pending")
	}
	set("1")
	w.prom.expect(t, `netpol_agent_bridge_netfilter_ok`, 1, 1)
	w.prom.expect(t, `netpol_agent_ready`, 1, 1)
	for _, alert := range []string{"NetpolAgentBridgedTrafficUnjudged", "NetpolAgentNotReady"} {
		alertIs(t, w, alert, "inactive")
	}
}

// compare removes all policies and checks that the same is installed as before them.
func (b *baseline) compare(t *testing.T, w *world) {
	w.remove(t, "web-in", "client-out", "all-in", "nobody")
	noPolicies(t, w)
	w.prom.expect(t, `netpol_agent_local_pods{isolation="none"}`, 1, 1)
	for _, kind := range kinds {
		v := b.installed[kind]
		w.prom.expect(t, fmt.Sprintf(`sum by (node) (netpol_agent_%s)`, kind), v["node1"], v["node2"])
	}
	asListed(t, w)
}

// histograms checks that every event was timed, and that no time is longer than on a busy machine.
func (b *baseline) histograms(t *testing.T, w *world) {
	// On each node, at least two policies that select its pod came and went.
	w.prom.expectEach(t, `netpol_agent_event_to_kernel_seconds_count`, fmt.Sprintf("at least 4 more than %v", b.events),
		func(node string, v float64) bool { return v >= b.events[node]+4 })
	for _, name := range []string{"event_to_kernel_seconds", "apply_duration_seconds", "compile_duration_seconds"} {
		metric := "netpol_agent_" + name
		within := map[string]string{"event_to_kernel_seconds": "10", "apply_duration_seconds": "5", "compile_duration_seconds": "1"}[name]
		all, below := w.prom.must(t, fmt.Sprintf(`sum(%s_count)`, metric)), w.prom.must(t, fmt.Sprintf(`sum(%s_bucket{le=%q})`, metric, within))
		if all == 0 || below != all {
			t.Errorf("%s: of %v observations %v took at most %s s", metric, all, below, within)
		}
		p50 := w.prom.must(t, fmt.Sprintf(`histogram_quantile(0.5, sum by (le) (%s_bucket))`, metric))
		p99 := w.prom.must(t, fmt.Sprintf(`histogram_quantile(0.99, sum by (le) (%s_bucket))`, metric))
		t.Logf("%s: %v observations, p50 %.4g s, p99 %.4g s", metric, all, p50, p99)
		if p50 <= 0 || p50 > 1 {
			t.Errorf("%s: median %v s", metric, p50)
		}
	}
	w.prom.expect(t, `netpol_agent_apply_total{result="error"}`, 0, 0)
	w.prom.expect(t, `netpol_agent_apply_total{result="ok"} - ignoring (result) netpol_agent_apply_duration_seconds_count`, 0, 0)
}

// format has promtool check an agent's metrics.
func format(t *testing.T, w *world) {
	cmd := promtool(t, "check", "metrics")
	cmd.Stdin = bytes.NewReader(w.scrape(t, "node1"))
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// grafana replaces the variables as Grafana would.
var grafana = strings.NewReplacer("$__rate_interval", "5m", "$node", ".*")

func dashboardAnswers(t *testing.T, w *world) {
	for _, v := range w.board.Templating.List {
		if v.Type != "query" {
			continue
		}
		text := fmt.Sprint(v.Query)
		m := regexp.MustCompile(`label_values\((\w+), (\w+)\)`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("variable %s: %s", v.Name, text)
		}
		var values []string
		if err := w.prom.get(t.Context(), "label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &values); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(values, []string{"node1", "node2"}) {
			t.Errorf("variable %s: %v", v.Name, values)
		}
	}
	asked := 0
	for _, p := range w.board.Panels {
		for _, q := range p.Targets {
			asked++
			expr := grafana.Replace(q.Expr)
			got, err := w.prom.query(t.Context(), expr)
			if err != nil || len(got) == 0 {
				t.Errorf("panel %q: %s: %d series, %v", p.Title, expr, len(got), err)
			}
			for _, s := range got {
				if math.IsInf(float64(s.Value), 0) || math.IsNaN(float64(s.Value)) {
					t.Errorf("panel %q: %s: %v of %v", p.Title, expr, s.Value, s.Metric)
				}
			}
		}
	}
	if asked < 20 {
		t.Errorf("%d queries: the dashboard was not read", asked)
	}
}

// selector matches the series selectors of an expression.
var selector = regexp.MustCompile(`\b(?:netpol_agent_[a-z_]+|up)\b(?:\{[^}]*\})?`)

// comparison matches the condition of an alert's expression.
var comparison = regexp.MustCompile(`(?m) (==|>) [\d.]+( \+ .*)?`)

// alertsAnswer checks that Prometheus has evaluated every rule without error and that none fires. Every selector,
// and the whole expression without its condition, must return one series per node: an alert on a metric that does
// not exist would be just as quiet, and so would one that joins series with different labels.
func alertsAnswer(t *testing.T, w *world) {
	states := ruleStates(t, w)
	for _, a := range w.alerts {
		state, ok := states[a.Alert]
		if !ok || state.Health != "ok" || state.LastError != "" {
			t.Errorf("%s: %+v", a.Alert, state)
		}
		// One repair must not cause an alert. A busy machine may be slow for a moment.
		if state.State != "inactive" && a.Alert != "NetpolAgentSlow" {
			t.Errorf("%s is %s", a.Alert, state.State)
		}
		parts := selector.FindAllString(a.Expr, -1)
		if len(parts) == 0 {
			t.Errorf("%s: no selector found in %s", a.Alert, a.Expr)
		}
		// What is absent has no series.
		if a.Alert != "NetpolAgentAbsent" {
			if !comparison.MatchString(a.Expr) {
				t.Errorf("%s: no condition found in %s", a.Alert, a.Expr)
			}
			parts = append(parts, comparison.ReplaceAllString(a.Expr, ""))
		}
		for _, part := range parts {
			if got, err := w.prom.query(t.Context(), part); err != nil || len(got) == 0 {
				t.Errorf("%s: %s: %d series, %v", a.Alert, part, len(got), err)
			}
		}
	}
	if len(states) != len(w.alerts) {
		t.Errorf("rules: %v", slices.Sorted(maps.Keys(states)))
	}
}

type ruleState struct {
	Name, State, Health, LastError string
}

func ruleStates(t *testing.T, w *world) map[string]ruleState {
	t.Helper()
	var data struct {
		Groups []struct{ Rules []json.RawMessage }
	}
	if err := w.prom.get(t.Context(), "rules", nil, &data); err != nil {
		t.Fatal(err)
	}
	out := map[string]ruleState{}
	for _, g := range data.Groups {
		for _, raw := range g.Rules {
			var r ruleState
			if err := json.Unmarshal(raw, &r); err != nil {
				t.Fatal(err)
			}
			out[r.Name] = r
		}
	}
	return out
}

func alertIs(t *testing.T, w *world, name, state string) {
	t.Helper()
	eventually(t, "alert "+name+" is "+state, func() error {
		if got := ruleStates(t, w)[name].State; got != state {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}
