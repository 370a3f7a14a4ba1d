package chart

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/netpol-agent/netpol-agent/internal/sync/source"
)

const (
	repo     = "../.."
	chartDir = repo + "/charts/netpol-agent"
	plain    = repo + "/deploy/netpol-agent.yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files and "+plain)

// helmPath returns the path of bin/helm, which it builds from its pinned module if it does not exist.
var helmPath = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs(repo + "/bin/helm")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	cmd := exec.Command("go", "build", "-o", path, "helm.sh/helm/v4/cmd/helm")
	cmd.Dir = repo + "/hack/helm"
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

// helm runs helm, without this machine's configuration.
func helm(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	path, err := helmPath()
	if err != nil {
		t.Fatalf("build helm: %v", err)
	}
	home := t.TempDir()
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func render(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"template", "netpol-agent", chartDir, "--namespace", "kube-system"}, args...)
	out, errs, err := helm(t, args...)
	if err != nil {
		t.Fatalf("helm %v: %v\n%s", args, err, errs)
	}
	return out
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what the chart renders (\"make chart-golden\" rewrites it):\n%s", file, diff)
	}
}

func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	return files
}

func TestLint(t *testing.T) {
	for _, values := range examples(t) {
		if out, errs, err := helm(t, "lint", "--strict", "--values", values, chartDir); err != nil {
			t.Errorf("%s: %v\n%s%s", values, err, out, errs)
		}
	}
}

func TestGolden(t *testing.T) {
	for _, values := range examples(t) {
		compare(t, filepath.Join("testdata", "golden", filepath.Base(values)), withoutDashboard(t, render(t, "--values", values)))
	}
}

// withoutDashboard leaves the dashboard's text out: it is a file of its own, longer than all the rest.
func withoutDashboard(t *testing.T, text string) string {
	t.Helper()
	dashboard, err := os.ReadFile(chartDir + "/files/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var indented strings.Builder
	for line := range strings.Lines(strings.TrimSpace(string(dashboard))) {
		indented.WriteString("    " + line)
	}
	return strings.ReplaceAll(text, indented.String(), "    (files/dashboard.json)")
}

const plainHeader = `# netpol-agent for "kubectl apply -f". Made from charts/netpol-agent with its default values ("make chart-golden").
# Before "kubectl delete -f" remove the rules from the nodes: "netpol-agent uninstall".
`

// helmLabels say that Helm manages an object, which is not true here.
var helmLabels = regexp.MustCompile(`(?m)^ +(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n|^# Source: .*\n`)

func TestPlainManifestIsCurrent(t *testing.T) {
	compare(t, plain, plainHeader+helmLabels.ReplaceAllString(render(t, "--no-hooks"), ""))
}

// TestIPTablesNeedsMore expects one more capability and the lock that all such programs of the node share, and nothing
// else.
func TestIPTablesNeedsMore(t *testing.T) {
	for _, backend := range []string{"iptables", "auto"} {
		spec := find[appsv1.DaemonSet](t, render(t, "--set", "backend="+backend), "DaemonSet", "netpol-agent").Spec.Template.Spec
		c := spec.Containers[0]
		if !slices.Equal(c.SecurityContext.Capabilities.Add, []corev1.Capability{"NET_ADMIN", "NET_RAW"}) || !slices.Contains(c.Args, "--backend="+backend) {
			t.Errorf("%s: capabilities %v, arguments %q", backend, c.SecurityContext.Capabilities.Add, c.Args)
		}
		if len(spec.Volumes) != 1 || spec.Volumes[0].HostPath.Path != "/run/xtables.lock" || len(c.VolumeMounts) != 1 || c.VolumeMounts[0].MountPath != "/run/xtables.lock" {
			t.Errorf("%s: volumes %+v, mounts %+v", backend, spec.Volumes, c.VolumeMounts)
		}
	}
}

func TestDocumentsAreKnownTypes(t *testing.T) {
	ds := find[appsv1.DaemonSet](t, render(t), "DaemonSet", "netpol-agent")
	c := ds.Spec.Template.Spec.Containers[0]
	sc := c.SecurityContext
	if !slices.Equal(sc.Capabilities.Add, []corev1.Capability{"NET_ADMIN"}) || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("capabilities %+v, want NET_ADMIN alone", sc.Capabilities)
	}
	if *sc.AllowPrivilegeEscalation || *sc.Privileged || !*sc.ReadOnlyRootFilesystem || len(ds.Spec.Template.Spec.Volumes) > 0 {
		t.Errorf("more rights than the capability: %+v, volumes %v", sc, ds.Spec.Template.Spec.Volumes)
	}
	if ds.Spec.Template.Spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("seccomp is not the runtime's default")
	}
}

func TestRightsAreToReadAndToTell(t *testing.T) {
	role := find[rbacv1.ClusterRole](t, render(t), "ClusterRole", "netpol-agent")
	for _, rule := range role.Rules {
		for _, verb := range rule.Verbs {
			events := slices.Equal(rule.Resources, []string{"events"})
			if events != (verb == "create") || !slices.Contains([]string{"get", "list", "watch", "create"}, verb) {
				t.Errorf("%s on %v", verb, rule.Resources)
			}
		}
	}
}

// TestRightsAreThoseOfTheSources expects the ClusterRole to allow list and watch on exactly the kinds that the agent
// watches.
func TestRightsAreThoseOfTheSources(t *testing.T) {
	var want, listed, watched []string
	for _, k := range source.Watched() {
		want = append(want, k.Resource.String())
	}
	for _, rule := range find[rbacv1.ClusterRole](t, render(t), "ClusterRole", "netpol-agent").Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				name := schema.GroupResource{Group: group, Resource: resource}.String()
				if slices.Contains(rule.Verbs, "list") {
					listed = append(listed, name)
				}
				if slices.Contains(rule.Verbs, "watch") {
					watched = append(watched, name)
				}
			}
		}
	}
	slices.Sort(want)
	slices.Sort(listed)
	slices.Sort(watched)
	if !slices.Equal(listed, want) || !slices.Equal(watched, want) {
		t.Errorf("the role may list %v and watch %v, but the agent watches %v", listed, watched, want)
	}
}

// find returns the one object of a kind and name, decoded strictly.
func find[T any](t *testing.T, documents, kind, name string) (found T) {
	t.Helper()
	n := 0
	for doc := range strings.SplitSeq(documents, "\n---\n") {
		var head struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatal(err)
		}
		if head.Kind != kind || head.Metadata.Name != name {
			continue
		}
		n++
		if err := yaml.UnmarshalStrict([]byte(doc), &found); err != nil {
			t.Fatalf("%s %s: %v", kind, name, err)
		}
	}
	if n != 1 {
		t.Fatalf("%d objects of kind %s named %s, want 1", n, kind, name)
	}
	return found
}
