//go:build e2e

package install

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/e2e/deploy"
)

// The module with the types that Prometheus Operator adds to a cluster, pinned by its content.
const (
	operatorModule = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
	operatorSum    = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
)

// acceptedByServer has the API server check everything that users may apply, in dry runs. Prometheus Operator's
// types are installed meanwhile.
func acceptedByServer(t *testing.T, c *cluster) {
	definitions := operatorTypes(t)
	for _, file := range definitions {
		c.kubectl(t, "", "apply", "--server-side", "-f", file)
	}
	defer func() {
		for _, file := range definitions {
			c.kubectl(t, "", "delete", "-f", file)
		}
	}()
	for _, file := range definitions {
		c.kubectl(t, "", "wait", "--for=condition=Established", "--timeout=30s", "-f", file)
	}
	examples, err := filepath.Glob(filepath.Join(c.repo, "test", "chart", "testdata", "values", "*.yaml"))
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples of values: %v", err)
	}
	kinds := map[string]bool{}
	accept := func(what, text string) {
		t.Helper()
		// The types' defaults must not hide a misspelt field.
		out, err := c.try(t, text, "apply", "--dry-run=server", "--validate=strict", "-f", "-")
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for line := range strings.Lines(out) {
			kind, _, _ := strings.Cut(line, "/")
			kinds[kind] = true
		}
	}
	for _, values := range append(examples, os.DevNull) {
		accept(values, c.helm(t, "template", deploy.Name, c.Chart(), "--values", values))
	}
	accept("this cluster's values", c.helm(t, append([]string{"template", deploy.Name, c.Chart()}, c.Values()...)...))
	plain, err := os.ReadFile(filepath.Join(c.repo, "deploy", "netpol-agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	accept("deploy/netpol-agent.yaml", string(plain))
	for _, kind := range []string{
		"daemonset.apps", "job.batch", "serviceaccount", "clusterrole.rbac.authorization.k8s.io",
		"podmonitor.monitoring.coreos.com", "servicemonitor.monitoring.coreos.com", "prometheusrule.monitoring.coreos.com",
	} {
		if !kinds[kind] {
			t.Errorf("no %s was checked", kind)
		}
	}
	refuses(t, c)
}

// refuses checks that the checks can fail.
func refuses(t *testing.T, c *cluster) {
	t.Helper()
	good := c.helm(t, "template", deploy.Name, c.Chart(), "--set", "podMonitor.enabled=true,prometheusRule.enabled=true")
	for what, change := range map[string][2]string{
		"field of the DaemonSet":      {"hostNetwork: true", "hostNetwerk: true"},
		"field of the PodMonitor":     {"podMetricsEndpoints:", "podMetricsEndpoint:"},
		"interval of the PodMonitor":  {"interval: 30s", "interval: often"},
		"field of the PrometheusRule": {"- alert: ", "- alarm: "},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s: nothing to spoil", what)
		}
		if _, err := c.try(t, bad, "apply", "--dry-run=server", "--validate=strict", "-f", "-"); err == nil {
			t.Errorf("a wrong %s is accepted", what)
		}
	}
}

// operatorTypes returns the files that define the types.
func operatorTypes(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", operatorModule)
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	var module struct{ Dir, Sum, Error string }
	if e := json.Unmarshal(out, &module); e != nil || err != nil {
		t.Fatalf("go mod download %s: %v %s", operatorModule, err, module.Error)
	}
	if module.Sum != operatorSum {
		t.Fatalf("%s has the sum %s, want %s", operatorModule, module.Sum, operatorSum)
	}
	var files []string
	for _, kind := range []string{"podmonitors", "servicemonitors", "prometheusrules"} {
		files = append(files, filepath.Join(module.Dir, "example", "prometheus-operator-crd", "monitoring.coreos.com_"+kind+".yaml"))
	}
	return files
}
