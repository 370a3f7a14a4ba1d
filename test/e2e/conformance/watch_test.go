package conformance

import (
	"bytes"
	"strings"
	"testing"

	"github.com/netpol-agent/netpol-agent/test/e2e/lab/progress"
)

const ginkgoOutput = `Random Seed: 1 - will randomize all specs

Will run 2 of 7579 specs
------------------------------
[SynchronizedBeforeSuite] PASSED [0.015 seconds]
------------------------------
SSSS
------------------------------
[sig-network] Netpol NetworkPolicy should do this [Feature:NetworkPolicy] [sig-network]
network_policy.go:672
  I1121 11:43:14.906407    8392 network_policy.go:1541] dns domain: cluster.local
• [24.301 seconds]
------------------------------
[sig-network] Netpol NetworkPolicy should do that [Feature:NetworkPolicy] [sig-network]
• [FAILED] [12.5 seconds]
`

// ginkgoParallel is what it prints when several cases run at a time.
const ginkgoParallel = `Will run 2 of 7579 specs
Running in parallel across 6 processes
------------------------------
[SynchronizedBeforeSuite] PASSED [0.015 seconds]
------------------------------
• [24.301 seconds]
[sig-network] Netpol NetworkPolicy should do this [Feature:NetworkPolicy] [sig-network]
network_policy.go:672
  I1121 11:43:14.906407    8392 network_policy.go:1541] dns domain: cluster.local
------------------------------
• [FAILED] [12.5 seconds]
[sig-network] Netpol NetworkPolicy should do that [Feature:NetworkPolicy] [sig-network]
`

func TestGinkgoWatch(t *testing.T) {
	for text, parallel := range map[string]bool{ginkgoOutput: false, ginkgoParallel: true} {
		var out bytes.Buffer
		w := ginkgoWatch{progress: progress.New(&out), total: "?", parallel: parallel}
		eachLine(strings.NewReader(text), w.line)
		for _, want := range []string{
			"2 cases to run\n",
			"1 of 2: passed, 24.301 s: [sig-network] Netpol NetworkPolicy should do this\n",
			"2 of 2: FAILED, 12.5 s: [sig-network] Netpol NetworkPolicy should do that\n",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("parallel %v: no %q in\n%s", parallel, want, out.String())
			}
		}
		if lines := strings.Count(out.String(), "\n"); lines != 3 {
			t.Errorf("parallel %v: %d lines:\n%s", parallel, lines, out.String())
		}
	}
}

const programOutput = `testing 2 cases

test #1: deny all, ingress
 - tags: a, b
test #2: deny all, ingress
 - tags: a
starting test case #1
evaluating test case: deny all, ingress
324 wrong cells are not counted
0 wrong, 36 ignored, 288 correct
finished policy #1
starting test case #2
0 wrong, 36 ignored, 288 correct
Discrepancy found:4 wrong, 36 ignored, 284 correct
finished policy #2
`

// programResults is what Cyclonus writes: one suite, no times, no reasons.
const programResults = `<testsuite tests="0" failures="1" time="" name="cyclonus">
    <testcase classname="" name="deny all, ingress" time=""></testcase>
    <testcase classname="" name="deny all, ingress" time="">
        <failure message="" type=""></failure>
    </testcase>
</testsuite>`

func TestProgramWatch(t *testing.T) {
	w := programWatch{progress: progress.New(&bytes.Buffer{}), total: "?", seconds: map[string]float64{}, wrong: map[string]string{}}
	eachLine(strings.NewReader(programOutput), w.line)
	cases, err := w.complete(parse(t, programResults))
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range [][]Case{cases, w.cases()} {
		if len(got) != 2 || got[0].Outcome != Passed || got[1].Outcome != Failed || got[1].Name != "#2: deny all, ingress" {
			t.Fatalf("%+v", got)
		}
		if want := "step 2: 4 wrong, 36 ignored, 284 correct. "; got[1].Message != want {
			t.Errorf("message %q, want %q", got[1].Message, want)
		}
	}
}

func TestProgramResultsMustBeThoseAnnounced(t *testing.T) {
	w := programWatch{names: []string{"#1: a", "#2: b"}}
	if _, err := w.complete([]Case{{Name: "a"}}); err == nil {
		t.Error("no error for a case without a result")
	}
	if _, err := w.complete([]Case{{Name: "a"}, {Name: "c"}}); err == nil {
		t.Error("no error for a result of another case")
	}
}

const cyclonusOutput = `resources:
@cases 2 of 216
starting

@case {"number":3,"description":"b","seconds":2,"steps":[{"tries":1,"cells":324,"notable":[]}]}
@case {"number":1,"description":"a","seconds":1.5,"steps":[{"tries":2,"cells":324,"notable":[{"from":"x/a","to":"y/a","port":"TCP/80","expected":"allowed","observed":"blocked"}]}]}
`

func TestCyclonusWatch(t *testing.T) {
	var out bytes.Buffer
	w := &cyclonusWatch{progress: progress.New(&out)}
	eachLine(strings.NewReader(cyclonusOutput), w.line)
	if err := w.complete(); err != nil {
		t.Fatal(err)
	}
	cases := w.cases()
	if len(cases) != 2 || cases[0].Name != "#1: a" || cases[0].Outcome != Failed || cases[1].Name != "#3: b" || cases[1].Outcome != Passed {
		t.Fatalf("%+v", cases)
	}
	if want := "1 of 2: passed, 2.0 s: #3: b\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out.String())
	}
	if notes := strings.Join(w.notes(), "\n"); !strings.Contains(notes, "648 connections were compared; 1 steps") {
		t.Errorf("notes: %s", notes)
	}
}

func TestCyclonusMustBeComplete(t *testing.T) {
	const result = `@case {"number":3,"description":"b","steps":[{"tries":1,"cells":1,"notable":[]}]}`
	for what, output := range map[string]string{
		"a case without a result": "@cases 2 of 2\n" + result,
		"two results of a case":   "@cases 2 of 2\n" + result + "\n" + result,
		"a result that is none":   "@cases 1 of 1\n" + result + "\n@case {",
		"a number that is none":   "@cases one\n",
	} {
		w := &cyclonusWatch{progress: progress.New(&bytes.Buffer{})}
		eachLine(strings.NewReader(output), w.line)
		if w.complete() == nil {
			t.Errorf("no error for %s", what)
		}
	}
}
