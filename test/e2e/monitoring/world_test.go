//go:build e2e

package monitoring

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/manifest"
	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

const (
	// stateDir is the test's own cluster, so that nobody else's policies are counted.
	stateDir  = "/var/lib/netpol-agent-monitoring"
	namespace = "monitored"
	// resync is short, so that "last successful sync" can be seen to advance.
	resync = 2 * time.Second
)

// monitoring enables what the chart provides for Prometheus and Grafana.
var monitoring = []string{
	"--set", "podMonitor.enabled=true", "--set", "prometheusRule.enabled=true", "--set", "monitoring.dashboard.enabled=true",
}

// world is a cluster with agents and a Prometheus that scrapes them.
type world struct {
	*lab.Cluster
	release *deploy.Release
	client  kubernetes.Interface
	prom    *prometheus
	alerts  []alert
	board   dashboard
}

// start returns a world with one pod on each node and no policy. All of it ends with the test; KEEP=1 keeps the
// cluster.
func start(t *testing.T) *world {
	t.Helper()
	promtool(t)
	w := &world{}
	w.up(t)
	ctx := t.Context()
	if err := w.release.Install(ctx, "--set-string", fmt.Sprintf("resyncPeriod=%s", resync)); err != nil {
		t.Fatal(err)
	}
	w.fill(t)

	rendered, err := w.release.Helm(ctx, append([]string{"template", deploy.Name, w.release.Chart(),
		"--show-only", "templates/monitoring.yaml"}, monitoring...)...)
	if err != nil {
		t.Fatal(err)
	}
	var monitor podMonitor
	decode(t, rendered, "PodMonitor", &monitor)
	var rules struct{ Spec ruleFile }
	decode(t, rendered, "PrometheusRule", &rules)
	var config corev1.ConfigMap
	decode(t, rendered, "ConfigMap", &config)
	if config.Labels["grafana_dashboard"] != "1" || len(config.Data) != 1 {
		t.Fatalf("dashboard: labels %v, %d files", config.Labels, len(config.Data))
	}
	for _, data := range config.Data {
		w.board = parseDashboard(t, []byte(data))
	}
	w.alerts = rules.Spec.alerts()
	pods, err := w.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.prom = startPrometheus(t, w.Cluster, map[string]any{
		"prometheus.yaml": map[string]any{
			"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
			"rule_files":     []string{"rules.yaml"},
			"scrape_configs": []any{monitor.scrapeConfig("pods.yaml")},
		},
		"pods.yaml":  discovered(pods.Items),
		"rules.yaml": rules.Spec,
	})
	return w
}

// up starts the cluster, without agents or with those of a run that was kept.
func (w *world) up(t *testing.T) {
	t.Helper()
	dirs, err := lab.DefaultDirs()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(lab.EnvStateDir) == "" {
		dirs.State = stateDir
	}
	if os.Getenv("KEEP") == "" {
		t.Cleanup(func() {
			if err := lab.Down(context.WithoutCancel(t.Context()), dirs, progress.New(os.Stderr)); err != nil {
				t.Error(err)
			}
		})
	}
	if w.Cluster, w.release, err = deploy.Up(t.Context(), dirs, lab.DefaultOptions(), progress.New(os.Stderr)); err != nil {
		t.Fatal(err)
	}
	config, err := w.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	if w.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
}

// fill creates the namespace again, with a pod on each node.
func (w *world) fill(t *testing.T) {
	t.Helper()
	ctx, now := t.Context(), int64(0)
	_ = w.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
	eventually(t, "make namespace "+namespace, func() error {
		_, err := w.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		return err
	})
	for pod, node := range map[string]string{"web": "node1", "client": "node2"} {
		token := false
		spec := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: pod, Labels: map[string]string{"app": pod}},
			Spec: corev1.PodSpec{
				NodeName: node, TerminationGracePeriodSeconds: &now, AutomountServiceAccountToken: &token, DNSPolicy: corev1.DNSDefault,
				Containers: []corev1.Container{{
					Name: "c", Image: lab.ProbeImage, ImagePullPolicy: corev1.PullNever, Args: []string{"serve", "-name", pod, "-tcp", "80"},
				}},
			},
		}
		// The namespace's service account appears a moment after it.
		eventually(t, "make pod "+pod, func() error {
			_, err := w.client.CoreV1().Pods(namespace).Create(ctx, spec, metav1.CreateOptions{})
			return err
		})
	}
}

// decode reads the one document of a kind.
func decode(t *testing.T, documents, kind string, into any) {
	t.Helper()
	for doc := range strings.SplitSeq(documents, "\n---\n") {
		var head struct{ Kind string }
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatal(err)
		}
		if head.Kind == kind {
			if err := yaml.Unmarshal([]byte(doc), into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("the chart renders no %s", kind)
}

func (w *world) apply(t *testing.T, policies ...*networkingv1.NetworkPolicy) {
	t.Helper()
	for _, p := range policies {
		if _, err := w.client.NetworkingV1().NetworkPolicies(namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) remove(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := w.client.NetworkingV1().NetworkPolicies(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// store writes a policy past the API server's validation, as an older or less strict API server may have stored it.
func (w *world) store(t *testing.T, p *networkingv1.NetworkPolicy) {
	t.Helper()
	p.TypeMeta = metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}
	p.Namespace, p.UID, p.CreationTimestamp = namespace, "00000000-0000-4000-8000-000000000001", metav1.Now()
	value, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{
		"key":   base64.StdEncoding.EncodeToString([]byte("/registry/networkpolicies/" + namespace + "/" + p.Name)),
		"value": base64.StdEncoding.EncodeToString(value),
	})
	if err != nil {
		t.Fatal(err)
	}
	etcd := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: w.DialContext(manifest.ControlPlaneName)}}
	resp, err := etcd.Post(fmt.Sprintf("http://127.0.0.1:%d/v3/kv/put", manifest.EtcdPort), "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("etcd: %s", resp.Status)
	}
}

// scrape returns the metrics of the agent on a node.
func (w *world) scrape(t *testing.T, node string) []byte {
	t.Helper()
	n, err := w.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: w.DialContext(node)}}
	resp, err := client.Get("http://" + net.JoinHostPort(n.Addresses[0].String(), "9475") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var out bytes.Buffer
	if _, err := out.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics of %s: %s, %v", node, resp.Status, err)
	}
	return out.Bytes()
}

// installed counts what nft lists in the agent's table on a node.
func (w *world) installed(t *testing.T, node string) map[string]float64 {
	t.Helper()
	out, err := w.NodeExec(t.Context(), node, "nft", "-j", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	type object struct {
		Table string
		Elem  []json.RawMessage
	}
	var list struct {
		Objects []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	count := map[string]float64{"rules": 0, "chains": 0, "sets": 0, "elements": 0}
	for _, entry := range list.Objects {
		for kind, raw := range entry {
			metric := map[string]string{"rule": "rules", "chain": "chains", "set": "sets", "map": "sets"}[kind]
			if metric == "" {
				continue
			}
			var o object
			if err := json.Unmarshal(raw, &o); err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
			if o.Table == "netpol-agent" || o.Table == "netpol-agent-2" {
				count[metric]++
				count["elements"] += float64(len(o.Elem))
			}
		}
	}
	return count
}
