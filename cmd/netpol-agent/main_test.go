package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/netpol-agent/netpol-agent/internal/manifest"
	"github.com/netpol-agent/netpol-agent/test/testns"
)

var update = flag.Bool("update", false, "update the scripts with what the commands print")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"netpol-agent": main, "http-status": httpStatus})
}

// httpStatus is a command for scripts: it prints the HTTP status of a URL.
func httpStatus() {
	resp, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode)
}

// TestScripts runs the command line as a user does, one file per subject. $EXAMPLES holds the example policies;
// $WORK/kubeconfig leads to an API server that lists the objects of cluster.yaml.
func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// TestKernelScripts runs the commands that need nf_tables, in network namespaces that end with the command.
func TestKernelScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		testns.Cannot(t, "needs root to make network namespaces")
	}
	for _, tool := range []string{"nft", "unshare", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			testns.Cannot(t, "needs %s", tool)
		}
	}
	runScripts(t, "testdata/kernel")
}

func runScripts(t *testing.T, dir string) {
	t.Helper()
	examples, err := filepath.Abs("../../examples/policies")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(env *testscript.Env) error {
			env.Setenv("EXAMPLES", examples)
			return serveCluster(env)
		},
	})
}

// exits runs a command and expects an exit status, as in "exits 2 netpol-agent render".
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// serveCluster starts an API server that can only list, and writes a kubeconfig for it.
func serveCluster(env *testscript.Env) error {
	cluster := filepath.Join(env.WorkDir, "cluster.yaml")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		objects, _, err := manifest.Load([]string{cluster}, manifest.Options{})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		var kind string
		var items any
		switch r.URL.Path {
		case "/api/v1/pods":
			kind, items = "v1 PodList", objects.Pods
		case "/api/v1/namespaces":
			kind, items = "v1 NamespaceList", objects.Namespaces
		case "/api/v1/nodes":
			kind, items = "v1 NodeList", objects.Nodes
		case "/apis/networking.k8s.io/v1/networkpolicies":
			kind, items = "networking.k8s.io/v1 NetworkPolicyList", objects.Policies
		default:
			serveDaemonSet(w, r, env.WorkDir)
			return
		}
		writeList(w, kind, items)
	}))
	env.Defer(server.Close)
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: %q}}, {name: gone, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: test, context: {cluster: test}}, {name: gone, context: {cluster: gone}}]
`, server.URL)
	return os.WriteFile(filepath.Join(env.WorkDir, "kubeconfig"), []byte(kubeconfig), 0o600)
}

// serveDaemonSet serves the DaemonSet of daemonset.json, if there is one. Its controller has always seen the latest
// change, and its namespace has no pods. A change is written to patch.json.
func serveDaemonSet(w http.ResponseWriter, r *http.Request, dir string) {
	if strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/") && strings.HasSuffix(r.URL.Path, "/pods") && r.Method == http.MethodGet {
		writeList(w, "v1 PodList", []any{})
		return
	}
	set, err := os.ReadFile(filepath.Join(dir, "daemonset.json"))
	if err != nil || !strings.HasSuffix(r.URL.Path, "/kube-system/daemonsets/netpol-agent") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
			"message": "daemonsets.apps \"netpol-agent\" not found"}`)
		return
	}
	patch, err := io.ReadAll(r.Body)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "patch.json"), append(patch, '\n'), 0o600)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(set)
}

// writeList answers with a list. kind is "apiVersion kind".
func writeList(w http.ResponseWriter, kind string, items any) {
	version, kind, _ := strings.Cut(kind, " ")
	w.Header().Set("Content-Type", "application/json")
	list := map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{}, "items": items}
	if err := json.NewEncoder(w).Encode(list); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
