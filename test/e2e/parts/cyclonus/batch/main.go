// Command batch runs the cases of Cyclonus as its command "generate" does, with its generator, simulation,
// probes and comparison, but with the batch mode that the release has and its command line does not offer: one
// execution in each pod instead of one for each connection. It decides nothing about a case; it prints what
// Cyclonus found out, as text and, for each case, as a line of JSON after "@case ".
//
// The cluster is the one of KUBECONFIG. Its nodes need the image that the release names for its worker.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/kube"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// What the command "generate" has as defaults, but for SCTP.
var (
	namespaces = []string{"x", "y", "z"}
	pods       = []string{"a", "b", "c"}
	ports      = []int{80, 81}
	protocols  = []v1.Protocol{v1.ProtocolTCP, v1.ProtocolUDP}
	excluded   = []string{generator.TagSCTPProtocol}
)

const (
	podTimeoutSeconds = 120
	waitSeconds       = 1
	retries           = 1
)

// result is what is printed of a case.
type result struct {
	// Number is the case's place among all, from 1 on: descriptions are not unique.
	Number      int      `json:"number"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	Seconds     float64  `json:"seconds"`
	Steps       []step   `json:"steps"`
	// Error says why the case did not come to its end.
	Error string `json:"error,omitempty"`
}

type step struct {
	// Tries is how often the cluster was probed: again only after a try with differences.
	Tries int `json:"tries"`
	// Cells is the number of connections that were compared. Notable are those that ended otherwise than expected
	// in the last try, and those of a pod to itself that did not come about, whatever was expected.
	Cells   int    `json:"cells"`
	Notable []cell `json:"notable"`
}

// cell is a connection between two pods.
type cell struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Port     string `json:"port"`
	Expected string `json:"expected"`
	Observed string `json:"observed"`
}

func main() {
	include := flag.String("include", "", "tags: run only cases that have one of them")
	shard := flag.Int("shard", 0, "run only every case whose place, divided by --shards, leaves this")
	shards := flag.Int("shards", 1, "number of runs that share the cases")
	flag.Parse()
	if err := run(tags(*include), *shard, *shards); err != nil {
		fmt.Fprintln(os.Stderr, "batch:", err)
		os.Exit(1)
	}
}

func tags(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func run(include []string, shard, shards int) error {
	if err := generator.ValidateTags(include); err != nil {
		return err
	}
	client, err := connect()
	if err != nil {
		return err
	}
	resources, err := probe.NewDefaultResources(client, namespaces, pods, ports, protocols, nil, podTimeoutSeconds, true, "")
	if err != nil {
		return err
	}
	last, err := resources.GetPod("z", "c")
	if err != nil {
		return err
	}
	interpreter := connectivity.NewInterpreter(client, resources, &connectivity.InterpreterConfig{
		ResetClusterBeforeTestCase:       true,
		KubeProbeRetries:                 retries,
		PerturbationWaitSeconds:          waitSeconds,
		VerifyClusterStateBeforeTestCase: true,
		BatchJobs:                        true,
		IgnoreLoopback:                   true,
		JobTimeoutSeconds:                1,
	})
	printer := &connectivity.Printer{IgnoreLoopback: true}
	// The place of a case is the one among all, also if not all are run.
	all := generator.NewTestCaseGenerator(true, last.IP, namespaces, nil, excluded).GenerateTestCases()
	chosen := choose(all, include, shard, shards)
	fmt.Printf("@cases %d of %d\n", len(chosen), len(all))
	for _, i := range chosen {
		if err := execute(interpreter, printer, i+1, all[i]); err != nil {
			return err
		}
	}
	return nil
}

// choose gives the places of the cases to run.
func choose(all []*generator.TestCase, include []string, shard, shards int) []int {
	var chosen, asked []int
	for i, c := range all {
		if len(include) == 0 || c.Tags.ContainsAny(include) {
			asked = append(asked, i)
		}
	}
	for n, i := range asked {
		if n%shards == shard {
			chosen = append(chosen, i)
		}
	}
	return chosen
}

// connect makes a client that does not slow itself down: Cyclonus asks for some fifty objects before each case.
func connect() (*kube.Kubernetes, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &kube.Kubernetes{ClientSet: set, RestConfig: config}, nil
}

func execute(interpreter *connectivity.Interpreter, printer *connectivity.Printer, number int, c *generator.TestCase) error {
	for _, s := range c.Steps {
		s.Probe.Mode = generator.ProbeModePodIP
	}
	began := time.Now()
	got := interpreter.ExecuteTestCase(c)
	out := result{
		Number: number, Description: c.Description, Tags: c.Tags.Keys(), Seconds: time.Since(began).Seconds(), Steps: []step{},
	}
	for _, s := range got.Steps {
		out.Steps = append(out.Steps, read(s))
	}
	if got.Err != nil {
		out.Error = got.Err.Error()
	}
	line, err := json.Marshal(out)
	if err != nil {
		return err
	}
	printer.PrintTestCaseResult(got)
	fmt.Printf("\n@case %s\n", line)
	return nil
}

// read compares the last try of a step with what was expected.
func read(s *connectivity.StepResult) step {
	table := s.LastComparison()
	out := step{Tries: len(s.KubeProbes), Notable: []cell{}}
	for _, pair := range table.Wrapped.Keys() {
		item := table.Get(pair.From, pair.To)
		var all []string
		for port := range item.Simulated.JobResults {
			all = append(all, port)
		}
		slices.Sort(all)
		for _, port := range all {
			expected, observed := string(item.Simulated.JobResults[port].Combined), "nothing"
			if r := item.Kube.JobResults[port]; r != nil {
				observed = string(r.Combined)
			}
			out.Cells++
			if expected != observed || (pair.From == pair.To && observed != string(probe.ConnectivityAllowed)) {
				out.Notable = append(out.Notable, cell{pair.From, pair.To, port, expected, observed})
			}
		}
	}
	return out
}
