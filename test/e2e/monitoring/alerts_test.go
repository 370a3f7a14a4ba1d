package monitoring

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/netpol-agent/netpol-agent/test/testns"
)

func promtool(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		testns.Cannot(t, "needs promtool, of Debian's package prometheus: \"make deps\"")
	}
	return exec.CommandContext(t.Context(), path, args...)
}

// TestAlerts runs the cases of testdata/alerts.yaml: when each alert fires, with which text, and when it does not.
func TestAlerts(t *testing.T) {
	for _, args := range [][]string{
		{"check", "rules", "--lint-fatal", chartDir + "/files/alerts.yaml"},
		{"test", "rules", ruleTests},
	} {
		if out, err := promtool(t, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestEveryAlertHasCases checks that every alert has a case in which it fires and one in which it does not.
func TestEveryAlertHasCases(t *testing.T) {
	var f struct {
		Tests []struct {
			Cases []struct {
				Alert  string `json:"alertname"`
				Expect []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal(read(t, ruleTests), &f); err != nil {
		t.Fatal(err)
	}
	type cases struct{ fires, quiet int }
	count := map[string]cases{}
	for _, test := range f.Tests {
		for _, c := range test.Cases {
			n := count[c.Alert]
			if len(c.Expect) > 0 {
				n.fires++
			} else {
				n.quiet++
			}
			count[c.Alert] = n
		}
	}
	for _, a := range readAlerts(t) {
		if n := count[a.Alert]; n.fires == 0 || n.quiet == 0 {
			t.Errorf("%s: %d cases in which it fires, %d in which not", a.Alert, n.fires, n.quiet)
		}
		delete(count, a.Alert)
	}
	for name := range count {
		t.Errorf("cases for an alert that does not exist: %s", name)
	}
}

func TestAlertsSayWhatToDo(t *testing.T) {
	const address = "https://github.com/netpol-agent/netpol-agent/blob/main/docs/operate/troubleshooting.md#"
	for _, a := range readAlerts(t) {
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		for _, name := range []string{"summary", "description"} {
			if a.Annotations[name] == "" {
				t.Errorf("%s: no %s", a.Alert, name)
			}
		}
		if got, want := a.Annotations["runbook_url"], address+strings.ToLower(a.Alert); got != want {
			t.Errorf("%s: runbook %s, want %s", a.Alert, got, want)
		}
	}
}

// TestEveryAlertHasASection checks that the headings to which the alerts link exist.
func TestEveryAlertHasASection(t *testing.T) {
	text := string(read(t, runbook))
	for _, a := range readAlerts(t) {
		if !regexp.MustCompile(`(?m)^#+ ` + a.Alert + `$`).MatchString(text) {
			t.Errorf("%s has no heading %q", runbook, a.Alert)
		}
	}
}
