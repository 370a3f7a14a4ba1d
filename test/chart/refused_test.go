package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNonsenseIsRefusedByName expects the message about a value that makes no sense to name it.
func TestNonsenseIsRefusedByName(t *testing.T) {
	for _, c := range []struct{ values, want string }{
		{"imagee: {}", "imagee"},
		{"image: {repository: ''}", "image/repository"},
		{"image: {tag: 'a b'}", "image/tag"},
		{"image: {digest: sha256:12}", "image/digest"},
		{"image: {pullPolicy: Sometimes}", "image/pullPolicy"},
		{"image: {tag: 1.0}", "image/tag"},
		{"imagePullSecrets: [pull]", "imagePullSecrets/0"},
		{"nameOverride: Not_A_Name", "nameOverride"},
		{"fullnameOverride: -x", "fullnameOverride"},
		{"log: {level: loud}", "log/level"},
		{"log: {format: xml}", "log/format"},
		{"backend: ipchains", "backend"},
		{"iptablesVariant: old", "iptablesVariant"},
		{"resyncPeriod: 60", "resyncPeriod"},
		{"resyncPeriod: 0s", "resyncPeriod"},
		{"resyncPeriod: soon", "resyncPeriod"},
		{"apiServer: {host: 'https://x'}", "apiServer/host"},
		{"apiServer: {port: https}", "apiServer/port"},
		{"health: {port: 0}", "health/port"},
		{"health: {port: '80'}", "health/port"},
		{"metrics: {port: 65536}", "metrics/port"},
		{"metrics: {enabled: 'yes'}", "metrics/enabled"},
		{"metrics: {port: 9476}", "metrics.port"},
		{"updateStrategy: {maxUnavailable: 0}", "updateStrategy/maxUnavailable"},
		{"updateStrategy: {maxUnavailable: 0%}", "updateStrategy/maxUnavailable"},
		{"updateStrategy: {maxUnavailable: all}", "updateStrategy/maxUnavailable"},
		{"priorityClassName: 5", "priorityClassName"},
		{"affinity: []", "affinity"},
		{"tolerations: [{operator: Maybe}]", "tolerations/0/operator"},
		{"nodeSelector: {a: 1}", "nodeSelector/a"},
		{"resources: {limits: {memory: lots}}", "resources/limits/memory"},
		{"resources: {request: {cpu: 1}}", "request"},
		{"podAnnotations: {a: true}", "podAnnotations/a"},
		{"serviceAccount: {create: maybe}", "serviceAccount/create"},
		{"rbac: {create: 1}", "rbac/create"},
		{"resources: {limits: {memory: -1}}", "resources/limits/memory"},
		{"cleanup: {enabled: 'no'}", "cleanup/enabled"},
		{"cleanup: {timeout: never}", "cleanup/timeout"},
		{"podMonitor: {interval: 30}", "podMonitor/interval"},
		{"podMonitor: {enabled: true}\nserviceMonitor: {enabled: true}", "podMonitor.enabled"},
		{"podMonitor: {enabled: true}\nmetrics: {enabled: false}", "metrics.enabled"},
		{"prometheusRule: {labels: []}", "prometheusRule/labels"},
		{"monitoring: {dashboard: {enabled: 'yes'}}", "monitoring/dashboard/enabled"},
		{"monitoring: {dashboard: {labels: {grafana_dashboard: 1}}}", "monitoring/dashboard/labels/grafana_dashboard"},
	} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(c.values), 0o600); err != nil {
			t.Fatal(err)
		}
		_, errs, err := helm(t, "template", "x", chartDir, "--values", file)
		switch {
		case err == nil:
			t.Errorf("%s: accepted", c.values)
		case !strings.Contains(errs, c.want):
			t.Errorf("%s: the message does not name %s: %s", c.values, c.want, errs)
		}
	}
}
