package monitoring

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/internal/sync/report"
)

func TestDashboardHasAFormThatGrafanaTakes(t *testing.T) {
	d := readDashboard(t)
	// Grafana 11 writes 39 to 41. It migrates older versions, but not newer ones than it knows.
	if d.SchemaVersion != 39 || d.UID == "" || d.Title == "" {
		t.Errorf("schema version %d, uid %q, title %q", d.SchemaVersion, d.UID, d.Title)
	}
	ids := map[int]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: its id %d is already taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		if !slices.Contains([]string{"row", "stat", "timeseries", "state-timeline"}, p.Type) || p.Title == "" {
			t.Errorf("panel %d: type %q, title %q", p.ID, p.Type, p.Title)
		}
		if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q is outside the grid: %+v", p.Title, p.GridPos)
		}
		for _, other := range d.Panels[:i] {
			if p.GridPos.overlaps(other.GridPos) {
				t.Errorf("panels %q and %q overlap", p.Title, other.Title)
			}
		}
	}
}

// TestDashboardAsksItsVariables checks that no query is bound to one Grafana's data source or ignores the selected
// nodes.
func TestDashboardAsksItsVariables(t *testing.T) {
	d := readDashboard(t)
	want := source{Type: "prometheus", UID: "${datasource}"}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Type+" "+v.Name)
		if v.Type == "query" && v.Datasource != want {
			t.Errorf("variable %s: data source %+v", v.Name, v.Datasource)
		}
	}
	if !slices.Equal(names, []string{"datasource datasource", "query node"}) {
		t.Errorf("variables: %v", names)
	}
	for _, p := range d.Panels {
		if p.Type == "row" {
			continue
		}
		if p.Datasource != want || len(p.Targets) == 0 {
			t.Errorf("panel %q: data source %+v, %d queries", p.Title, p.Datasource, len(p.Targets))
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if q.Datasource != want || refs[q.RefID] || !strings.Contains(q.Expr, `{node=~"$node"`) {
				t.Errorf("panel %q, query %s: data source %+v, %s", p.Title, q.RefID, q.Datasource, q.Expr)
			}
			refs[q.RefID] = true
		}
	}
}

// own matches a metric of the agent in an expression, with its label matchers.
var own = regexp.MustCompile(`(netpol_agent_[a-z_]+)(?:\{([^}]*)\})?`)

// matcher matches one label matcher.
var matcher = regexp.MustCompile(`(\w+)(=~|!=|!~|=)"([^"]*)"`)

// TestQueriesNameWhatTheAgentExports compares every metric and label value in alerts and dashboard with the
// definitions.
func TestQueriesNameWhatTheAgentExports(t *testing.T) {
	defs := map[string]report.Metric{}
	for _, d := range report.NewMetrics("test", nil, nil).Definitions() {
		if d.Type != report.TypeHistogram {
			defs[d.Name] = d
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			defs[d.Name+suffix] = d
		}
	}
	var exprs []string
	for _, a := range readAlerts(t) {
		exprs = append(exprs, a.Expr)
	}
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			exprs = append(exprs, q.Expr)
		}
	}
	for _, expr := range exprs {
		for _, m := range own.FindAllStringSubmatch(expr, -1) {
			d, known := defs[m[1]]
			if !known {
				t.Errorf("%s: there is no metric %s", expr, m[1])
			}
			for _, match := range matcher.FindAllStringSubmatch(m[2], -1) {
				if name, value := match[1], match[3]; name != "node" && !hasValue(d, name, value) {
					t.Errorf("%s: %s has no label %s with the value %s", expr, d.Name, name, value)
				}
			}
		}
	}
}

func hasValue(d report.Metric, name, value string) bool {
	return slices.ContainsFunc(d.Labels, func(l report.Label) bool {
		return l.Name == name && slices.Contains(l.Values, value)
	})
}
