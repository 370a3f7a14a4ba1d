package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	good = []Case{{Name: "a", Outcome: Passed, Seconds: 1}, {Name: "b", Outcome: Passed, Seconds: 2}}
	bad  = []Case{{Name: "a", Outcome: Passed, Seconds: 1}, {Name: "b", Outcome: Failed, Seconds: 2, Message: "3 wrong\n results"}}
)

func TestRunIsGoodOnlyIfAllIs(t *testing.T) {
	for _, c := range []struct {
		what    string
		cases   []Case
		trouble []string
		want    bool
	}{
		{"all passed", good, nil, true},
		{"one failed", bad, nil, false},
		{"an agent ended", good, []string{"node1: ended"}, false},
		{"nothing ran", nil, nil, false},
		{"all skipped", []Case{{Name: "a", Outcome: Skipped}}, nil, false},
	} {
		run := newRun("fresh", time.Unix(0, 0), time.Second, c.cases, c.trouble)
		if run.OK() != c.want {
			t.Errorf("%s: OK is %v", c.what, run.OK())
		}
		if (Report{Runs: []Run{newRun("used", time.Unix(0, 0), 0, good, nil), run}}).OK() != c.want {
			t.Errorf("%s: the report's OK is not that of its run", c.what)
		}
	}
	if (Report{}).OK() {
		t.Error("a report without a run is OK")
	}
}

func TestReportIsKept(t *testing.T) {
	r := Report{
		Suite: "upstream", Release: "v1", Agent: "abc", Backend: "nftables", IPFamily: "ipv4", ProxyMode: "iptables",
		FlannelBackend: "vxlan", Nodes: 2, Parallel: 6, LeftOut: "SCTP",
		Runs: []Run{
			newRun("fresh", time.Unix(0, 0), 90*time.Second, good, nil),
			newRun("used", time.Unix(100, 0), 80*time.Second, bad, []string{"node1: the agent ended with status 2"}),
		},
	}
	base := filepath.Join(t.TempDir(), "new", "report")
	if err := r.write(base); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(base + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if run := back.Runs[1]; run.Passed != 1 || run.Failed != 1 || len(run.FailedNames) != 1 || run.FailedNames[0] != "b" || run.Seconds != 80 {
		t.Errorf("read back: %+v", run)
	}
	text, err := os.ReadFile(base + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Conformance: upstream, FAILED",
		"| upstream | v1 | abc | nftables | ipv4 | iptables | vxlan | 2 | 6 |",
		"| 1 | fresh | 1970-01-01 00:00:00 | 2 | 0 | 0 | 0 | 90 |",
		"- node1: the agent ended with status 2",
		"- b: 3 wrong results",
		"| b | passed, 2.0 s | failed, 2.0 s |",
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
}

func TestOptionsAreNamedWhenWrong(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"suite":        func(o *Options) { o.Suite = "x" },
		"backend":      func(o *Options) { o.Backend = "ipvs" },
		"IP family":    func(o *Options) { o.Lab.IPFamily = "ipv5" },
		"procs":        func(o *Options) { o.Procs = 0 },
		"clusters":     func(o *Options) { o.Clusters = 0 },
		"runs":         func(o *Options) { o.Runs = 0 },
		"kube-proxy":   func(o *Options) { o.Lab.ProxyMode = "ipvs" },
		"back end of ": func(o *Options) { o.Lab.FlannelBackend = "udp" },
	} {
		o := DefaultOptions()
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
