//go:build e2e

package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab"
)

const (
	prometheusNode    = "node1"
	prometheusAddress = "127.0.0.1:19090"
	// patience is how long to wait for something that takes a scrape or two if all is well.
	patience = 30 * time.Second
	poll     = 200 * time.Millisecond
)

// prometheus is a Prometheus that runs on a node of the lab.
type prometheus struct {
	http *http.Client
	log  string
}

// startPrometheus starts Debian's Prometheus on a node, with prometheus.yaml and the files that it names. It ends
// with the test.
func startPrometheus(t *testing.T, c *lab.Cluster, files map[string]any) *prometheus {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		data, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := promtool(t, "check", "config", filepath.Join(dir, "prometheus.yaml")).CombinedOutput(); err != nil {
		t.Fatalf("promtool check config: %v\n%s", err, out)
	}
	stopProcess(t, c) // left by a run that was killed
	p, err := c.StartInNode(t.Context(), prometheusNode, "prometheus", "prometheus",
		"--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+prometheusAddress)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopProcess(t, c) })
	return &prometheus{log: p.LogPath, http: &http.Client{
		Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: c.DialContext(prometheusNode)},
	}}
}

func stopProcess(t *testing.T, c *lab.Cluster) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	p, err := c.ProcessInNode(ctx, prometheusNode, "prometheus")
	if err != nil {
		return // none was started
	}
	if _, err := p.Stop(ctx, 10*time.Second); err != nil {
		t.Errorf("stop Prometheus: %v", err)
	}
}

// get asks Prometheus' API and decodes the answer's data.
func (p *prometheus) get(ctx context.Context, path string, args url.Values, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+prometheusAddress+"/api/v1/"+path+"?"+args.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return fmt.Errorf("Prometheus (log: %s): %w", p.log, err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("Prometheus: %s: %w", resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("Prometheus: %s", answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// series is one series of an answer, at one moment.
type series struct {
	Metric map[string]string `json:"metric"`
	Value  number            `json:"value"`
}

// number is the value of a sample; Prometheus writes it as a string beside its time.
type number float64

func (n *number) UnmarshalJSON(data []byte) error {
	var sample [2]any
	if err := json.Unmarshal(data, &sample); err != nil {
		return err
	}
	v, err := strconv.ParseFloat(fmt.Sprint(sample[1]), 64)
	*n = number(v)
	return err
}

// query evaluates an expression now. A scalar is a series without labels.
func (p *prometheus) query(ctx context.Context, expr string) ([]series, error) {
	var data struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := p.get(ctx, "query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	var out []series
	if data.ResultType == "scalar" {
		out = make([]series, 1)
		return out, json.Unmarshal(data.Result, &out[0].Value)
	}
	return out, json.Unmarshal(data.Result, &out)
}

// byNode evaluates an expression that returns one series per node.
func (p *prometheus) byNode(ctx context.Context, expr string) (map[string]float64, error) {
	all, err := p.query(ctx, expr)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, s := range all {
		node := s.Metric["node"]
		if _, twice := out[node]; twice {
			return nil, fmt.Errorf("%s: more than one series of node %q", expr, node)
		}
		out[node] = float64(s.Value)
	}
	return out, nil
}

// expect waits until an expression returns these values, one per node.
func (p *prometheus) expect(t *testing.T, expr string, node1, node2 float64) {
	t.Helper()
	p.await(t, expr, fmt.Sprintf("%v and %v", node1, node2), func(v map[string]float64) bool {
		return v["node1"] == node1 && v["node2"] == node2
	})
}

// expectEach waits until an expression returns a value for each node that satisfies ok.
func (p *prometheus) expectEach(t *testing.T, expr, want string, ok func(node string, v float64) bool) {
	t.Helper()
	p.await(t, expr, want, func(v map[string]float64) bool { return ok("node1", v["node1"]) && ok("node2", v["node2"]) })
}

func (p *prometheus) await(t *testing.T, expr, want string, ok func(map[string]float64) bool) {
	t.Helper()
	eventually(t, expr+": want "+want, func() error {
		got, err := p.byNode(t.Context(), expr)
		if err != nil {
			return err
		}
		if len(got) != 2 || !ok(got) {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
}

// must evaluates an expression that returns one number.
func (p *prometheus) must(t *testing.T, expr string) float64 {
	t.Helper()
	all, err := p.query(t.Context(), expr)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || math.IsNaN(float64(all[0].Value)) {
		t.Fatalf("%s: want one number, got %v", expr, all)
	}
	return float64(all[0].Value)
}

// eventually waits until f returns nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end) && t.Context().Err() == nil; time.Sleep(poll) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// podMonitor is the part of a PodMonitor that decides what is scraped.
type podMonitor struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Selector  struct{ MatchLabels map[string]string }
		Endpoints []struct {
			Port        string
			Relabelings []struct {
				SourceLabels []string
				TargetLabel  string
			}
		} `json:"podMetricsEndpoints"`
	}
}

const metaPod = "__meta_kubernetes_pod_"

// metaLabel returns the name that service discovery gives to a pod's label.
func metaLabel(name string) string {
	return metaPod + "label_" + strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(name)
}

// scrapeConfig returns what the Prometheus operator makes of a PodMonitor, except for the source of the targets:
// Debian's Prometheus is built without the discovery of pods, so the targets are in a file.
func (m podMonitor) scrapeConfig(file string) map[string]any {
	keep := func(label, value string) map[string]any {
		return map[string]any{"action": "keep", "source_labels": []string{label}, "regex": value}
	}
	set := func(label string, from ...string) map[string]any {
		return map[string]any{"source_labels": from, "target_label": label}
	}
	e := m.Spec.Endpoints[0]
	relabel := []map[string]any{
		keep(metaPod+"container_port_name", e.Port),
		set("namespace", "__meta_kubernetes_namespace"), set("container", metaPod+"container_name"), set("pod", metaPod+"name"),
		{"target_label": "job", "replacement": m.Metadata.Namespace + "/" + m.Metadata.Name},
		{"target_label": "endpoint", "replacement": e.Port},
	}
	for name, value := range m.Spec.Selector.MatchLabels {
		relabel = append(relabel, keep(metaLabel(name), value))
	}
	for _, r := range e.Relabelings {
		relabel = append(relabel, set(r.TargetLabel, r.SourceLabels...))
	}
	return map[string]any{
		"job_name":        "podMonitor/" + m.Metadata.Namespace + "/" + m.Metadata.Name + "/0",
		"file_sd_configs": []any{map[string]any{"files": []string{file}}},
		"relabel_configs": relabel,
	}
}

// discovered returns pods as Prometheus' discovery with the role "pod" does: a target for each port of a container.
func discovered(pods []corev1.Pod) []any {
	var out []any
	for i := range pods {
		p := &pods[i]
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				labels := map[string]string{
					"__meta_kubernetes_namespace": p.Namespace, metaPod + "name": p.Name, metaPod + "node_name": p.Spec.NodeName,
					metaPod + "container_name": c.Name, metaPod + "container_port_name": port.Name,
				}
				for name, value := range p.Labels {
					labels[metaLabel(name)] = value
				}
				address := net.JoinHostPort(p.Status.PodIP, strconv.Itoa(int(port.ContainerPort)))
				out = append(out, map[string]any{"targets": []string{address}, "labels": labels})
			}
		}
	}
	return out
}
