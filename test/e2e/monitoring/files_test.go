package monitoring

import (
	"encoding/json"
	"os"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	repo      = "../../.."
	chartDir  = repo + "/charts/netpol-agent"
	ruleTests = "testdata/alerts.yaml"
	runbook   = repo + "/docs/operate/troubleshooting.md"
)

// alert is an alerting rule.
type alert struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// ruleFile is a file of rules, and the spec of a PrometheusRule.
type ruleFile struct {
	Groups []struct {
		Name  string  `json:"name"`
		Rules []alert `json:"rules"`
	} `json:"groups"`
}

func (f ruleFile) alerts() []alert {
	var out []alert
	for _, g := range f.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

func readAlerts(t *testing.T) []alert {
	t.Helper()
	var f ruleFile
	if err := yaml.UnmarshalStrict(read(t, chartDir+"/files/alerts.yaml"), &f); err != nil {
		t.Fatal(err)
	}
	if len(f.alerts()) == 0 {
		t.Fatal("there are no alerts")
	}
	return f.alerts()
}

// dashboard is the part of Grafana's dashboard that the tests read.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name, Type string
			Datasource source
			Query      any
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int      `json:"id"`
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Datasource  source   `json:"datasource"`
	GridPos     grid     `json:"gridPos"`
	Targets     []target `json:"targets"`
}

type grid struct{ H, W, X, Y int }

func (a grid) overlaps(b grid) bool {
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type target struct {
	RefID      string `json:"refId"`
	Datasource source `json:"datasource"`
	Expr       string `json:"expr"`
}

func parseDashboard(t *testing.T, data []byte) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	return parseDashboard(t, read(t, chartDir+"/files/dashboard.json"))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
