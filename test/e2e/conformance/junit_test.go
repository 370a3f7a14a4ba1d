package conformance

import (
	"os"
	"path/filepath"
	"testing"
)

// ginkgoResults is what Ginkgo writes: nodes around the cases are listed like cases.
const ginkgoResults = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="4" disabled="1" errors="0" failures="1" time="30.5">
  <testsuite name="Kubernetes e2e suite" package="/x" tests="4" skipped="1" failures="1" time="30.5">
    <properties><property name="SuiteSucceeded" value="false"></property></properties>
    <testcase name="[SynchronizedBeforeSuite]" classname="Kubernetes e2e suite" status="passed" time="0.1"></testcase>
    <testcase name="[It] [sig-network] Netpol a" classname="Kubernetes e2e suite" status="passed" time="12.5"><system-err>text</system-err></testcase>
    <testcase name="[It] [sig-network] Netpol b" classname="Kubernetes e2e suite" status="failed" time="17.25">
      <failure message="Had 3 wrong results" type="failed">at line 1</failure>
    </testcase>
    <testcase name="[It] [sig-network] Netpol c" classname="Kubernetes e2e suite" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
    <testcase name="[It] [sig-network] Netpol d" classname="Kubernetes e2e suite" status="panicked" time="1"><error message="" type="panicked"> boom </error></testcase>
  </testsuite>
</testsuites>`

func parse(t *testing.T, text string) []Case {
	t.Helper()
	file := filepath.Join(t.TempDir(), "junit.xml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cases, err := readJUnit(file)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestReadJUnit(t *testing.T) {
	got := parse(t, ginkgoResults)
	want := []Case{
		{Name: "[sig-network] Netpol a", Outcome: Passed, Seconds: 12.5},
		{Name: "[sig-network] Netpol b", Outcome: Failed, Seconds: 17.25, Message: "Had 3 wrong results"},
		{Name: "[sig-network] Netpol c", Outcome: Skipped},
		{Name: "[sig-network] Netpol d", Outcome: Failed, Seconds: 1, Message: "boom"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d cases, want %d: %v", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("case %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// A suite whose set-up fails has no failed case, but a failed node before the cases.
func TestReadJUnitKeepsFailedSetUp(t *testing.T) {
	got := parse(t, `<testsuites><testsuite><testcase name="[SynchronizedBeforeSuite]" status="failed"><failure message="no nodes"/></testcase></testsuite></testsuites>`)
	if len(got) != 1 || got[0].Outcome != Failed {
		t.Errorf("%+v", got)
	}
}

func TestReadJUnitRefusesOtherFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "junit.xml")
	if _, err := readJUnit(file); err == nil {
		t.Error("no error for a missing file")
	}
	if err := os.WriteFile(file, []byte("<testsuites><testsuite>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readJUnit(file); err == nil {
		t.Error("no error for half a file")
	}
}
